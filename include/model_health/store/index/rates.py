"""How often something was the case, per step of time: flags that prompts raised, and verdicts of runs. All in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Integer, func, literal_column, select

from model_health.store.index.records import label_mapping
from model_health.store.index.rollup import DAY
from model_health.store.index.selection import Selection, chosen, day_conditions, run_conditions, time_conditions
from model_health.store.index.tables import runs
from model_health.store.index.tables_trends import trend_days, trend_series
from model_health.store.index.types import bucket_of, bucket_start

FLAGGED = "prompts_flagged"
PROMPTS = "prompts_total"


@dataclass(frozen=True)
class FlagRate:
    """How many of the prompts of a stretch of time raised a flag; `prompts` counts each as often as it was run."""

    at: datetime
    flag: str
    raised: int
    prompts: int

    @property
    def fraction(self) -> float | None:
        """None where no prompt was run, which is no rate of zero."""
        return self.raised / self.prompts if self.prompts else None


@dataclass(frozen=True)
class VerdictCount:
    """How many runs of a stretch of time had a verdict; None for those without any (under way, died)."""

    at: datetime
    verdict: str | None
    runs: int


def flag_rates(connection: Connection, where: Selection, *, days: int = 1) -> list[FlagRate]:
    """Every flag's rate per step of so many UTC days that has runs, by time and flag; days are taken whole."""
    number = trend_days.c.day // literal_column(str(days), Integer)
    key = (number, trend_series.c.metric, trend_series.c.labels)
    query = (
        select(number.label("step"), *key[1:], func.sum(trend_days.c.total).label("total"))
        .join(trend_series, trend_series.c.id == trend_days.c.trend_id)
        .where(trend_series.c.metric.in_((FLAGGED, PROMPTS)), *day_conditions(where, chosen(connection, where)))
        .group_by(*key)
        .order_by(*key)
    )
    rows = connection.execute(query).all()
    prompts = {row.step: round(row.total or 0) for row in rows if row.metric == PROMPTS}
    step = DAY * days
    return [
        FlagRate(
            bucket_start(int(row.step), step),
            label_mapping(row.labels).get("flag", row.labels),
            round(row.total or 0),
            prompts.get(row.step, 0),
        )
        for row in rows
        if row.metric == FLAGGED
    ]


def verdict_counts(connection: Connection, where: Selection, step: timedelta = DAY) -> list[VerdictCount]:
    """How many runs had which verdict, per step of time by their start."""
    number = bucket_of(runs.c.started_at, step)
    conditions = [*run_conditions(where, chosen(connection, where)), *time_conditions(where, runs.c.started_at)]
    query = (
        select(number.label("step"), runs.c.verdict, func.count().label("n"))
        .where(*conditions)
        .group_by(number, runs.c.verdict)
        .order_by(number, runs.c.verdict)
    )
    return [VerdictCount(bucket_start(int(row.step), step), row.verdict, row.n) for row in connection.execute(query)]
