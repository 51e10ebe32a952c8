"""The fleet at a glance: one row per model and suite, from some twenty steps into indexes each, whatever their age.

Owns the questions and the order of the answers; what is stale, stuck or red is decided by whoever shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args

from sqlalchemy import CTE, ColumnElement, Connection, FromClause, and_, case, func, select

from model_health.report.manifest import Verdict
from model_health.store.index.alerts import AlertState, standing_states
from model_health.store.index.comparisons import ComparisonRecord
from model_health.store.index.outbox_waiting import Waiting, waiting_by_model
from model_health.store.index.pairs import all_pairs, newest_run, newest_valid_run
from model_health.store.index.queries import run_record
from model_health.store.index.records import RunRecord
from model_health.store.index.rollup import DAY
from model_health.store.index.selection import day_number
from model_health.store.index.tables import runs
from model_health.store.index.tables_comparisons import comparisons
from model_health.store.index.tables_self_tests import self_tests
from model_health.store.index.tables_trends import trend_days, trend_series
from model_health.store.index.types import bucket_start

MAIN_METRICS: Final = (
    "entropy_bits_mean",
    "surprisal_bits_mean",
    "time_per_output_token_seconds",
    "prompts_unhealthy",
)
"""What the fleet shows a line of: how sure the models are, how surprised, how fast, and how many prompts are sick."""
DAYS: Final = 30

Pair = tuple[str, str]


@dataclass(frozen=True)
class SparkPoint:
    """The mean of a metric over one UTC day; None where nothing was measured on it although something ran."""

    day: datetime
    mean: float | None


@dataclass(frozen=True)
class SelfTestSummary:
    """The newest self-test of a model on a suite."""

    started_at: datetime
    passed: bool
    reduced: bool
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class FleetRow:
    """One model on one suite.

    Args:
        model: its name.
        suite: the canary suite.
        last: the newest run, whatever became of it.
        last_verdict_run: the newest run that has a verdict; None where none has ended.
        last_valid_at: when the newest run ended whose reports were found valid; None where there is none.
        changed_at: when the run started that first had the newest verdict, without another since.
        previous_verdict: what the verdict was before; None where it never was another.
        alerts: gates of it that stand at warn or fail, or of which people have not heard the end.
        waiting: what has not been delivered of its runs.
        self_test: None where it was never self-tested.
        comparison: the newest with a baseline; None where there is none.
        sparklines: by metric, one point per UTC day that has values, oldest first.
    """

    model: str
    suite: str
    last: RunRecord
    last_verdict_run: RunRecord | None
    last_valid_at: datetime | None
    changed_at: datetime | None
    previous_verdict: Verdict | None
    alerts: tuple[AlertState, ...]
    waiting: Waiting
    self_test: SelfTestSummary | None
    comparison: ComparisonRecord | None
    sparklines: Mapping[str, tuple[SparkPoint, ...]]


def fleet(
    connection: Connection, now: datetime, *, days: int = DAYS, metrics: Sequence[str] = MAIN_METRICS
) -> list[FleetRow]:
    """Every model and suite that ever ran, by name.

    Args:
        connection: to read from.
        now: the present, where the lines end.
        days: how far they go back.
        metrics: those without labels of their own; see `MAIN_METRICS`.
    """
    pairs = all_pairs()
    newest = _runs(connection, pairs)
    changes = _changes(connection, pairs)
    alerts: dict[Pair, list[AlertState]] = {}
    for state in standing_states(connection):
        alerts.setdefault((state.model, state.suite), []).append(state)
    waiting = waiting_by_model(connection)
    tests, compared = _self_tests(connection), _comparisons(connection, pairs)
    lines = _lines(connection, day_number(now) - days + 1, metrics)
    rows = []
    for pair, found in sorted(newest.items()):
        last, valid = found["last"], found["valid"]
        assert last is not None, "a pair is one because it has a run"
        changed_at, previous = changes.get(pair, (None, None))
        rows.append(
            FleetRow(
                *pair,
                last=last,
                last_verdict_run=found["judged"],
                last_valid_at=valid.ended_at if valid is not None else None,
                changed_at=changed_at,
                previous_verdict=previous,
                alerts=tuple(alerts.get(pair, ())),
                waiting=waiting.get(pair, Waiting()),
                self_test=tests.get(pair),
                comparison=compared.get(pair),
                sparklines={metric: tuple(lines.get((*pair, metric), ())) for metric in metrics},
            )
        )
    return rows


def _judged(table: FromClause) -> ColumnElement[bool]:
    return table.c.verdict.is_not(None)


def _runs(connection: Connection, pairs: CTE) -> dict[Pair, dict[str, RunRecord | None]]:
    wanted = {"last": newest_run(pairs), "judged": newest_run(pairs, _judged), "valid": newest_valid_run(pairs)}
    ids = select(pairs, *(which.label(name) for name, which in wanted.items()))
    rows = connection.execute(ids).all()
    needed = {row._mapping[name] for row in rows for name in wanted} - {None}
    records = {row.id: run_record(row) for row in connection.execute(select(runs).where(runs.c.id.in_(needed)))}
    return {(row.model, row.suite): {name: records.get(row._mapping[name]) for name in wanted} for row in rows}


def _changes(connection: Connection, pairs: CTE) -> dict[Pair, tuple[datetime | None, Verdict | None]]:
    """When each pair's newest verdict began, and the one before: one step per verdict into its index."""
    mine = and_(runs.c.model == pairs.c.model, runs.c.suite == pairs.c.suite)
    verdicts: tuple[Verdict, ...] = get_args(Verdict)
    last = {
        verdict: select(func.max(runs.c.started_at)).where(mine, runs.c.verdict == verdict).correlate(pairs)
        for verdict in verdicts
    }
    rows = connection.execute(select(pairs, *(q.scalar_subquery().label(verdict) for verdict, q in last.items()))).all()
    found: dict[Pair, tuple[datetime | None, Verdict | None]] = {}
    for row in rows:
        times = sorted(((row._mapping[v], v) for v in verdicts if row._mapping[v] is not None), reverse=True)
        if not times:
            continue
        newest, previous = times[0][1], times[1] if len(times) > 1 else None
        began = select(func.min(runs.c.started_at)).where(
            runs.c.model == row.model, runs.c.suite == row.suite, runs.c.verdict == newest
        )
        if previous is not None:
            began = began.where(runs.c.started_at > previous[0])
        since: datetime | None = connection.execute(began).scalar_one()
        found[row.model, row.suite] = (since, None if previous is None else previous[1])
    return found


