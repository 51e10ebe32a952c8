"""Writes the metric points of a run, and says what they add to each day. Owns series and reasons, and how rows travel.

A run has hundreds of points, so they go to the driver as they are: SQLAlchemy's own way through a list of rows costs
more than either database needs to take them. On a connection whose transaction somebody else owns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, bindparam, select, text

from model_health.errors import StoreError
from model_health.store.index.records import Point, label_text
from model_health.store.index.rollup import DAY, DayKey, DaySum
from model_health.store.index.tables import reasons, series
from model_health.store.index.types import UtcDateTime, require_utc
from model_health.store.index.upsert import insert_into

MAX_REASON: Final = 500
_CHUNK: Final = 400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EACH: Final = "INSERT INTO metric_points (series_id, at, run_id, value, reason_id) VALUES (?, ?, ?, ?, ?)"
# One statement with five texts: a list of values would be parsed expression by expression.
_ARRAYS: Final = text(
    "INSERT INTO metric_points (series_id, at, run_id, value, reason_id)"
    " SELECT one.series_id, one.at, CAST(:run_id AS integer), one.value, one.reason_id"
    " FROM unnest(CAST(:series_ids AS integer[]), CAST(:moments AS timestamptz[]), CAST(:numbers AS float8[]),"
    " CAST(:reason_ids AS integer[])) AS one (series_id, at, value, reason_id)"
)
_SERIES: Final = select(series.c.id, series.c.metric, series.c.prompt_id, series.c.prompt_group, series.c.labels).where(
    series.c.model == bindparam("of_model"), series.c.suite == bindparam("of_suite")
)


class SeriesKey(NamedTuple):
    """What tells the series of a model on a suite apart."""

    metric: str
    prompt_id: str
    prompt_group: str
    labels: str


class _Row(NamedTuple):
    series_id: int
    at: datetime
    value: float | None
    reason_id: int | None


def insert_points(
    connection: Connection, row_id: int, model: str, suite: str, points: Sequence[Point]
) -> dict[DayKey, DaySum]:
    """Write the points of a run, which has none; what they add to each day.

    Raises:
        StoreError: two values for one metric of one prompt, or a label that cannot be kept.
    """
    if not points:
        return {}
    keys = [_series_key(point) for point in points]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise StoreError(f"two values for one metric in one run (prompt {twice[1] or 'none'})", subject=twice[0])
    series_ids = _series_ids(connection, model, suite, set(keys))
    texts = [_reason(point.reason) for point in points]
    reason_ids = _reason_ids(connection, {words for words in texts if words})
    rows = [
        _Row(series_ids[key], require_utc(point.at, point.metric), _float(point.value), reason_ids.get(words))
        for point, key, words in zip(points, keys, texts, strict=True)
    ]
    _write(connection, row_id, rows)
    return _by_day(zip(keys, rows, strict=True))


def clean(words: str | None) -> str | None:
    """Text that every database takes: no NUL, no lone surrogates (a log's tail may hold either)."""
    if words is None:
        return None
    return words.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8").strip()


def _write(connection: Connection, row_id: int, rows: Sequence[_Row]) -> None:
    kept = UtcDateTime()
    moments = {at: kept.process_bind_param(at, connection.dialect) for at in {row.at for row in rows}}
    if connection.dialect.name != "postgresql":
        of_run = [(row.series_id, moments[row.at], row_id, row.value, row.reason_id) for row in rows]
        connection.exec_driver_sql(_EACH, of_run)
        return
    shown = {at: f'"{moment.isoformat()}"' for at, moment in moments.items()}
    arrays = {
        "series_ids": _array(row.series_id for row in rows),
        "moments": _array(shown[row.at] for row in rows),
        "numbers": _array(None if row.value is None else repr(row.value) for row in rows),
        "reason_ids": _array(row.reason_id for row in rows),
    }
    connection.execute(_ARRAYS, {"run_id": row_id, **arrays})


def _array(values: Iterable[int | str | None]) -> str:
    """An array as PostgreSQL reads it; texts that are not plain numbers come with their quotes."""
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def _by_day(rows: Iterable[tuple[SeriesKey, _Row]]) -> dict[DayKey, DaySum]:
    values: dict[DayKey, list[float | None]] = {}
    days: dict[datetime, int] = {}
    for key, row in rows:
        day = days.get(row.at)
        if day is None:
            day = days[row.at] = (row.at - _EPOCH) // DAY
        values.setdefault(DayKey(key.metric, key.labels, key.prompt_id != "", day), []).append(row.value)
    return {key: DaySum.of(found) for key, found in values.items()}


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _reason(words: str | None) -> str:
    return "" if words is None else (clean(words) or "")[:MAX_REASON]


def _series_key(point: Point) -> SeriesKey:
    labels = label_text(point.labels) if point.labels else ""
    return SeriesKey(point.metric, point.prompt_id or "", point.prompt_group or "", labels)


def _series_ids(connection: Connection, model: str, suite: str, keys: set[SeriesKey]) -> dict[SeriesKey, int]:
    of_pair = {"of_model": model, "of_suite": suite}

    def known() -> dict[SeriesKey, int]:
        rows = connection.execute(_SERIES, of_pair).all()
        return {SeriesKey(metric, prompt, group, labels): found for found, metric, prompt, group, labels in rows}

    found = known()
    # Sorted, so that two runs that add the same rows at once wait for each other instead of locking each other out.
    missing = sorted(keys - found.keys())
    if missing:
        _insert_new(connection, series, [{"model": model, "suite": suite, **key._asdict()} for key in missing])
        found = known()
    return found


def _reason_ids(connection: Connection, texts: set[str]) -> dict[str, int]:
    found = _known_reasons(connection, texts)
    missing = sorted(texts - found.keys())
    if missing:
        _insert_new(connection, reasons, [{"text": words} for words in missing])
        found |= _known_reasons(connection, set(missing))
    return found


def _known_reasons(connection: Connection, texts: set[str]) -> dict[str, int]:
    ordered = sorted(texts)
    found: dict[str, int] = {}
    for begin in range(0, len(ordered), _CHUNK):
        query = select(reasons.c.text, reasons.c.id).where(reasons.c.text.in_(ordered[begin : begin + _CHUNK]))
        found |= {row.text: row.id for row in connection.execute(query)}
    return found


def _insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    connection.execute(insert_into(connection.dialect.name, table).on_conflict_do_nothing(), rows)
