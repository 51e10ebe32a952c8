"""What must hold of a whole installation after things were killed: no run twice, none lost, on no side.

Sums the index's two views of the same numbers, walks the store, and reads what the local sink was sent.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from model_health.config.settings import Settings
from model_health.store.index.index import Index
from model_health.store.index.records import RunStatus
from model_health.store.index.tables import metric_points, runs, series
from model_health.store.index.tables_outbox import outbox, outbox_attempts
from model_health.store.index.tables_trends import trend_days, trend_series
from support.chaos_check import place_of

_SHOWN = 10


def check_whole(settings: Settings) -> list[str]:
    """Every promise that the runs together break: files of no run, days unlike points, lines lost, torn or doubled."""
    with Index.open(settings.index_url) as index:
        known = {row.run_key for row in index.rows(select(runs.c.run_key))}
        wrong = _days(index)
        arrived, sent = _arrived(index), _sent(index)
    root = place_of(settings) / "runs"
    folders = {str(path.relative_to(root)) for path in root.glob("*/*/*")}
    wrong += [f"{name}: files, but no row" for name in sorted(folders - known)]
    return wrong + _lines(settings.home / ".model-health/metrics", arrived, sent)


def _days(index: Index) -> list[str]:
    """Days are what trends read; points are what runs wrote. They are of the same values, or some are lost or twice."""
    value = metric_points.c.value
    counted = (func.count(value), func.count() - func.count(value), func.coalesce(func.sum(value), 0.0))
    points = index.rows(
        select(series.c.model, series.c.metric, *counted)
        .join(metric_points, metric_points.c.series_id == series.c.id)
        .group_by(series.c.model, series.c.metric)
    )
    summed = (func.sum(trend_days.c.measured), func.sum(trend_days.c.not_measured), func.sum(trend_days.c.total))
    days = index.rows(
        select(trend_series.c.model, trend_series.c.metric, *summed)
        .join(trend_days, trend_days.c.trend_id == trend_series.c.id)
        .group_by(trend_series.c.model, trend_series.c.metric)
    )
    of_points = {(row[0], row[1]): (int(row[2]), int(row[3]), float(row[4])) for row in points}
    of_days = {(row[0], row[1]): (int(row[2]), int(row[3]), float(row[4] or 0.0)) for row in days}
    wrong = []
    for key in sorted(of_points.keys() | of_days.keys()):
        one, other = of_points.get(key, (0, 0, 0.0)), of_days.get(key, (0, 0, 0.0))
        if one[:2] != other[:2] or abs(one[2] - other[2]) > 1e-6 * max(1.0, abs(one[2])):
            wrong.append(f"{key[1]} of {key[0]}: its points are {one}, its days {other}")
    return wrong


def _arrived(index: Index) -> dict[str, set[tuple[str, str]]]:
    """Metrics and prompts of each measured run whose numbers the local sink took."""
    mine = (outbox.c.run_key == runs.c.run_key, outbox.c.created_at == runs.c.ended_at, outbox.c.kind == "samples")
    taken = (outbox.c.target == "local", outbox.c.state == "delivered", runs.c.status == RunStatus.MEASURED.value)
    query = (
        select(runs.c.run_id, series.c.metric, series.c.prompt_id)
        .join(metric_points, metric_points.c.run_id == runs.c.id)
        .join(series, series.c.id == metric_points.c.series_id)
        .join(outbox, mine[0] & mine[1] & mine[2])
        .where(*taken)
    )
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for run_id, metric, prompt_id in index.rows(query):
        found[run_id].add((metric, prompt_id))
    return found


def _sent(index: Index) -> dict[str, int]:
    """How often the local sink may have been sent the same numbers: once, and again for each try of unknown end.

    That is what "at least once" allows: who dies between sending and marking leaves an item that goes out again.
    """
    unknown = outbox_attempts.c.outcome.is_(None) | (outbox_attempts.c.outcome == "lost")
    query = (
        select(runs.c.run_id, func.count())
        .join(outbox, outbox.c.run_key == runs.c.run_key)
        .join(outbox_attempts, outbox_attempts.c.item_id == outbox.c.id)
        .where(outbox.c.target == "local", outbox.c.kind == "samples", unknown)
        .group_by(runs.c.run_id)
    )
    return {row[0]: 1 + int(row[1]) for row in index.rows(query)}


def _lines(folder: Path, arrived: dict[str, set[tuple[str, str]]], sent: dict[str, int]) -> list[str]:
    """Each line is whole, stands there no more often than it was sent, and none is missing of what was taken."""
    seen: Counter[tuple[str, str, str, str, str]] = Counter()
    there: dict[str, set[tuple[str, str]]] = defaultdict(set)
    wrong = []
    for path in sorted(folder.glob("metrics*.jsonl")):
        # What follows the last newline is a line that a killed writer left; the next writer removes it.
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
            try:
                content: dict[str, Any] = json.loads(line)
            except ValueError:
                wrong.append(f"{path.name}: line {number} is no JSON")
                continue
            run_id, metric, prompt = str(content["run_id"]), str(content["metric"]), content["prompt_id"] or ""
            seen[run_id, str(content["at"]), prompt, metric, json.dumps(content["labels"], sort_keys=True)] += 1
            there[run_id].add((metric, prompt))
    for (run_id, at, prompt, metric, _), times in seen.items():
        if times > sent.get(run_id, 1):
            where = f"{metric} of {run_id} {prompt} at {at}"
            wrong.append(f"{where}: {times} times in the local sink, sent {sent.get(run_id, 1)} times")
    for run_id, wanted in arrived.items():
        if lost := sorted(wanted - there[run_id]):
            wrong.append(f"{run_id}: {len(lost)} values never reached the local sink, such as {lost[0]}")
    return wrong[:_SHOWN]


def not_back(occupied: Mapping[str, int] | None, gone: Sequence[str], child_left: bool) -> list[str]:
    """What is not as it was: slots that are taken (None: Airflow does not answer), services, a capture child."""
    taken = [f"{count} slots of the pool {name} are taken" for name, count in (occupied or {}).items() if count]
    return [
        *(["Airflow does not answer"] if occupied is None else taken),
        *(f"{name} is not there" for name in gone),
        *(["a capture child is left"] if child_left else []),
    ]
