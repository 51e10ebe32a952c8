"""Finds what a person named on the command line: a file, or the URI of a report or manifest in a store."""

from __future__ import annotations

from pathlib import Path

from model_health.errors import ReportError
from model_health.report.load import load_manifest, load_report
from model_health.report.manifest import Manifest
from model_health.report.trace import Trace
from model_health.store.reports import ReportStore

MANIFEST = "manifest.json"


def read_any(reference: str) -> Trace | Manifest:
    """The report or the manifest (a file named manifest.json) that a path or URI names.

    Raises:
        ReportError: it cannot be read, or is neither.
        StoreError, ConfigError: the store of a URI cannot be reached, or its scheme is not allowed.
    """
    source = source_of(reference)
    return load_manifest(source, name=reference) if is_manifest(reference) else load_report(source, name=reference)


def source_of(reference: str) -> bytes | Path:
    """The file that a path names, or the bytes of the one that a URI names. Raises like `read_any`."""
    if "://" not in reference:
        return Path(reference)
    root, found, _ = reference.partition("/runs/")
    if not found:
        raise ReportError("is not a file of a store", subject=reference, hint="its path has a folder runs/")
    return ReportStore.open(root).read_bytes(reference)


def is_manifest(reference: str) -> bool:
    """Whether a path or URI names a manifest."""
    return reference.rsplit("/", 1)[-1] == MANIFEST
