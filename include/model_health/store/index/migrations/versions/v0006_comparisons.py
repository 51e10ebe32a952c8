"""A table for comparisons with a baseline, so that the history of every night can be asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(320), nullable=False),
        sa.Column("of_run", sa.Boolean, nullable=False),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("suite", sa.String(100), nullable=False),
        sa.Column("night", sa.String(500)),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("baseline_id", sa.String(64), nullable=False),
        sa.Column("candidate", sa.Text, nullable=False),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("answer", sa.String(20), nullable=False),
        sa.Column("finding", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("screened", sa.Boolean, nullable=False),
        sa.Column("rule", sa.String(100)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("cause", sa.String(30)),
        sa.Column("state", sa.String(100)),
        sa.Column("axes", _JSON, nullable=False),
        sa.Column("moved", sa.Boolean),
        sa.Column("p_values", _JSON, nullable=False),
        sa.Column("families", _JSON),
        sa.Column("golden_mean", sa.Double),
        sa.Column("golden_low", sa.Double),
        sa.Column("golden_high", sa.Double),
        sa.Column("needed", sa.Integer),
        sa.Column("tokens", sa.Integer),
        sa.Column("flipped", sa.Integer),
        sa.Column("cpu_seconds", sa.Double),
        sa.Column("wall_seconds", sa.Double),
        sa.Column("result_uri", sa.Text, nullable=False),
        sa.Column("result_digest", sa.String(100), nullable=False),
        sa.UniqueConstraint("key", "of_run"),
        sa.CheckConstraint("outcome IN ('pass', 'warn', 'fail', 'inconclusive')", name="outcome"),
    )
    op.create_index("ix_comparisons_model_suite_at", "comparisons", ["model", "suite", "at"])
    op.create_index("ix_comparisons_night", "comparisons", ["night"])


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("comparisons")
