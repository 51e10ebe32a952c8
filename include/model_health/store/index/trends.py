"""A metric over time in some hundred steps, aggregated in SQL: from days where steps are days, else from points.

Owns the length of a step and the two ways to an answer, which agree. Percentiles are in `percentiles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Integer, Row, Select, distinct, func, literal_column, select

from model_health.store.index.records import label_text
from model_health.store.index.rollup import DAY
from model_health.store.index.selection import (
    Configuration,
    Selection,
    chosen,
    day_conditions,
    day_range,
    run_conditions,
    time_conditions,
)
from model_health.store.index.tables import metric_points, runs, series
from model_health.store.index.tables_trends import trend_days, trend_series
from model_health.store.index.types import bucket_of, bucket_start

MOST_STEPS: Final = 400
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
STEPS: Final = (
    *(_MINUTE * n for n in (1, 5, 15, 30)),
    *(_HOUR * n for n in (1, 2, 3, 6, 12)),
    *(DAY * n for n in (1, 2, 7, 14, 28, 91, 364)),
)
"""Lengths of a step that people can read: none cuts an hour or a day unevenly."""


@dataclass(frozen=True)
class TrendQuery:
    """Which values a trend is made of.

    Args:
        where: the part of the history.
        metric: its name in the catalogue.
        labels: all the other labels of the values, `{"flag": "nan_detected"}`; `{}`: those without any; None: whatever.
        prompt_group: only prompts of a group; None: all.
        prompt_id: only one prompt; None: all.
    """

    where: Selection
    metric: str
    labels: Mapping[str, str] | None = field(default_factory=dict)
    prompt_group: str | None = None
    prompt_id: str | None = None

    @property
    def of_some_prompts(self) -> bool:
        """Whether prompts are left out, of which days know nothing."""
        return self.prompt_group is not None or self.prompt_id is not None


@dataclass(frozen=True)
class TrendStep:
    """One step. `mean`, `minimum` and `maximum` are over the `measured` values, None where there are none.

    `not_measured` counts nulls. `runs` counts a run that has values on two days twice where steps are whole days.
    """

    at: datetime
    runs: int
    measured: int
    not_measured: int
    mean: float | None
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class Trend:
    """Steps that hold values, oldest first; one that is left out has none. `step` is the length of each."""

    step: timedelta
    steps: tuple[TrendStep, ...]


def step_for(span: timedelta, most: int = MOST_STEPS) -> timedelta:
    """The shortest readable step of which at most `most` cover a span (and at worst one more, cut at its ends)."""
    return next((step for step in STEPS if span <= step * most), STEPS[-1])


def span_of(connection: Connection, where: Selection) -> tuple[datetime, datetime] | None:
    """From when to when a selection has runs, cut to its own times; None where there are none."""
    mine = (runs.c.model == where.model, runs.c.suite == where.suite)
    first = connection.execute(select(func.min(runs.c.started_at)).where(*mine)).scalar_one()
    if first is None:
        return None
    # One step to the newest run: when each run ended stands in no index.
    newest = select(func.coalesce(runs.c.ended_at, runs.c.started_at)).where(*mine)
    last: datetime = connection.execute(newest.order_by(runs.c.started_at.desc()).limit(1)).scalar_one()
    begin, end = max(first, where.since or first), min(last, where.until or last)
    return (begin, end) if begin <= end else None


def trend(connection: Connection, query: TrendQuery, *, step: timedelta | None = None) -> Trend:
    """A metric over time.

    Args:
        connection: to read from.
        query: which values.
        step: length of a step; by default the shortest of `STEPS` that gives no more than `MOST_STEPS`. Where it is
            whole days, the first and the last day of the selection are taken whole.
    """
    if step is None:
        span = span_of(connection, query.where)
        if span is None:
            return Trend(STEPS[0], ())
        step = step_for(span[1] - span[0])
    only = chosen(connection, query.where)
    if step % DAY or query.of_some_prompts:
        statement = select_from_points(query, only, step)
    else:
        statement = select_from_days(query, only, step // DAY)
    return Trend(step, tuple(_step(row, step) for row in connection.execute(statement)))


def select_from_days(query: TrendQuery, only: list[Configuration] | None, days: int) -> Select[Any]:
    """The steps of a trend, each of so many days, from what was counted per day."""
    day = trend_days.c.day
    # A literal, not a parameter: PostgreSQL must see that SELECT and GROUP BY hold the same expression.
    number = day // literal_column(str(days), Integer)
    conditions = [*day_conditions(query.where, only), trend_series.c.metric == query.metric]
    if query.labels is not None:
        conditions.append(trend_series.c.labels == label_text(query.labels))
    measured = func.sum(trend_days.c.measured)
    return (
        select(
            number.label("step"),
            func.sum(trend_days.c.runs).label("runs"),
            measured.label("measured"),
            func.sum(trend_days.c.not_measured).label("not_measured"),
            (func.sum(trend_days.c.total) / func.nullif(measured, 0)).label("mean"),
            func.min(trend_days.c.minimum).label("minimum"),
            func.max(trend_days.c.maximum).label("maximum"),
        )
        .select_from(trend_days.join(trend_series, trend_series.c.id == trend_days.c.trend_id))
        .where(*conditions)
        .group_by(number)
        .order_by(number)
    )


def point_conditions(query: TrendQuery, step: timedelta) -> list[ColumnElement[bool]]:
    """What a query asks of points and their series, its time included: whole days where steps are days."""
    where = query.where
    conditions: list[ColumnElement[bool]] = [
        series.c.model == where.model,
        series.c.suite == where.suite,
        series.c.metric == query.metric,
    ]
    if query.labels is not None:
        conditions.append(series.c.labels == label_text(query.labels))
    if query.prompt_group is not None:
        conditions.append(series.c.prompt_group == query.prompt_group)
    if query.prompt_id is not None:
        conditions.append(series.c.prompt_id == query.prompt_id)
    at = metric_points.c.at
    if step % DAY:
        return conditions + time_conditions(where, at)
    first, last = day_range(where)
    conditions += [] if first is None else [at >= bucket_start(first, DAY)]
    return conditions + ([] if last is None else [at < bucket_start(last + 1, DAY)])


def point_source(query: TrendQuery, only: list[Configuration] | None) -> tuple[Any, list[ColumnElement[bool]]]:
    """What points are read from, and what is asked of the runs; these are joined only where something is."""
    source = metric_points.join(series, series.c.id == metric_points.c.series_id)
    if only is None and query.where.healthy is None:
        return source, []
    return source.join(runs, runs.c.id == metric_points.c.run_id), run_conditions(query.where, only)


def select_from_points(query: TrendQuery, only: list[Configuration] | None, step: timedelta) -> Select[Any]:
    """The steps of a trend, from the points."""
    source, conditions = point_source(query, only)
    number = bucket_of(metric_points.c.at, step)
    value = metric_points.c.value
    return (
        select(
            number.label("step"),
            func.count(distinct(metric_points.c.run_id)).label("runs"),
            func.count(value).label("measured"),
            (func.count() - func.count(value)).label("not_measured"),
            func.avg(value).label("mean"),
            func.min(value).label("minimum"),
            func.max(value).label("maximum"),
        )
        .select_from(source)
        .where(*point_conditions(query, step), *conditions)
        .group_by(number)
        .order_by(number)
    )


def _step(row: Row[Any], step: timedelta) -> TrendStep:
    return TrendStep(
        at=bucket_start(int(row.step), step),
        runs=int(row.runs),
        measured=int(row.measured),
        not_measured=int(row.not_measured),
        mean=row.mean,
        minimum=row.minimum,
        maximum=row.maximum,
    )
