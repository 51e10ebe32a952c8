"""What must hold of a run after something was killed, whatever it was: each broken promise is a sentence.

Reads index, store and outbox as they lie there, past the code that wrote them. Kills nothing.
"""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Row, select

from model_health.config.settings import Settings
from model_health.errors import ModelHealthError
from model_health.report.load import load_report
from model_health.report.manifest import Manifest
from model_health.report.serialise import digest as digest_of
from model_health.store.index.index import Index
from model_health.store.index.records import RunStatus
from model_health.store.index.tables import metric_points, runs, samples, series
from model_health.store.index.tables_outbox import outbox, outbox_attempts
from model_health.store.names import MANIFEST, REPORT_SUFFIX, VALIDATION, RunFolder

SeriesKey = tuple[str, str, str, str]
NEVER_BEGAN = "never began"


@dataclass(frozen=True)
class Clean:
    """What a run leaves that nobody disturbed: its prompts, and its metric points without their values."""

    prompts: frozenset[str]
    series: frozenset[SeriesKey]


@dataclass(frozen=True)
class Found:
    """How a run ended, and every promise that it breaks."""

    ended: str
    violations: tuple[str, ...]


def clean_run(index: Index, run_key: str) -> Clean:
    """What a measured run left: the measure of all others of the same model and suite."""
    row = _row(index, run_key)
    assert row is not None
    assert row.status == RunStatus.MEASURED, row
    clean = Clean(frozenset(_prompts(index, row.id)), frozenset(_series(index, row.id)))
    assert clean.prompts
    assert clean.series
    return clean


def check_run(settings: Settings, folder: RunFolder, clean: Clean, sinks: tuple[str, ...], *, arrived: bool) -> Found:
    """Look at one run that is over.

    Args:
        settings: of the installation.
        folder: names the run.
        clean: what it leaves if it was measured.
        sinks: who is told of every run.
        arrived: whether everything must have been delivered; if not, it may be under way in the outbox.
    """
    place = place_of(settings) / folder.path
    with Index.open(settings.index_url) as index:
        row = _row(index, folder.key)
        if row is None:
            left = sorted(path.name for path in place.iterdir()) if place.exists() else []
            return Found(NEVER_BEGAN, tuple(f"{folder.key}: no row, but the file {name}" for name in left))
        wrong = _files(place, row, clean)
        wrong += _numbers(index, row, clean)
        wrong += _outbox(index, row, sinks, arrived=arrived)
    if row.status == RunStatus.STARTED:
        wrong.append("it never ended")
    return Found(str(row.status), tuple(f"{folder.key}: {sentence}" for sentence in wrong))


# ----------------------------------------------------------------------------------------------------------- parts
def place_of(settings: Settings) -> Path:
    """The folder of a store that lies on this machine."""
    return Path(settings.store_uri.removeprefix("file://"))


def _row(index: Index, run_key: str) -> Row[tuple[object, ...]] | None:
    found = index.rows(select(runs).where(runs.c.run_key == run_key))
    return found[0] if found else None


def _prompts(index: Index, row_id: int) -> list[str]:
    return [row.prompt_id for row in index.rows(select(samples.c.prompt_id).where(samples.c.run_id == row_id))]


def _series(index: Index, row_id: int) -> list[SeriesKey]:
    columns = (series.c.metric, series.c.prompt_id, series.c.prompt_group, series.c.labels)
    query = select(*columns).join(metric_points, metric_points.c.series_id == series.c.id)
    return [(row[0], row[1], row[2], row[3]) for row in index.rows(query.where(metric_points.c.run_id == row_id))]


