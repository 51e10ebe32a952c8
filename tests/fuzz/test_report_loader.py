"""Reports that somebody else wrote: read, shown, converted and stored, or refused in one line."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from model_health.report.load import convert_file, iter_reports, list_reports, load_manifest, load_report
from model_health.report.manifest import Manifest
from model_health.report.samples import samples_of_manifest, samples_of_report
from model_health.report.serialise import to_json
from model_health.report.text import render_report
from model_health.report.trace import Trace
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.fuzzing import Guard, attempt, fuzz
from support.manifests import make_manifest
from support.mutations import ByteEdit, Edits, byte_edits, changed, damaged, edits, to_text, values, wrappings
from support.traces import trace, with_traps, write_sqlite
from support.validation import healthy_telemetry, report_of

ENTRY = "report loader"
LIMIT = 2**21
"""Bytes of JSON: a bomb is a file that has more."""
Wrap = Callable[[bytes], bytes]

DOCUMENTS: dict[str, Callable[[], Any]] = {
    "0.2.0": lambda: trace("0.2.0", steps=2, layers=2),
    "0.3.0": lambda: trace("0.3.0", steps=2, layers=2),
    "traps": lambda: with_traps(trace("0.3.0", steps=2, layers=2)),
    "encoder": lambda: trace("0.4.0", steps=2, layers=2, encoder=True),
    "later": lambda: trace("0.4.0", steps=2, layers=2, later=True, fingerprint=2),
    "ours": lambda: json.loads(to_json(report_of(healthy_telemetry(steps=2, layers=2, prompt_tokens=3)))),
}
documents = st.sampled_from(sorted(DOCUMENTS))
readable = cache(lambda name: DOCUMENTS[name]())


def use(report: Trace) -> None:
    """What is done with a report that was accepted: it is shown, turned into samples, written, and read again."""
    render_report(report, Console(file=io.StringIO(), width=80))
    samples_of_report(report)
    text = to_json(report)
    assert to_json(load_report(text)) == text


def read_all(data: bytes) -> None:
    """Every way in which a report is read."""
    list_reports(data)
    for report in iter_reports(data, limit=LIMIT):
        use(report)
    use(load_report(data, limit=LIMIT))


@fuzz(full=1600, short=30)
@given(name=documents, changes=st.lists(edits, min_size=1, max_size=4), wrap=wrappings)
def test_a_report_with_other_values_is_read_or_refused(name: str, changes: Edits, wrap: Wrap, guard: Guard) -> None:
    data = wrap(to_text(changed(readable(name), changes)).encode())
    attempt(ENTRY, lambda: read_all(data), guard)


@fuzz(full=900, short=20)
@given(name=documents, before=byte_edits, wrap=wrappings, after=byte_edits)
def test_a_report_with_other_bytes_is_read_or_refused(
    name: str, before: list[ByteEdit], wrap: Wrap, after: list[ByteEdit], guard: Guard
) -> None:
    data = damaged(wrap(damaged(to_text(readable(name)).encode(), before)), after)
    attempt(ENTRY, lambda: read_all(data), guard)


cells = st.one_of(
    st.none(), st.integers(-5, 2**62), st.floats(), st.text(max_size=8), st.binary(max_size=40), st.just(b"\xff\xfe{}")
)
identifiers = st.sampled_from(["", "..", "../guard/kept", "a\x00b", "a/b", "\u2028", "\x1b[31m", "x" * 300])
rows = st.lists(st.tuples(st.one_of(identifiers, cells), cells, st.one_of(cells, documents)), max_size=3)


@fuzz(full=400, short=10)
@given(
    rows=rows, keyless=st.booleans(), compressed=st.booleans(), after=byte_edits, suffix=st.sampled_from(["", ".gz"])
)
def test_a_database_of_reports_is_read_and_converted_or_refused(
    rows: list[Any],
    keyless: bool,
    compressed: bool,
    after: list[ByteEdit],
    suffix: str,
    scratch: Path,
    guard: Guard,
) -> None:
    source, own = scratch / "own" / "reports.db", scratch / "own"
    source.unlink(missing_ok=True)
    write_sqlite(source, [trace("0.3.0", steps=1, layers=1)], compressed=compressed)
    database = sqlite3.connect(source)
    with database:
        if keyless:
            database.execute("DROP TABLE reports")
            database.execute("CREATE TABLE reports (trace_id, created_at_utc, model_id, schema_version, report_json)")
        for identifier, when, cell in rows:
            known = isinstance(cell, str) and cell in DOCUMENTS
            report = json.dumps(readable(cell)) if known else cell
            if isinstance(identifier, str):
                identifier = identifier.encode("utf-8", "replace").decode()
            database.execute(
                "INSERT OR IGNORE INTO reports (trace_id, created_at_utc, model_id, schema_version, report_json)"
                " VALUES (?, ?, 'm', '0.3.0', ?)"
                if keyless or compressed is False
                else "INSERT OR IGNORE INTO reports (trace_id, created_at_utc, model_id, schema_version, report_blob)"
                " VALUES (?, ?, 'm', '0.3.0', ?)",
                (identifier, when if when is not None else "", report),
            )
    database.close()
    source.write_bytes(damaged(source.read_bytes(), after))
    attempt(ENTRY, lambda: convert_file(source, own / f"converted{suffix}"), guard)
    attempt(ENTRY, lambda: read_all(source.read_bytes()), guard, again=True)
    attempt(ENTRY, lambda: list_reports(source), guard, again=True)


@fuzz(full=600, short=15)
@given(changes=st.lists(edits, min_size=1, max_size=4), before=byte_edits, wrap=wrappings)
def test_a_manifest_is_read_or_refused(changes: Edits, before: list[ByteEdit], wrap: Wrap, guard: Guard) -> None:
    content = changed(json.loads(to_json(make_manifest())), changes)
    data = damaged(wrap(to_text(content).encode()), before[:1])

    def read() -> Manifest:
        manifest = load_manifest(data, limit=LIMIT)
        samples_of_manifest(manifest)
        assert load_manifest(to_json(manifest)) == manifest
        return manifest

    attempt(ENTRY, read, guard)


names = st.one_of(values.filter(lambda value: isinstance(value, str)), st.text(max_size=30), st.just("prompt"))
paths = st.one_of(
    names,
    st.lists(st.one_of(names, st.sampled_from(["runs", "..", ".", "", "m", "s", "manifest.json"])), max_size=7).map(
        "/".join
    ),
)


@fuzz(full=1000, short=30)
@given(
    model=names, suite=names, run_id=names, prompt=names, path=paths, scheme=st.sampled_from(["", "file://", "s3://"])
)
@example(model="m", suite="s", run_id="r", prompt="p", path="runs/m/s/link/p.json.gz", scheme="")
def test_no_name_leads_out_of_the_store(
    model: str, suite: str, run_id: str, prompt: str, path: str, scheme: str, scratch: Path, guard: Guard
) -> None:
    root = scratch / "own" / "store"
    root.mkdir(exist_ok=True)
    store = ReportStore.open(root)
    (root / "runs" / "m" / "s").mkdir(parents=True, exist_ok=True)
    link = root / "runs" / "m" / "s" / "link"
    if not link.is_symlink():
        link.symlink_to(scratch / "guard")

    def write() -> None:
        folder = RunFolder.of(model, suite, run_id)
        store.begin_run(folder)
        store.write_report(folder, prompt, b"{}")
        store.write_manifest(folder, b"{}")
        assert [found.folder for found in store.list_runs(folder.model, folder.suite)]

    attempt(ENTRY, write, guard)
    for place in (path, f"{scheme}{root}/{path}", f"{scheme}{path}"):
        for read in (store.read_bytes, store.read_file, store.read_stored):
            found = attempt(ENTRY, lambda read=read, place=place: read(place), again=True)  # type: ignore[misc]
            assert found != b"not yours\n"
    guard.check()
