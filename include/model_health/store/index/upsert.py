"""An INSERT that can say ON CONFLICT, which each dialect spells for itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(dialect: str, table: Table) -> Any:
    """Such an INSERT into a table; `dialect` is the name that SQLAlchemy has for the database."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)
