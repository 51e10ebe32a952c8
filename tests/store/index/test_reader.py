"""A role that may read the index and nothing else, on a real PostgreSQL: what the dashboard connects as."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from model_health.errors import BadInput, StoreError
from model_health.store.index.index import Index
from model_health.store.index.reader import grant_reader
from support.full_index import fill
from support.postgres import Postgres

pytestmark = pytest.mark.services
PASSWORD = 'it\'s 100% \\ "odd"'


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.new_database() as made:
        fill(made)
        with closing(psycopg2.connect(made)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE of_somebody_else (secret TEXT)")
        yield made


@pytest.fixture
def role(postgres: Postgres, url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"reader_{abs(hash(request.node.name)) % 10**9}"
    yield name
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"DROP OWNED BY {name}")
        cursor.execute(f"DROP ROLE {name}")


def as_role(postgres: Postgres, url: str, role: str, statement: str, password: str = PASSWORD) -> list[tuple[object]]:
    database = url.rsplit("/", 1)[1]
    where = {"host": "127.0.0.1", "port": postgres.port, "dbname": database, "user": role, "password": password}
    with closing(psycopg2.connect(**where)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def test_it_reads_the_index_as_the_dashboard_does(postgres: Postgres, url: str, role: str) -> None:
    assert grant_reader(url, role, "plain")
    other = url.replace(f"{postgres.user}:{postgres.password}", f"{role}:plain")
    with Index.open(other, migrate_up=False) as index:
        [run] = index.runs()
        assert len(index.samples(run.run_key)) == 2
        assert [model.model for model in index.models()] == ["smollm2"]
        with pytest.raises(StoreError, match="read-only"):
            index.fail_run(type("Attempt", (), {"run_key": run.run_key, "token": "x"})(), "because")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO reasons (text) VALUES ('x')",
        "UPDATE runs SET verdict = 'healthy'",
        "DELETE FROM alert_states",
        "TRUNCATE outbox",
        "CREATE TABLE mine (x INTEGER)",
        "DROP TABLE runs",
        "SELECT * FROM of_somebody_else",
    ],
)
def test_it_can_change_nothing_even_where_it_asks_to_write(
    postgres: Postgres, url: str, role: str, statement: str
) -> None:
    grant_reader(url, role, PASSWORD)
    with pytest.raises((psycopg2.errors.ReadOnlySqlTransaction, psycopg2.errors.InsufficientPrivilege)):
        as_role(postgres, url, role, statement)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        as_role(postgres, url, role, f"SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; COMMIT; {statement}")


def test_tables_of_later_migrations_are_read_too(postgres: Postgres, url: str, role: str) -> None:
    grant_reader(url, role, PASSWORD)
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE of_tomorrow AS SELECT 7 AS x")
    assert as_role(postgres, url, role, "SELECT x FROM of_tomorrow") == [(7,)]


def test_a_second_time_it_changes_the_password_alone(postgres: Postgres, url: str, role: str) -> None:
    assert grant_reader(url, role, "first")
    assert not grant_reader(url, role, PASSWORD)
    assert not grant_reader(url, role)
    assert as_role(postgres, url, role, "SELECT count(*) FROM runs") == [(1,)]
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        as_role(postgres, url, role, "SELECT 1", password="first")


def test_what_it_was_given_before_is_taken_away(postgres: Postgres, url: str, role: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN")
        cursor.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    assert not grant_reader(url, role, PASSWORD)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        as_role(postgres, url, role, "SELECT * FROM of_somebody_else")


def test_who_may_do_more_than_read_or_is_nobody_is_refused(postgres: Postgres, url: str) -> None:
    for name, why in (
        (postgres.user, "is the owner"),
        ("pg_read_all_data; DROP TABLE runs", "no name of a role"),
        ("nobody_known", "needs a password"),
    ):
        with pytest.raises(BadInput, match=why):
            grant_reader(url, name)


def test_a_strong_role_is_refused(postgres: Postgres, url: str, role: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN CREATEROLE")
    with pytest.raises(BadInput, match="more than read"):
        grant_reader(url, role, PASSWORD)


def test_a_file_has_no_roles(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs PostgreSQL"):
        grant_reader(f"sqlite:///{tmp_path}/index.db", "reader", PASSWORD)


def test_a_schema_in_which_everybody_makes_tables_is_refused_and_nothing_is_granted(
    postgres: Postgres, url: str, role: str
) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'before'")
    with pytest.raises(BadInput, match="may make tables"):
        grant_reader(url, role)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        as_role(postgres, url, role, "SELECT * FROM runs", password="before")
