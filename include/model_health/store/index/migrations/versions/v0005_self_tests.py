"""Tables for self-tests of the monitor: one row per self-test, and one per fault or harmless change that it tried."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "self_tests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("suite", sa.String(100), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("dtype", sa.String(30), nullable=False),
        sa.Column("device", sa.String(100), nullable=False),
        sa.Column("reduced", sa.Boolean, nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("figures", _JSON, nullable=False),
        sa.Column("libraries", _JSON, nullable=False),
        sa.Column("wall_seconds", sa.Double, nullable=False),
        sa.UniqueConstraint("model", "suite", "started_at"),
    )
    op.create_table(
        "self_test_trials",
        sa.Column("self_test_id", sa.Integer, sa.ForeignKey("self_tests.id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(100), nullable=False),
        sa.Column("configuration", sa.String(20), nullable=False),
        sa.Column("answer", sa.String(20)),
        sa.Column("raised", sa.Boolean),
        sa.Column("place", sa.String(100)),
        sa.Column("attributed", sa.String(100)),
        sa.Column("placement", sa.String(20), nullable=False),
        sa.Column("delay_nights", sa.Integer),
        sa.Column("ratio", sa.Double),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("missed", sa.Text),
        sa.PrimaryKeyConstraint("self_test_id", "position"),
        sa.CheckConstraint("role IN ('fault', 'harmless', 'healthy')", name="role"),
        sa.CheckConstraint("placement IN ('right', 'wrong', 'unnamed', 'not asked')", name="placement"),
    )


def downgrade() -> None:
    """Remove the tables."""
    for table in ("self_test_trials", "self_tests"):
        op.drop_table(table)
