"""Column types and expressions that SQLite and PostgreSQL do not share.

Times are UTC-aware `datetime`s in Python. PostgreSQL keeps them as `timestamptz`; SQLite, which has no such type, as
integer microseconds since 1970: exact, sorted, eight bytes, and arithmetic on them needs no parsing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator, TypeEngine

from model_health.errors import StoreError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

JSON_DOCUMENT = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def require_utc(moment: datetime, what: str) -> datetime:
    """`moment` in UTC. Raises `StoreError` for a naive one: it would mean another instant on every machine."""
    if moment.tzinfo is UTC:  # nearly always: a run has a thousand of them
        return moment
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise StoreError(f"{what} has no time zone", subject=repr(moment), hint="pass an aware datetime")
    return moment.astimezone(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant, to the microsecond."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type of `dialect`."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive times; give SQLite its integer."""
        if value is None:
            return None
        moment = require_utc(value, "a time for the index")
        return (moment - _EPOCH) // _MICROSECOND if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Always UTC, whatever the session's time zone is."""
        if value is None:
            return None
        moment: datetime = _EPOCH + value * _MICROSECOND if dialect.name == "sqlite" else value.astimezone(UTC)
        return moment


class bucket_number(GenericFunction[int]):  # noqa: N801  # spelled as the SQL function that it is
    """Which stretch since 1970 a `UtcDateTime` column falls in, as SQL: (column, length of a stretch in microseconds).

    Whole-number arithmetic, so that no moment slips over a boundary. Rounds down, also before 1970.
    """

    type = BigInteger()
    inherit_cache = True


@compiles(bucket_number, "sqlite")
def _bucket_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    moment, width = (compiler.process(clause, **options) for clause in element.clauses)
    # `/` and `%` cut towards zero here, and floor() is missing in some builds of SQLite.
    return f"(({moment} - (({moment} % {width}) + {width}) % {width}) / {width})"


@compiles(bucket_number, "postgresql")
def _bucket_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    moment, width = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST(FLOOR(EXTRACT(EPOCH FROM {moment}) * 1000000 / {width}) AS BIGINT)"


def bucket_of(moment: ColumnElement[datetime], width: timedelta) -> ColumnElement[int]:
    """`bucket_number` of a column for stretches of `width`."""
    # A literal, not a parameter: PostgreSQL must see that SELECT and GROUP BY hold the same expression.
    return bucket_number(moment, literal_column(str(width // _MICROSECOND)))


def bucket_start(number: int, width: timedelta) -> datetime:
    """The first instant of a stretch that `bucket_number` counted."""
    return _EPOCH + number * width