def _files(place: Path, row: Row[tuple[object, ...]], clean: Clean) -> list[str]:
    names = {path.name for path in place.iterdir()} if place.exists() else set()
    reports = {name for name in names if name.endswith(REPORT_SUFFIX) and not name.startswith(".")}
    wrong = [f"a file that belongs to nothing: {name}" for name in sorted(names - reports - {MANIFEST, VALIDATION})]
    if MANIFEST not in names:
        return [*wrong, "no manifest"]
    raw = (place / MANIFEST).read_bytes()
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValueError as error:
        return [*wrong, f"its manifest cannot be read: {str(error).splitlines()[0]}"]
    if manifest.status != row.status:
        wrong.append(f"the index says {row.status}, the manifest {manifest.status}")
    if row.status == RunStatus.MEASURED and digest_of(raw) != row.manifest_digest:
        wrong.append("the manifest is not the one that the index names")
    listed = {entry.prompt_id: entry for entry in manifest.prompts}
    if manifest.status == "measured" and set(listed) != clean.prompts:
        wrong.append(f"the manifest lists {sorted(listed)}, not {sorted(clean.prompts)}")
    unnamed = reports - {f"{prompt}{REPORT_SUFFIX}" for prompt in listed}
    wrong += [f"a report that no manifest names: {name}" for name in sorted(unnamed)]
    for prompt, entry in sorted(listed.items()):
        wrong += [f"{prompt}: {text}" for text in _report(place / f"{prompt}{REPORT_SUFFIX}", entry.digest, prompt)]
    return wrong


def _report(path: Path, digest: str, prompt: str) -> list[str]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return ["its report is missing"]
    if digest_of(raw) != digest:
        return ["its report is not the one that the manifest names"]
    try:
        report = load_report(gzip.decompress(raw))
    except (ModelHealthError, OSError, EOFError) as error:
        return [f"its report cannot be read: {error}"]
    found = report.model_health.prompt_id
    return [] if found == prompt else [f"its report is of another prompt: {found}"]


def _numbers(index: Index, row: Row[tuple[object, ...]], clean: Clean) -> list[str]:
    measured = row.status == RunStatus.MEASURED
    prompts, points = Counter(_prompts(index, row.id)), Counter(_series(index, row.id))
    wrong = []
    for what, found, wanted in (("samples", prompts, clean.prompts), ("points", points, clean.series)):
        expected: frozenset[object] = frozenset(wanted) if measured else frozenset()
        lost, extra = expected - set(found), set(found) - expected
        wrong += [f"{len(lost)} {what} are lost, such as {sorted(map(str, lost))[0]}"] if lost else []
        wrong += [f"{len(extra)} {what} that it cannot have, such as {sorted(map(str, extra))[0]}"] if extra else []
        wrong += [f"{what} twice: {key}" for key, times in found.items() if times > 1]
    return wrong


def _outbox(index: Index, row: Row[tuple[object, ...]], sinks: tuple[str, ...], *, arrived: bool) -> list[str]:
    columns = (outbox.c.id, outbox.c.target, outbox.c.state, outbox.c.last_error)
    mine = select(*columns).where(outbox.c.run_key == row.run_key, outbox.c.kind == "samples")
    # Beside them lie what an earlier try sent, and what was found about the run's validity: of other times.
    measured = row.status == RunStatus.MEASURED
    now = outbox.c.created_at == row.ended_at if measured else outbox.c.created_at >= row.started_at
    current = index.rows(mine.where(outbox.c.state != "superseded", now))
    wrong = []
    for sink in sinks:
        of_sink = [one for one in current if one.target == sink]
        if len(of_sink) != 1 and row.status != RunStatus.STARTED:
            wrong.append(f"{len(of_sink)} items of its numbers for {sink}, not one")
        for one in of_sink:
            if one.state in ("dead", "withheld") or (arrived and one.state != "delivered"):
                wrong.append(f"its numbers for {sink} are {one.state}: {one.last_error or 'no error'}")
            took = index.rows(select(outbox_attempts.c.outcome).where(outbox_attempts.c.item_id == one.id))
            delivered = sum(entry.outcome == "delivered" for entry in took)
            if delivered > 1:
                wrong.append(f"its numbers were delivered {delivered} times to {sink}")
    return wrong
