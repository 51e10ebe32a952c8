"""What each run adds to each day, counted once, so that a year of a metric need not read its points; indexes on runs.

The statements stand here as text: a migration must do tomorrow what it does today, whatever becomes of the code.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_DAY = {
    "sqlite": "((p.at - ((p.at % 86400000000) + 86400000000) % 86400000000) / 86400000000)",
    "postgresql": "CAST(FLOOR(EXTRACT(EPOCH FROM p.at) / 86400) AS BIGINT)",
}
_CONFIGURATIONS = """
INSERT INTO configurations (model, suite, identity_digest, revision, weights_digest, dtype, quantization,
                            attention_backend, device_class, libraries)
SELECT model, suite, coalesce(identity_digest, ''), revision, weights_digest, dtype, quantization, attention_backend,
       device_class, libraries
FROM runs WHERE id IN (SELECT max(id) FROM runs WHERE status = 'measured'
                       GROUP BY model, suite, coalesce(identity_digest, ''))
"""
_SERIES = """
INSERT INTO trend_series (model, suite, metric, labels, per_prompt)
SELECT DISTINCT model, suite, metric, labels, prompt_id <> '' FROM series
"""
_DAYS = """
INSERT INTO trend_days (trend_id, day, configuration_id, healthy, runs, measured, not_measured, total, minimum, maximum)
SELECT t.id, {day}, c.id, coalesce(r.verdict, '') = 'healthy', count(DISTINCT p.run_id), count(p.value),
       count(*) - count(p.value), sum(p.value), min(p.value), max(p.value)
FROM metric_points p
JOIN series s ON s.id = p.series_id
JOIN trend_series t ON t.model = s.model AND t.suite = s.suite AND t.metric = s.metric AND t.labels = s.labels
     AND t.per_prompt = (s.prompt_id <> '')
JOIN runs r ON r.id = p.run_id
JOIN configurations c ON c.model = r.model AND c.suite = r.suite
     AND c.identity_digest = coalesce(r.identity_digest, '')
GROUP BY t.id, {day}, c.id, coalesce(r.verdict, '') = 'healthy'
"""


def upgrade() -> None:
    """Make the tables and fill them from the points that are there."""
    op.create_table(
        "configurations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("suite", sa.String(100), nullable=False),
        sa.Column("identity_digest", sa.String(100), nullable=False),
        sa.Column("revision", sa.String(200)),
        sa.Column("weights_digest", sa.String(100)),
        sa.Column("dtype", sa.String(30)),
        sa.Column("quantization", sa.String(50)),
        sa.Column("attention_backend", sa.String(50)),
        sa.Column("device_class", sa.String(100)),
        sa.Column("libraries", _JSON),
        sa.UniqueConstraint("model", "suite", "identity_digest"),
    )
    op.create_table(
        "trend_series",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("suite", sa.String(100), nullable=False),
        sa.Column("metric", sa.String(100), nullable=False),
        sa.Column("labels", sa.String(200), nullable=False),
        sa.Column("per_prompt", sa.Boolean, nullable=False),
        sa.UniqueConstraint("model", "suite", "metric", "labels", "per_prompt"),
    )
    op.create_table(
        "trend_days",
        sa.Column("trend_id", sa.Integer, sa.ForeignKey("trend_series.id"), nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("configuration_id", sa.Integer, sa.ForeignKey("configurations.id"), nullable=False),
        sa.Column("healthy", sa.Boolean, nullable=False),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("measured", sa.Integer, nullable=False),
        sa.Column("not_measured", sa.Integer, nullable=False),
        sa.Column("total", sa.Double),
        sa.Column("minimum", sa.Double),
        sa.Column("maximum", sa.Double),
        sa.PrimaryKeyConstraint("trend_id", "day", "configuration_id", "healthy"),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        # The planner must not take tables that were filled a moment ago for empty ones.
        for table in ("runs", "series", "metric_points"):
            op.execute(f"ANALYZE {table}")
    for statement in (_CONFIGURATIONS, _SERIES, _DAYS.format(day=_DAY[op.get_bind().dialect.name])):
        op.execute(statement)
    covered = ["model", "suite", "started_at", "verdict", "identity_digest", "id"]
    op.create_index("ix_runs_history", "runs", covered)
    op.create_index("ix_runs_model_suite_verdict_started_at", "runs", ["model", "suite", "verdict", "started_at"])
    op.drop_index("ix_runs_model_suite_started_at", "runs")


def downgrade() -> None:
    """Remove the tables; they hold nothing that the points do not tell."""
    op.create_index("ix_runs_model_suite_started_at", "runs", ["model", "suite", "started_at"])
    op.drop_index("ix_runs_model_suite_verdict_started_at", "runs")
    op.drop_index("ix_runs_history", "runs")
    for table in ("trend_days", "trend_series", "configurations"):
        op.drop_table(table)
