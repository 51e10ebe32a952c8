"""Opens the index's database: which URLs are allowed, and how SQLite and PostgreSQL are set up to be shared.

Owns connections and the wording of database errors. Passwords never reach a message. Knows no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from model_health.config.paths import local_path
from model_health.errors import ConfigError, StoreError

SQLITE_BUSY_SECONDS = 30
_BEGIN = "model_health_begin"
_HINTS = {
    "database is locked": "another process holds the index; try again",
    "unable to open database file": "check that the folder exists and can be written",
    "readonly database": "check who owns the file and its folder",
    "disk is full": "free some space",
    "no such table": "the index was not migrated; open it with migrate=True",
    "does not exist": "the index was not migrated, or the database is missing",
    "Connection refused": "check that the server runs and the port is right",
    "password authentication failed": "check the user and the password",
}


@dataclass(frozen=True)
class IndexUrl:
    """A checked database URL. `shown` is how messages name it: no user, no password, no options."""

    url: URL
    shown: str

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite database."""
        return self.url.get_backend_name() == "sqlite"


def parse_index_url(text: str | Path) -> IndexUrl:
    """Check a database URL (or a plain path, which means SQLite). Raises `ConfigError` without repeating secrets."""
    if isinstance(text, Path) or "://" not in text:
        if not str(text).strip():
            raise ConfigError("index URL is empty", hint="use sqlite:///path or postgresql://host/database")
        return _sqlite(URL.create("sqlite", database=str(text)))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError("index URL cannot be parsed", hint="percent-encode special characters") from None
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return _sqlite(url)
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg2"):
        url = url.set(drivername="postgresql+psycopg2")
        where = f"{url.host or 'localhost'}{f':{url.port}' if url.port else ''}/{url.database or ''}"
        return IndexUrl(url, f"postgresql://{where}")
    raise ConfigError(
        f"the index cannot be kept in {url.drivername!r}", hint="use sqlite:///path or postgresql://host/database"
    )


def _sqlite(url: URL) -> IndexUrl:
    if url.query or url.host or url.username:
        raise ConfigError(
            "a SQLite index URL takes a path only", hint="write sqlite:///relative or sqlite:////absolute"
        )
    if not url.database or url.database == ":memory:":
        return IndexUrl(URL.create("sqlite+pysqlite"), "sqlite://")
    path = local_path(url.database).resolve()
    return IndexUrl(URL.create("sqlite+pysqlite", database=str(path)), str(path))


def make_engine(where: IndexUrl) -> Engine:
    """An engine for `where`. Makes the folder of a SQLite file; connects only when used."""
    if not where.is_sqlite:
        # Compiling a question takes longer than answering it: every one of ours takes few steps into an index.
        defaults = {"connect_timeout": 10, "application_name": "model-health", "options": "-c jit=off"}
        arguments = {key: value for key, value in defaults.items() if key not in where.url.query}
        return create_engine(where.url, pool_pre_ping=True, pool_recycle=1800, connect_args=arguments)
    if where.url.database:
        try:
            Path(where.url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StoreError(f"cannot make the folder of the index: {err.strerror}", subject=where.shown) from err
    # No pool for a file: an idle connection would hold nothing useful, and must not cross a fork.
    pool = NullPool if where.url.database else StaticPool
    engine = create_engine(
        where.url, poolclass=pool, connect_args={"timeout": SQLITE_BUSY_SECONDS, "check_same_thread": False}
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def writer(engine: Engine) -> Engine:
    """The same engine for transactions that write.

    SQLite takes its write lock at once (BEGIN IMMEDIATE): a transaction that reads first and then waits for the lock is
    refused without waiting when another wrote in between.
    """
    return engine.execution_options(**{_BEGIN: "IMMEDIATE"})


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not open transactions by itself: it would not do so before DDL, and never IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA foreign_keys = ON")
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode = WAL")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")


@contextmanager
def index_faults(where: IndexUrl, doing: str) -> Iterator[None]:
    """Raise a database error inside as a one-line `StoreError` that says what was being done and where."""
    try:
        yield
    except SQLAlchemyError as err:
        raise _store_error(err, where, doing) from err


def _store_error(err: SQLAlchemyError, where: IndexUrl, doing: str) -> StoreError:
    # The statement and its parameters stay out of the message: the driver's own words are what a person needs.
    cause = err.orig if isinstance(err, DBAPIError) and err.orig is not None else err
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    detail = lines[0]
    if where.url.password:
        detail = detail.replace(str(where.url.password), "***")
    hint = next((hint for sign, hint in _HINTS.items() if sign in str(cause)), "")
    return StoreError(f"cannot {doing}: {detail}", subject=where.shown, hint=hint)
