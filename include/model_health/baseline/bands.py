"""The band in which a metric lies while a model is healthy, per accepted baseline: what a trend is shown against.

Owns the rule, which only informs: gates and comparisons have their own. Each promotion begins a stretch of its own,
because what was accepted then may have another level. A stretch's band is learned from the steps of its first days on
which runs were healthy, so that a drift later on leaves the band instead of widening it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from sqlalchemy import Connection

from model_health.store.index.trends import TrendQuery, span_of, trend

REFERENCE: Final = timedelta(days=30)
FEWEST: Final = 8
"""Healthy steps: fewer show no spread."""
WIDTH: Final = 3.0
"""Robust standard deviations to each side of the median."""
_DEVIATION = 1.4826  # of a normal distribution, in median absolute deviations


@dataclass(frozen=True)
class Band:
    """Where healthy steps lie: the median, and `WIDTH` robust deviations around it, over so many steps."""

    low: float
    centre: float
    high: float
    steps: int


@dataclass(frozen=True)
class BandStretch:
    """The band that holds from `since` until `until` (None: until now).

    `band` is None, with a reason, where too few healthy steps were seen between `since` and `learned_until`.
    """

    since: datetime
    until: datetime | None
    learned_until: datetime
    band: Band | None
    reason: str | None


def band_of(values: Sequence[float]) -> Band | None:
    """The band of healthy values; None with fewer than `FEWEST`. Where most are equal, it spans all of them."""
    if len(values) < FEWEST:
        return None
    centre = median(values)
    spread = WIDTH * _DEVIATION * median(abs(value - centre) for value in values)
    if spread == 0.0:
        return Band(min(values), centre, max(values), len(values))
    return Band(centre - spread, centre, centre + spread, len(values))


def bands(
    connection: Connection, query: TrendQuery, step: timedelta, promoted_at: Sequence[datetime] = ()
) -> list[BandStretch]:
    """The stretches that overlap the query's time, oldest first.

    Args:
        connection: of the index.
        query: what the trend shows; its health filter does not count here.
        step: of the trend: a mean over a day varies less than one over an hour.
        promoted_at: when baselines of this model and suite were promoted.
    """
    everything = span_of(connection, replace(query.where, since=None, until=None))
    if everything is None:
        return []
    begin, now = everything[0], everything[1]
    starts = [begin, *sorted(at for at in promoted_at if begin < at <= now)]
    ends: list[datetime | None] = [*starts[1:], None]
    shown = [
        (start, end)
        for start, end in zip(starts, ends, strict=True)
        if (query.where.until is None or start < query.where.until)
        and (query.where.since is None or end is None or end > query.where.since)
    ]
    return [_learn(connection, query, step, start, end) for start, end in shown]


def _learn(
    connection: Connection, query: TrendQuery, step: timedelta, start: datetime, end: datetime | None
) -> BandStretch:
    until = min(start + REFERENCE, end) if end is not None else start + REFERENCE
    healthy = replace(query, where=replace(query.where, since=start, until=until, healthy=True))
    values = [one.mean for one in trend(connection, healthy, step=step).steps if one.mean is not None]
    band = band_of(values)
    reason = None if band else f"{len(values)} healthy steps since then, fewer than {FEWEST}"
    return BandStretch(start, end, until, band, reason)
