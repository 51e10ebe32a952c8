"""Percentiles over time, of latencies: exact, from the points, ranked in SQL.

The p-th percentile of n values is the smallest that at least p percent of them do not exceed: the value at rank
ceil(n p / 100), which is one that was measured (nearest rank; SQL's percentile_disc).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Select, case, func, select

from model_health.catalog.loader import catalogue
from model_health.store.index.selection import Configuration, chosen
from model_health.store.index.tables import metric_points
from model_health.store.index.trends import TrendQuery, point_conditions, point_source
from model_health.store.index.types import bucket_of, bucket_start

PERCENTS: Final = (50, 95, 99)


@dataclass(frozen=True)
class PercentileStep:
    """One step: how many values it is over, and a value per percent of `PERCENTS`."""

    at: datetime
    measured: int
    values: Mapping[int, float]


def has_percentiles(metric: str) -> bool:
    """Whether a metric is a length of time, of which people ask for percentiles."""
    known = catalogue().get(metric)
    return known is not None and known.unit == "seconds" and "timestamp" not in metric.split("_")


def percentiles(connection: Connection, query: TrendQuery, step: timedelta) -> tuple[PercentileStep, ...]:
    """The percentiles of each step that has values, oldest first. `step` as `trend` chose it."""
    statement = _select(query, chosen(connection, query.where), step)
    return tuple(
        PercentileStep(
            at=bucket_start(int(row.step), step),
            measured=int(row.measured),
            values={percent: float(row._mapping[f"p{percent}"]) for percent in PERCENTS},
        )
        for row in connection.execute(statement)
    )


def _select(query: TrendQuery, only: list[Configuration] | None, step: timedelta) -> Select[Any]:
    source, conditions = point_source(query, only)
    value = metric_points.c.value
    number = bucket_of(metric_points.c.at, step)
    ranked = (
        select(
            number.label("step"),
            value.label("value"),
            func.row_number().over(partition_by=number, order_by=value).label("rank"),
            func.count().over(partition_by=number).label("n"),
        )
        .select_from(source)
        .where(*point_conditions(query, step), *conditions, value.is_not(None))
        .subquery("ranked")
    )
    picked = [
        # Whole-number division rounds down, so this is the rank rounded up.
        func.max(case((ranked.c.rank == (ranked.c.n * percent + 99) // 100, ranked.c.value))).label(f"p{percent}")
        for percent in PERCENTS
    ]
    return (
        select(ranked.c.step, func.max(ranked.c.n).label("measured"), *picked).group_by(ranked.c.step).order_by("step")
    )
