"""A role of PostgreSQL that may read the index and nothing else, for the dashboard: `model-health store reader ROLE`.

Owns the grants. They cover our own tables, those that later migrations make, and nothing of whoever shares the
database. A second time it changes nothing but the password.
"""

from __future__ import annotations

import re
from typing import Final

import sqlalchemy as sa

from model_health.errors import BadInput
from model_health.store.index import migrate
from model_health.store.index.dump import TABLES
from model_health.store.index.engine import index_faults, make_engine, parse_index_url, writer
from model_health.store.index.tables import VERSION_TABLE

READER: Final = "model_health_reader"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def grant_reader(index_url: str, role: str = READER, password: str | None = None) -> bool:
    """Let a role read the index; True where the role was made.

    Run it as the owner of the index's tables, who has to be allowed to make roles as well.

    Args:
        index_url: of the index, as its owner.
        role: its name.
        password: of the role; None leaves it as it is.

    Raises:
        BadInput: the index is not in PostgreSQL, the name is not one, the role is missing and has no password, or it
            could do more than read all the same.
        StoreError: the server refused something; nothing was changed then.
    """
    where = parse_index_url(index_url)
    if where.is_sqlite:
        hint = "give the dashboard a folder that it may only read"
        raise BadInput("a file has no roles: a read-only role needs PostgreSQL", subject=where.shown, hint=hint)
    if not _NAME.fullmatch(role):
        raise BadInput("is no name of a role", subject=repr(role[:70]), hint="use a-z, 0-9 and _")
    if role == where.url.username:
        raise BadInput("is the owner of the index, who writes it", subject=role)
    engine = make_engine(where)
    try:
        migrate.upgrade_engine(engine, where)
        with index_faults(where, f"make the role {role}"), writer(engine).begin() as connection:
            made = _ensure(connection, role, password)
            _grant(connection, role)
    finally:
        engine.dispose()
    return made


def _ensure(connection: sa.Connection, role: str, password: str | None) -> bool:
    known = sa.text("SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = :role")
    strong = connection.execute(known, {"role": role}).scalar_one_or_none()
    if strong:
        raise BadInput("may do more than read: it can make roles or databases", subject=role)
    if strong is None and password is None:
        hint = "name the secret that holds its password: --password-secret NAME"
        raise BadInput("there is no such role, and it needs a password to be made", subject=role, hint=hint)
    if strong is None or password is not None:
        # A statement that makes a role takes no parameters: the server itself quotes the password.
        verb, options = ("CREATE", "LOGIN PASSWORD %L") if strong is None else ("ALTER", "PASSWORD %L")
        quoted = sa.text("SELECT format(:statement, :password)")
        asked = {"statement": f"{verb} ROLE {role} {options}", "password": password}
        statement: str = connection.execute(quoted, asked).scalar_one()
        connection.exec_driver_sql(statement.replace("%", "%%"))
    return strong is None


def _grant(connection: sa.Connection, role: str) -> None:
    schema, database = connection.execute(sa.text("SELECT current_schema(), current_database()")).one()
    quote = connection.dialect.identifier_preparer.quote
    place, base = quote(schema), quote(database)
    ours = ", ".join(f"{place}.{name}" for name in (*TABLES, VERSION_TABLE))
    # Whatever it was given before, it reads from now on; a session of it cannot even try to write.
    for statement in (
        f"ALTER ROLE {role} IN DATABASE {base} SET default_transaction_read_only = on",
        f"GRANT CONNECT ON DATABASE {base} TO {role}",
        f"REVOKE CREATE ON SCHEMA {place} FROM {role}",
        f"GRANT USAGE ON SCHEMA {place} TO {role}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {place} FROM {role}",
        f"GRANT SELECT ON {ours} TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {place} GRANT SELECT ON TABLES TO {role}",
    ):
        connection.exec_driver_sql(statement.replace("%", "%%"))
    can_make = sa.text("SELECT has_schema_privilege(:role, :schema, 'CREATE')")
    if connection.execute(can_make, {"role": role, "schema": schema}).scalar_one():
        hint = f"everybody may: REVOKE CREATE ON SCHEMA {place} FROM PUBLIC"
        raise BadInput(f"may make tables in the schema {schema} all the same", subject=role, hint=hint)
