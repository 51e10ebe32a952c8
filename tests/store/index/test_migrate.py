"""Migrations on SQLite and PostgreSQL: up, down, up again, at once from two processes, and equal to the tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from model_health.errors import StoreError
from model_health.store.index import migrate
from model_health.store.index.engine import make_engine, parse_index_url, writer
from model_health.store.index.index import Index
from model_health.store.index.tables import VERSION_TABLE, metadata

TABLES = {
    "runs",
    "samples",
    "series",
    "reasons",
    "metric_points",
    "outbox",
    "outbox_attempts",
    "validations",
    "validation_failures",
}
TABLES |= {"gate_results", "alert_states", "alert_history"}
TABLES |= {"self_tests", "self_test_trials"}
TABLES |= {"comparisons"}
TABLES |= {"configurations", "trend_series", "trend_days"}


def tables_at(url: str) -> set[str]:
    engine = make_engine(parse_index_url(url))
    try:
        return set(sa.inspect(engine).get_table_names()) - {VERSION_TABLE}
    finally:
        engine.dispose()


def test_up_down_and_up_again(index_url: str) -> None:
    assert migrate.current(index_url) is None
    migrate.upgrade(index_url)
    assert migrate.current(index_url) == migrate.head()
    assert tables_at(index_url) == TABLES
    migrate.downgrade(index_url, "base")
    assert migrate.current(index_url) is None
    assert tables_at(index_url) == set()
    migrate.upgrade(index_url)
    migrate.upgrade(index_url)
    assert tables_at(index_url) == TABLES


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(index_url: str) -> None:
    migrate.upgrade(index_url)
    engine = make_engine(parse_index_url(index_url))
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        checks = {
            table: {check["name"] for check in sa.inspect(connection).get_check_constraints(table)} for table in TABLES
        }
    engine.dispose()
    wanted = {
        name: {str(c.name) for c in table.constraints if isinstance(c, sa.CheckConstraint)}
        for name, table in metadata.tables.items()
    }
    assert {table: len(names) for table, names in checks.items()} == {t: len(names) for t, names in wanted.items()}


def test_two_processes_may_migrate_at_once(index_url: str) -> None:
    script = (
        "import sys; from model_health.store.index import migrate; sys.stdin.read(1); migrate.upgrade(sys.argv[1]);"
        " assert migrate.current(sys.argv[1]) == migrate.head()"
    )
    command = [sys.executable, "-c", script, index_url]
    starters = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("g")
        starter.stdin.flush()
    for starter in starters:
        _, problems = starter.communicate(timeout=600)
        assert starter.returncode == 0, problems
    assert tables_at(index_url) == TABLES


def test_a_migration_that_fails_leaves_nothing_behind(index_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where = parse_index_url(index_url)
    engine = make_engine(where)
    with writer(engine).begin() as connection:
        # `metric_points` comes last: four tables are made before this one is in the way.
        connection.execute(sa.text("CREATE TABLE metric_points (x INTEGER)"))
    with pytest.raises(StoreError, match="cannot migrate the index"):
        migrate.upgrade_engine(engine, where)
    engine.dispose()
    assert migrate.current(index_url) is None
    assert tables_at(index_url) == {"metric_points"}


def test_an_index_of_a_newer_version_is_refused(index_url: str) -> None:
    migrate.upgrade(index_url)
    engine = make_engine(parse_index_url(index_url))
    with writer(engine).begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="newer Model Health") as caught:
        Index.open(index_url)
    assert "\n" not in str(caught.value)


def test_an_index_that_was_not_migrated_is_refused_where_asked(index_url: str) -> None:
    with pytest.raises(StoreError, match="version none"):
        Index.open(index_url, migrate_up=False)
    migrate.upgrade(index_url)
    Index.open(index_url, migrate_up=False).close()


def test_an_unknown_revision_is_one_line(index_url: str) -> None:
    with pytest.raises(StoreError, match="no-such-revision"):
        migrate.upgrade(index_url, "no-such-revision")


def test_a_shared_database_keeps_its_own_tables_and_alembic_version(index_url: str) -> None:
    engine = make_engine(parse_index_url(index_url))
    with writer(engine).begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('airflow-1')"))
    migrate.upgrade(index_url)
    migrate.downgrade(index_url, "base")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == ["airflow-1"]
    engine.dispose()


def test_migrating_needs_no_file_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    migrate.upgrade(tmp_path / "index.db")
    assert list((tmp_path / "empty").iterdir()) == []
