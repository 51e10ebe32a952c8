"""The index as lines of JSON, a file per table, and back: the same from SQLite as from PostgreSQL, and into either.

Owns the form of a row (times as ISO 8601 in UTC, all else as JSON has it) and the order of tables. A dump says of which
version of the schema it is: it is loaded into that version and migrated up from there.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any, Final

import sqlalchemy as sa

from model_health.errors import StoreError
from model_health.store.index import (
    migrate,
    tables_alerts,
    tables_comparisons,
    tables_outbox,
    tables_self_tests,
    tables_trends,
    tables_validation,
)
from model_health.store.index.engine import index_faults, make_engine, parse_index_url, writer
from model_health.store.index.tables import metadata
from model_health.store.index.types import UtcDateTime

ADDS_TABLES: Final = (
    tables_alerts,
    tables_comparisons,
    tables_outbox,
    tables_self_tests,
    tables_trends,
    tables_validation,
)
"""Each of these modules adds its tables to the metadata."""
TABLES: Final = tuple(table.name for table in metadata.sorted_tables)
"""In an order in which every row finds those that it refers to."""
_CHUNK = 500


@contextmanager
def snapshot(index_url: str) -> Iterator[tuple[str, sa.Connection]]:
    """The version of an index, and a connection that sees it as it is now, whatever others write meanwhile.

    Raises:
        StoreError: it cannot be read, or is not at this library's version.
    """
    where = parse_index_url(index_url)
    engine = make_engine(where)
    try:
        found = migrate.current_of(engine, where)
        if found != migrate.head():
            raise StoreError(
                f"the index is at version {found or 'none'}, not {migrate.head()}",
                subject=where.shown,
                hint="open it once with this Model Health, which migrates it",
            )
        frozen = engine if where.is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        with index_faults(where, "back up the index"), frozen.connect() as connection:
            yield found, connection
    finally:
        engine.dispose()


def write_table(connection: sa.Connection, name: str, file: IO[bytes]) -> int:
    """Write every row of a table as a line; how many."""
    table, count = metadata.tables[name], 0
    rows = connection.execution_options(yield_per=_CHUNK).execute(sa.select(table).order_by(*table.primary_key))
    for row in rows.mappings():
        values = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
        file.write(json.dumps(values, separators=(",", ":"), ensure_ascii=True).encode() + b"\n")
        count += 1
    return count


def check_empty(index_url: str) -> None:
    """Raises `StoreError` where the index holds anything."""
    where = parse_index_url(index_url)
    engine = make_engine(where)
    try:
        with index_faults(where, "look at the index"), engine.connect() as connection:
            there = set(sa.inspect(connection).get_table_names())
            full = [name for name in TABLES if name in there and _has_rows(connection, name)]
    finally:
        engine.dispose()
    if full:
        hint = "restore into an empty index: name another one, or drop this one yourself"
        raise StoreError(f"the index is not empty: {full[0]} has rows", subject=where.shown, hint=hint)


def load(index_url: str, revision: str, tables: Iterable[tuple[str, Iterable[bytes]]]) -> dict[str, int]:
    """Fill an empty index with dumped tables and migrate it up; rows by table. All of the rows are there, or none.

    Args:
        index_url: of an empty database, or of an index without rows.
        revision: of the dump.
        tables: name and lines of each, in the order of `TABLES`.

    Raises:
        StoreError: the version is not known, or a row does not fit.
    """
    where = parse_index_url(index_url)
    engine = make_engine(where)
    try:
        if migrate.current_of(engine, where) not in (None, revision):
            migrate.upgrade_engine(engine, where, "base", down=True)  # empty tables of another version
        migrate.upgrade_engine(engine, where, revision)
        with index_faults(where, "restore the index"), writer(engine).begin() as connection:
            counts = {name: _fill(connection, name, lines) for name, lines in tables}
        migrate.upgrade_engine(engine, where)
    finally:
        engine.dispose()
    return counts


def _has_rows(connection: sa.Connection, name: str) -> bool:
    return connection.execute(sa.select(sa.literal(1)).select_from(sa.table(name)).limit(1)).first() is not None


def _fill(connection: sa.Connection, name: str, lines: Iterable[bytes]) -> int:
    table, count = _table(connection, name), 0
    moments = {column.name for column in table.columns if isinstance(column.type, UtcDateTime)}
    rows = iter(lines)
    while chunk := [_row(line, moments, name) for line in itertools.islice(rows, _CHUNK)]:
        connection.execute(sa.insert(table), chunk)
        count += len(chunk)
    if connection.dialect.name == "postgresql" and "id" in table.columns and count:
        # Rows came with their numbers: the next one is counted from there.
        sequence = f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))"  # noqa: S608
        connection.exec_driver_sql(sequence)
    return count


def _table(connection: sa.Connection, name: str) -> sa.Table:
    """The table as it is in this version, with this library's types where it knows the column."""
    if name not in metadata.tables:
        raise StoreError("is no table of the index", subject=name)
    known = {column.name: column.type for column in metadata.tables[name].columns}
    found = sa.Table(name, sa.MetaData(), autoload_with=connection, resolve_fks=False)
    for column in found.columns:
        column.type = known.get(column.name, column.type)
    return found


def _row(line: bytes, moments: set[str], name: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
        return {
            key: datetime.fromisoformat(value) if key in moments and value is not None else value
            for key, value in values.items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise StoreError(f"a row cannot be read: {error}", subject=name) from None
