"""Reads reports: ours, and v0.2.0 to v0.4.0 traces, plain, gzipped or in SQLite; converts files up.

Whatever comes back is a valid `Trace`; whatever does not is a one-line ReportError that names file and cause.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from model_health.errors import ReportError, StoreError
from model_health.report.manifest import Manifest
from model_health.report.serialise import to_gzip, to_json
from model_health.report.sources import LIMIT_BYTES, Document, Source, StoredReport, documents, stored_reports
from model_health.report.trace import SCHEMA_VERSION, Trace
from model_health.report.upgrade import READABLE, first_problem, upgrade


def load_report(
    source: Source, *, trace_id: str | None = None, name: str | None = None, limit: int = LIMIT_BYTES
) -> Trace:
    """One report.

    Args:
        source: a path, or the bytes of a file.
        trace_id: which one, where the source holds several.
        name: what errors call the source; its path by default.
        limit: largest JSON text in bytes.

    Raises:
        ReportError: the source cannot be read, its version is unknown, or it holds several (or no such) reports.
    """
    label = name or ("bytes" if isinstance(source, bytes) else str(source))
    if trace_id is None:
        found = list(islice(documents(source, name=name, limit=limit), 2))
        if len(found) > 1:
            raise ReportError("holds several reports", subject=label, hint="name one by its trace id")
        if not found:
            raise ReportError("holds no report", subject=label)
        return read(found[0])
    for document in documents(source, name=name, limit=limit):
        if document.content.get("trace_id") == trace_id:
            return read(document)
    raise ReportError(f"holds no report {trace_id}", subject=label)


def iter_reports(source: Source, *, name: str | None = None, limit: int = LIMIT_BYTES) -> Iterator[Trace]:
    """Every report of a source, one after the other. Raises ReportError as `load_report` does."""
    for document in documents(source, name=name, limit=limit):
        yield read(document)


def list_reports(source: Source, *, name: str | None = None) -> tuple[StoredReport, ...]:
    """What a source holds: cheap for a SQLite file, whose rows say it. Raises ReportError."""
    rows = stored_reports(source, name=name)
    if rows is not None:
        return rows
    trace = load_report(source, name=name)
    version = trace.model_health.converted_from.schema_version if trace.model_health.converted_from else SCHEMA_VERSION
    return (StoredReport(trace.trace_id, trace.created_at_utc.isoformat(), trace.model.hf_id, version),)


def read(document: Document) -> Trace:
    """The report that a parsed document holds. Raises ReportError."""
    version = document.content.get("schema_version")
    if version is None:
        raise ReportError("has no schema_version: it is not a report", subject=document.name)
    if version not in READABLE:
        known = f"versions {', '.join(READABLE)} can be read"
        hint = f"{known}; v0.1.0 lacks what a report needs" if version == "0.1.0" else known
        raise ReportError(f"has schema version {version!r}, which cannot be read", subject=document.name, hint=hint)
    if "model_health" not in document.content:
        try:
            return upgrade(document)
        except RecursionError as error:
            raise ReportError("is nested too deep to be a report", subject=document.name) from error
    document.check_text()
    try:
        return Trace.model_validate(document.content)
    except ValidationError as error:
        raise ReportError(f"is not a valid report: {first_problem(error)}", subject=document.name) from error


def load_manifest(source: Source, *, name: str | None = None, limit: int = LIMIT_BYTES) -> Manifest:
    """One run manifest, plain or gzipped. Raises ReportError."""
    found = list(islice(documents(source, name=name, limit=limit), 1))
    if not found:
        raise ReportError("holds no manifest", subject=name or ("bytes" if isinstance(source, bytes) else str(source)))
    (document,) = found
    document.check_text()
    try:
        return Manifest.model_validate(document.content)
    except ValidationError as error:
        raise ReportError(f"is not a valid manifest: {first_problem(error)}", subject=document.name) from error


def convert_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Convert every report of a file up, and write it: one file, or a folder where the source holds several.

    A target that ends in `.gz` is gzipped. Everything is read and converted before anything is written, and each file
    appears whole or not at all.

    Args:
        source: a file that `load_report` reads.
        target: a file; a folder (existing, or without a suffix) for a SQLite source.

    Raises:
        ReportError: the source cannot be read.
        StoreError: the target cannot be written.
    """
    goal = Path(target)
    if stored_reports(source) is None:
        return (_write(goal, load_report(source)),)
    traces = list(iter_reports(source))
    if goal.is_dir() or not goal.suffix:
        return tuple(_write(goal / f"{_file_name(trace.trace_id)}.json.gz", trace) for trace in traces)
    if len(traces) != 1:
        raise ReportError(f"holds {len(traces)} reports", subject=str(source), hint="name a folder to convert into")
    return (_write(goal, traces[0]),)


def _file_name(trace_id: str) -> str:
    """The id as a file name: it comes from a file that anyone may have written."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", trace_id)[:100] or "report"


def _write(path: Path, trace: Trace) -> Path:
    data = to_gzip(trace) if path.suffix == ".gz" else to_json(trace)
    temporary: Path | None = None
    try:
        if path.exists() and not path.is_file():
            # A rename would take a device's or a pipe's place, which an administrator may do even in /dev.
            raise StoreError("cannot be written: it is no file", subject=str(path), hint="name a file or a new name")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot be written: {error.strerror or error}", subject=str(path)) from error
    return path