def _self_tests(connection: Connection) -> dict[Pair, SelfTestSummary]:
    pair = (self_tests.c.model, self_tests.c.suite)
    newest = select(*pair, func.max(self_tests.c.started_at).label("at")).group_by(*pair).subquery("newest")
    same = and_(pair[0] == newest.c.model, pair[1] == newest.c.suite, self_tests.c.started_at == newest.c.at)
    return {
        (row.model, row.suite): SelfTestSummary(row.started_at, row.passed, row.reduced, row.figures)
        for row in connection.execute(select(self_tests).join(newest, same))
    }


def _comparisons(connection: Connection, pairs: CTE) -> dict[Pair, ComparisonRecord]:
    newest = (
        select(comparisons.c.id)
        .where(comparisons.c.model == pairs.c.model, comparisons.c.suite == pairs.c.suite)
        .order_by(comparisons.c.at.desc(), comparisons.c.id.desc())
        .limit(1)
        .correlate(pairs)
        .scalar_subquery()
    )
    ids = [row.id for row in connection.execute(select(newest.label("id")).select_from(pairs)) if row.id is not None]
    query = select(*(column for column in comparisons.c if column.name != "id")).where(comparisons.c.id.in_(ids))
    records = (ComparisonRecord(**{**row._mapping, "axes": tuple(row.axes)}) for row in connection.execute(query).all())
    return {(record.model, record.suite): record for record in records}


def _lines(
    connection: Connection, first_day: int, metrics: Sequence[str]
) -> dict[tuple[str, str, str], list[SparkPoint]]:
    measured = func.sum(trend_days.c.measured)
    key = (trend_series.c.model, trend_series.c.suite, trend_series.c.metric, trend_days.c.day)
    query = (
        select(*key, case((measured > 0, func.sum(trend_days.c.total) / measured)).label("mean"))
        .join(trend_series, trend_series.c.id == trend_days.c.trend_id)
        .where(trend_series.c.metric.in_(metrics), trend_series.c.labels == "", trend_days.c.day >= first_day)
        .group_by(*key)
        .order_by(*key)
    )
    found: dict[tuple[str, str, str], list[SparkPoint]] = {}
    for row in connection.execute(query):
        found.setdefault((row.model, row.suite, row.metric), []).append(
            SparkPoint(bucket_start(row.day, DAY), row.mean)
        )
    return found
