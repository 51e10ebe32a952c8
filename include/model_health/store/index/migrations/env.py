"""Alembic's entry point: runs the migrations on the connection that `migrate` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from model_health.store.index import tables_alerts as _alerts  # noqa: F401  # each module adds its tables
from model_health.store.index import tables_comparisons as _comparisons  # noqa: F401
from model_health.store.index import tables_outbox as _outbox  # noqa: F401
from model_health.store.index import tables_self_tests as _self_tests  # noqa: F401
from model_health.store.index import tables_trends as _trends  # noqa: F401
from model_health.store.index.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # SQLite can roll back DDL once the driver is kept from committing it (see `engine`).
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
