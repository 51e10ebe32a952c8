"""Two parts of a history side by side: every metric of each in one row, from what was counted per day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from model_health.store.index.records import label_mapping
from model_health.store.index.selection import Selection, chosen, day_conditions
from model_health.store.index.tables_trends import trend_days, trend_series


@dataclass(frozen=True)
class Summary:
    """The values of a metric in a selection, with its other labels. `mean` and the range are None without any."""

    metric: str
    measured: int
    not_measured: int
    mean: float | None
    minimum: float | None
    maximum: float | None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A metric in two selections; a side without the metric is None."""

    metric: str
    labels: Mapping[str, str]
    first: Summary | None
    second: Summary | None

    @property
    def change(self) -> float | None:
        """How much larger the second mean is; None unless both are measured."""
        if self.first is None or self.second is None or self.first.mean is None or self.second.mean is None:
            return None
        return self.second.mean - self.first.mean

    @property
    def relative(self) -> float | None:
        """The change as a part of the first mean; None where that is zero or unknown."""
        if self.change is None or self.first is None or not self.first.mean:
            return None
        return self.change / abs(self.first.mean)


def summarise(connection: Connection, where: Selection) -> list[Summary]:
    """Every metric of a selection, by name and labels. Days that the selection touches are taken whole."""
    key = (trend_series.c.metric, trend_series.c.labels)
    measured = func.sum(trend_days.c.measured)
    query = (
        select(
            *key,
            measured.label("measured"),
            func.sum(trend_days.c.not_measured).label("not_measured"),
            (func.sum(trend_days.c.total) / func.nullif(measured, 0)).label("mean"),
            func.min(trend_days.c.minimum).label("minimum"),
            func.max(trend_days.c.maximum).label("maximum"),
        )
        .join(trend_series, trend_series.c.id == trend_days.c.trend_id)
        .where(*day_conditions(where, chosen(connection, where)))
        .group_by(*key)
        .order_by(*key)
    )
    return [
        Summary(
            row.metric,
            int(row.measured),
            int(row.not_measured),
            row.mean,
            row.minimum,
            row.maximum,
            label_mapping(row.labels),
        )
        for row in connection.execute(query)
    ]


def compare_selections(connection: Connection, first: Selection, second: Selection) -> list[Difference]:
    """Every metric that either selection has: two ranges, two revisions, two devices."""
    sides = [{_key(one): one for one in summarise(connection, where)} for where in (first, second)]
    return [
        Difference(metric, dict(labels), sides[0].get((metric, labels)), sides[1].get((metric, labels)))
        for metric, labels in sorted({*sides[0], *sides[1]})
    ]


def _key(summary: Summary) -> tuple[str, tuple[tuple[str, str], ...]]:
    return summary.metric, tuple(sorted(summary.labels.items()))
