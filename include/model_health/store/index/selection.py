"""Which part of a model's history a question is about, and the configurations that people choose from.

Owns the translation of a `Selection` into conditions on rows. Whole days where the answer comes from days: `day_range`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from model_health.store.index.rollup import DAY
from model_health.store.index.tables import runs
from model_health.store.index.tables_trends import configurations, trend_days, trend_series
from model_health.store.index.types import require_utc


@dataclass(frozen=True)
class Configuration:
    """One identity under which a model was measured on a suite. `first_at`, `last_at`: when runs with it started."""

    id: int
    identity_digest: str | None
    revision: str | None
    weights_digest: str | None
    dtype: str | None
    quantization: str | None
    attention_backend: str | None
    device_class: str | None
    libraries: Mapping[str, str]
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Selection:
    """A part of the history of one model on one suite. None, and an empty mapping, do not filter.

    Args:
        model: whose history.
        suite: on which suite.
        since: inclusive.
        until: exclusive.
        revision: as `Configuration` has it.
        device_class: as `Configuration` has it.
        libraries: versions that a run must have had, such as `{"torch": "2.13.0"}`.
        healthy: only runs with the verdict *healthy* (True), or only the others (False).
    """

    model: str
    suite: str
    since: datetime | None = None
    until: datetime | None = None
    revision: str | None = None
    device_class: str | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    healthy: bool | None = None

    @property
    def filters_configurations(self) -> bool:
        """Whether some configurations may be left out."""
        return self.revision is not None or self.device_class is not None or bool(self.libraries)

    def takes(self, configuration: Configuration) -> bool:
        """Whether runs of a configuration belong to it."""
        return (
            self.revision in (None, configuration.revision)
            and self.device_class in (None, configuration.device_class)
            and all(configuration.libraries.get(name) == version for name, version in self.libraries.items())
        )


def configurations_of(connection: Connection, model: str, suite: str) -> list[Configuration]:
    """Every configuration of a model on a suite, oldest first: what a page offers to filter by."""
    digest = func.coalesce(runs.c.identity_digest, "")
    # What could not be measured has no identity, and is not of the configuration of those that recorded none.
    measured = runs.c.verdict.is_not(None) & (runs.c.verdict != "could_not_measure")
    times = (
        select(
            digest.label("digest"),
            func.min(runs.c.started_at).label("first"),
            func.max(runs.c.started_at).label("last"),
        )
        .where(runs.c.model == model, runs.c.suite == suite, measured)
        .group_by(digest)
    )
    known = {row.digest: row for row in connection.execute(times)}
    mine = (configurations.c.model == model, configurations.c.suite == suite)
    names = [name for name in Configuration.__dataclass_fields__ if name in configurations.c]
    found = []
    for row in connection.execute(select(*(configurations.c[name] for name in names)).where(*mine)):
        if seen := known.get(row.identity_digest):
            values = {**row._mapping, "identity_digest": row.identity_digest or None, "libraries": row.libraries or {}}
            found.append(Configuration(**values, first_at=seen.first, last_at=seen.last))
    return sorted(found, key=lambda one: (one.first_at, one.id))


def chosen(connection: Connection, where: Selection) -> list[Configuration] | None:
    """The configurations that a selection takes; None where it takes all, so that nothing need be joined."""
    if not where.filters_configurations:
        return None
    return [one for one in configurations_of(connection, where.model, where.suite) if where.takes(one)]


def run_conditions(where: Selection, only: Sequence[Configuration] | None) -> list[ColumnElement[bool]]:
    """What a selection asks of `runs`, but for the time. `only` is what `chosen` gave."""
    conditions: list[ColumnElement[bool]] = [runs.c.model == where.model, runs.c.suite == where.suite]
    if only is not None:
        conditions.append(func.coalesce(runs.c.identity_digest, "").in_([one.identity_digest or "" for one in only]))
    if where.healthy is not None:
        is_healthy = func.coalesce(runs.c.verdict, "") == "healthy"
        conditions.append(is_healthy if where.healthy else ~is_healthy)
    return conditions


def time_conditions(where: Selection, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    """What a selection asks of a time."""
    conditions: list[ColumnElement[bool]] = []
    if where.since is not None:
        conditions.append(column >= where.since)
    if where.until is not None:
        conditions.append(column < where.until)
    return conditions


def day_number(moment: datetime) -> int:
    """The UTC day of a moment, counted from 1970."""
    return int(require_utc(moment, "a time").timestamp() // DAY.total_seconds())


def day_range(where: Selection) -> tuple[int | None, int | None]:
    """First and last day of a selection, both inclusive: days that it only touches count whole."""
    first = None if where.since is None else day_number(where.since)
    last = None
    if where.until is not None:
        last = day_number(where.until)
        if where.until.timestamp() % DAY.total_seconds() == 0:
            last -= 1
    return first, last


def day_conditions(where: Selection, only: Sequence[Configuration] | None) -> list[ColumnElement[bool]]:
    """What a selection asks of `trend_days` joined with `trend_series`. `only` is what `chosen` gave."""
    conditions: list[ColumnElement[bool]] = [trend_series.c.model == where.model, trend_series.c.suite == where.suite]
    if only is not None:
        conditions.append(trend_days.c.configuration_id.in_([one.id for one in only]))
    if where.healthy is not None:
        conditions.append(trend_days.c.healthy.is_(where.healthy))
    first, last = day_range(where)
    if first is not None:
        conditions.append(trend_days.c.day >= first)
    if last is not None:
        conditions.append(trend_days.c.day <= last)
    return conditions
