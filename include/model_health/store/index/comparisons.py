"""Writes and reads comparisons with a baseline, on a connection that the caller owns. Knows not what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from model_health.store.index.tables_comparisons import comparisons


@dataclass(frozen=True)
class ComparisonRecord:
    """A row of `comparisons`; see its table. Golden figures are bits per token, `families` the largest distances."""

    key: str
    of_run: bool
    model: str
    suite: str
    at: datetime
    baseline_id: str
    candidate: str
    purpose: str
    answer: str
    finding: str
    outcome: str
    reason: str
    result_uri: str
    result_digest: str
    night: str | None = None
    screened: bool = False
    rule: str | None = None
    cause: str | None = None
    state: str | None = None
    axes: Sequence[str] = ()
    moved: bool | None = None
    p_values: Mapping[str, float] = field(default_factory=dict)
    families: Mapping[str, float] | None = None
    golden_mean: float | None = None
    golden_low: float | None = None
    golden_high: float | None = None
    needed: int | None = None
    tokens: int | None = None
    flipped: int | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None


def save_comparison(connection: Connection, record: ComparisonRecord) -> None:
    """Write a comparison in place of an earlier try of it."""
    same = (comparisons.c.key == record.key, comparisons.c.of_run.is_(record.of_run))
    connection.execute(delete(comparisons).where(*same))
    connection.execute(insert(comparisons).values({**asdict(record), "axes": list(record.axes)}))


def settle_comparison(connection: Connection, record: ComparisonRecord, outcome: str, reason: str) -> None:
    """Write the verdict that stands after the night's screening."""
    same = (comparisons.c.key == record.key, comparisons.c.of_run.is_(record.of_run))
    values = {"outcome": outcome, "reason": reason, "screened": True}
    connection.execute(update(comparisons).where(*same).values(values))


def comparisons_of_night(connection: Connection, night: str) -> list[ComparisonRecord]:
    """Every comparison of one scheduler's run, by model and suite."""
    query = select(comparisons).where(comparisons.c.night == night)
    return [_record(row) for row in connection.execute(query.order_by(comparisons.c.model, comparisons.c.suite))]


def judged_comparison(connection: Connection, model: str, suite: str) -> ComparisonRecord | None:
    """The newest comparison of a run whose verdict is final: screened with its night, or of no scheduler's night."""
    final = or_(comparisons.c.screened.is_(True), comparisons.c.night.is_(None))
    query = select(comparisons).where(
        comparisons.c.model == model, comparisons.c.suite == suite, comparisons.c.of_run.is_(True), final
    )
    row = connection.execute(query.order_by(comparisons.c.at.desc(), comparisons.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _record(row)


@dataclass(frozen=True)
class GoldenNight:
    """What golden text cost in one settled night, in bits per token more than when the baseline was made."""

    key: str
    at: datetime
    bits: float
    axes: tuple[str, ...]
    outcome: str


def golden_nights(
    connection: Connection, model: str, suite: str, baseline_id: str, *, until: datetime
) -> list[GoldenNight]:
    """Every settled night that was held against one baseline and has golden text, oldest first."""
    columns = (comparisons.c[name] for name in ("key", "at", "golden_mean", "axes", "outcome"))
    mine = (
        comparisons.c.model == model,
        comparisons.c.suite == suite,
        comparisons.c.baseline_id == baseline_id,
        comparisons.c.of_run.is_(True),
        comparisons.c.screened.is_(True),
        comparisons.c.golden_mean.is_not(None),
        comparisons.c.at <= until,
    )
    query = select(*columns).where(*mine).order_by(comparisons.c.at, comparisons.c.id)
    return [
        GoldenNight(row.key, row.at, row.golden_mean, tuple(row.axes), row.outcome) for row in connection.execute(query)
    ]


def last_settled(connection: Connection, *, until: datetime) -> dict[tuple[str, str], datetime]:
    """When the newest comparison of a settled night was made, by model and suite; none from after `until`."""
    query = (
        select(comparisons.c.model, comparisons.c.suite, func.max(comparisons.c.at).label("newest"))
        .where(comparisons.c.of_run.is_(True), comparisons.c.screened.is_(True), comparisons.c.at <= until)
        .group_by(comparisons.c.model, comparisons.c.suite)
    )
    return {(row.model, row.suite): row.newest for row in connection.execute(query)}


def comparison_history(
    connection: Connection, *, model: str | None = None, suite: str | None = None, limit: int = 100
) -> list[ComparisonRecord]:
    """Comparisons, newest first."""
    query = select(comparisons).order_by(comparisons.c.at.desc(), comparisons.c.id.desc()).limit(limit)
    if model is not None:
        query = query.where(comparisons.c.model == model)
    if suite is not None:
        query = query.where(comparisons.c.suite == suite)
    return [_record(row) for row in connection.execute(query)]


def _record(row: Row[Any]) -> ComparisonRecord:
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    return ComparisonRecord(**{**values, "axes": tuple(row.axes)})
