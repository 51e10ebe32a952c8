"""Keeps `trend_days` true to `metric_points`, inside the transaction that changes those. Owns no question.

A run that is new is added to its days. Where points went away (a retry, a run that is written again) their days are
counted anew from the points that are left, so that nothing is ever subtracted and no rounding error stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    case,
    delete,
    distinct,
    exists,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from model_health.store.index.records import RunStatus
from model_health.store.index.tables import metric_points, runs, series
from model_health.store.index.tables_trends import configurations, trend_days, trend_series
from model_health.store.index.types import bucket_of, bucket_start
from model_health.store.index.upsert import insert_into

DAY: Final = timedelta(days=1)
_IDENTITY = ("revision", "weights_digest", "dtype", "quantization", "attention_backend", "device_class", "libraries")
_KEY = ("trend_id", "day", "configuration_id", "healthy")
_COUNTS = ("runs", "measured", "not_measured")
_VALUES = (*_COUNTS, "total", "minimum", "maximum")

_digest = func.coalesce(runs.c.identity_digest, "")
_day = bucket_of(metric_points.c.at, DAY)
_is_of_series = and_(
    trend_series.c.model == series.c.model,
    trend_series.c.suite == series.c.suite,
    trend_series.c.metric == series.c.metric,
    trend_series.c.labels == series.c.labels,
    trend_series.c.per_prompt == (series.c.prompt_id != ""),
)
_is_of_run = and_(
    configurations.c.model == runs.c.model,
    configurations.c.suite == runs.c.suite,
    configurations.c.identity_digest == _digest,
)


class DayKey(NamedTuple):
    """Where values of a run are counted; `day` since 1970."""

    metric: str
    labels: str
    per_prompt: bool
    day: int


@dataclass(frozen=True)
class DaySum:
    """What a run adds there. The last three are None where nothing was measured."""

    measured: int
    not_measured: int
    total: float | None
    minimum: float | None
    maximum: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Self:
        """The sum of some values; None is one that was not measured."""
        found = [value for value in values if value is not None]
        if not found:
            return cls(0, len(values), None, None, None)
        return cls(len(found), len(values) - len(found), sum(found), min(found), max(found))


def days_of(connection: Connection, row_id: int) -> set[int]:
    """The days (since 1970) on which a run, named by its row, has points."""
    return {int(day) for day in connection.execute(_DAYS_OF, {"row": row_id}).scalars()}


def write_run(
    connection: Connection,
    row_id: int,
    model: str,
    suite: str,
    before: Collection[int],
    sums: Mapping[DayKey, DaySum],
) -> None:
    """Put the points of a run, which are written, into its days.

    Args:
        connection: of the transaction that wrote them.
        row_id: the run's row; its verdict and identity are written too.
        model: of the run.
        suite: of the run.
        before: the days on which the same run had points that this transaction removed.
        sums: what its points add to each day.
    """
    said = _said(connection.dialect.name)
    configuration = connection.execute(_CONFIGURATION, {"row": row_id}).one_or_none()
    if configuration is None:
        connection.execute(said.configuration, {"row": row_id})
        configuration = connection.execute(_CONFIGURATION, {"row": row_id}).one()
    trends = _trend_ids(connection, model, suite, sums)
    _take_turns(connection, model, suite)
    if before:
        _recount_days(connection, model, suite, {key.day for key in sums} | set(before))
    elif sums:
        rows = [
            {"trend_id": trends[key[:3]], "day": key.day, "configuration_id": configuration.id, "runs": 1}
            | {"healthy": configuration.healthy, **vars(found)}
            for key, found in sums.items()
        ]
        as_arrays = connection.dialect.name == "postgresql"
        connection.execute(said.add, {name: [row[name] for row in rows] for name in rows[0]} if as_arrays else rows)


def _trend_ids(
    connection: Connection, model: str, suite: str, sums: Mapping[DayKey, DaySum]
) -> dict[tuple[str, str, bool], int]:
    pair = {"of_model": model, "of_suite": suite}

    def known() -> dict[tuple[str, str, bool], int]:
        rows = connection.execute(_TRENDS, pair).all()
        return {(metric, labels, per_prompt): found for found, metric, labels, per_prompt in rows}

    found = known()
    if not found.keys() >= {key[:3] for key in sums}:
        connection.execute(_said(connection.dialect.name).series, pair)
        found = known()
    return found


def recount(connection: Connection, model: str, suite: str, days: Collection[int]) -> None:
    """Count days of a model on a suite anew from the points that are left."""
    if days:
        _take_turns(connection, model, suite)
        _recount_days(connection, model, suite, days)


def rebuild(connection: Connection) -> None:
    """Count everything anew: for whoever wrote points in bulk."""
    connection.execute(delete(trend_days))
    name = connection.dialect.name
    connection.execute(_name_configurations(name, runs.c.status == RunStatus.MEASURED.value))
    for model, suite in connection.execute(select(series.c.model, series.c.suite).distinct()).all():
        connection.execute(_said(name).series, {"of_model": model, "of_suite": suite})
        of_pair = (series.c.model == model) & (series.c.suite == suite)
        connection.execute(insert(trend_days).from_select([*_KEY, *_VALUES], _sums(of_pair)))


def _recount_days(connection: Connection, model: str, suite: str, days: Collection[int]) -> None:
    of_pair = select(trend_series.c.id).where(trend_series.c.model == model, trend_series.c.suite == suite)
    old = delete(trend_days).where(trend_days.c.trend_id.in_(of_pair), trend_days.c.day.in_(sorted(days)))
    connection.execute(old)
    for day in sorted(days):
        start = bucket_start(day, DAY)
        of_day = (metric_points.c.at >= start) & (metric_points.c.at < start + DAY)
        sums = _sums((series.c.model == model) & (series.c.suite == suite) & of_day)
        connection.execute(insert(trend_days).from_select([*_KEY, *_VALUES], sums))


def _take_turns(connection: Connection, model: str, suite: str) -> None:
    """Hold other writers of the same model and suite back: one that recounts must not miss what another adds."""
    connection.execute(_LOCK, {"of_model": model, "of_suite": suite}).all()


def _sums(which: ColumnElement[bool]) -> Select[Any]:
    """What the points add to each day, in the order of `_KEY` and `_VALUES`."""
    value = metric_points.c.value
    key = (trend_series.c.id, _day, configurations.c.id, func.coalesce(runs.c.verdict, "") == "healthy")
    return (
        select(
            *key,
            func.count(distinct(metric_points.c.run_id)),
            func.count(value),
            func.count() - func.count(value),
            func.sum(value),
            func.min(value),
            func.max(value),
        )
        .select_from(metric_points)
        .join(series, series.c.id == metric_points.c.series_id)
        .join(trend_series, _is_of_series)
        .join(runs, runs.c.id == metric_points.c.run_id)
        .join(configurations, _is_of_run)
        .where(which)
        .group_by(*key)
    )


@dataclass(frozen=True)
class _Said:
    """The statements of every run. They are built once, since building them costs more than executing them."""

    configuration: Any
    series: Any
    add: Any


@cache
def _said(dialect: str) -> _Said:
    return _Said(_name_configurations(dialect, runs.c.id == bindparam("row")), _name_series(dialect), _add(dialect))


def _name_configurations(dialect: str, which: ColumnElement[bool]) -> Any:
    """Makes the configurations of runs that have none yet; the newest of the runs speaks for each."""
    newest = select(func.max(runs.c.id)).where(which, ~exists().where(_is_of_run))
    rows = newest.group_by(runs.c.model, runs.c.suite, _digest)
    names = ("model", "suite", "identity_digest", *_IDENTITY)
    found = select(runs.c.model, runs.c.suite, _digest, *(runs.c[name] for name in _IDENTITY))
    new = insert_into(dialect, configurations).from_select(names, found.where(runs.c.id.in_(rows)))
    return new.on_conflict_do_nothing()


def _name_series(dialect: str) -> Any:
    names = ("model", "suite", "metric", "labels")
    per_prompt = (series.c.prompt_id != "").label("per_prompt")
    found = select(*(series.c[name] for name in names), per_prompt).where(
        *_of_pair(series), ~exists().where(_is_of_series)
    )
    new = insert_into(dialect, trend_series).from_select([*names, "per_prompt"], found.distinct())
    return new.on_conflict_do_nothing()


def _add(dialect: str) -> Any:
    """Adds what a run has on each day, to whatever other runs have there."""
    statement = insert_into(dialect, trend_days)
    if dialect == "postgresql":
        # One statement with an array for each column: its driver would send the rows one by one.
        each = func.unnest(*(bindparam(name, type_=ARRAY(trend_days.c[name].type)) for name in (*_KEY, *_VALUES)))
        rows = each.table_valued(*_KEY, *_VALUES, name="one").render_derived()
        statement = statement.from_select([*_KEY, *_VALUES], select(*(rows.c[name] for name in (*_KEY, *_VALUES))))
    new, old = statement.excluded, trend_days.c
    added: dict[str, Any] = {name: old[name] + new[name] for name in _COUNTS}
    added["total"] = func.coalesce(old.total + new.total, old.total, new.total)
    for name, wins in (("minimum", new.minimum < old.minimum), ("maximum", new.maximum > old.maximum)):
        added[name] = case((wins, new[name]), else_=func.coalesce(old[name], new[name]))
    return statement.on_conflict_do_update(index_elements=list(_KEY), set_=added)


def _of_pair(table: Table) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.model == bindparam("of_model"), table.c.suite == bindparam("of_suite")


_DAYS_OF: Final = select(_day).where(metric_points.c.run_id == bindparam("row")).distinct()
_CONFIGURATION: Final = (
    select(configurations.c.id, (func.coalesce(runs.c.verdict, "") == "healthy").label("healthy"))
    .select_from(runs)
    .join(configurations, _is_of_run)
    .where(runs.c.id == bindparam("row"))
)
_TRENDS: Final = select(
    trend_series.c.id, trend_series.c.metric, trend_series.c.labels, trend_series.c.per_prompt
).where(*_of_pair(trend_series))
_LOCK: Final = (
    select(trend_series.c.id).where(*_of_pair(trend_series)).order_by(trend_series.c.id).limit(1).with_for_update()
)
