"""Brings the index's schema to a version: up, down, or tells which one is there.

Safe when several processes start at once: whoever comes second waits for the first and finds nothing left to do. A
migration happens as a whole or not at all.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from model_health.errors import StoreError
from model_health.store.index.engine import IndexUrl, index_faults, make_engine, parse_index_url, writer
from model_health.store.index.tables import VERSION_TABLE

_LOCK_KEY = 0x6D6F64656C68  # "modelh": any number, as long as every version of this library uses the same one.
_alembic_lock = threading.Lock()  # Alembic keeps its running context in a module global.


def upgrade(url: str | Path, revision: str = "head") -> None:
    """Migrate up to `revision`. Raises `StoreError`; does nothing if the index is there already."""
    _migrate(url, revision, down=False)


def downgrade(url: str | Path, revision: str) -> None:
    """Migrate down to `revision` (`base` removes every table and all rows)."""
    _migrate(url, revision, down=True)


def current(url: str | Path) -> str | None:
    """The revision of the index at `url`, or None for an empty database."""
    where = parse_index_url(url)
    engine = make_engine(where)
    try:
        return current_of(engine, where)
    finally:
        engine.dispose()


@cache
def head() -> str:
    """The newest revision that this library knows; read once, as each reading leaves something behind until the end."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None  # The package always holds at least one migration.
    return revision


def current_of(engine: Engine, where: IndexUrl) -> str | None:
    """The revision of an open index."""
    with index_faults(where, "read the index's version"), engine.connect() as connection:
        return _revision(connection)


def upgrade_engine(engine: Engine, where: IndexUrl, revision: str = "head", *, down: bool = False) -> None:
    """Migrate an open index, holding a lock that other processes wait for."""
    config = _config()
    with _alembic_lock, index_faults(where, "migrate the index"), writer(engine).begin() as connection:
        if not where.is_sqlite:  # SQLite is locked by BEGIN IMMEDIATE.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        config.attributes["connection"] = connection
        try:
            (command.downgrade if down else command.upgrade)(config, revision)
        except CommandError as err:
            raise StoreError(
                f"cannot migrate from {_revision(connection)} to {revision}: {err}",
                subject=where.shown,
                hint="a newer Model Health wrote this index, or the revision does not exist",
            ) from err


def _migrate(url: str | Path, revision: str, *, down: bool) -> None:
    where = parse_index_url(url)
    engine = make_engine(where)
    try:
        upgrade_engine(engine, where, revision, down=down)
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "model_health.store.index:migrations")
    config.set_main_option("path_separator", "os")
    return config
