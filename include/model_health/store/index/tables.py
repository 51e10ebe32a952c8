"""The index's tables. Owns columns, keys and constraints; the migrations make them, and a test holds the two equal.

    runs           one row per run key, from before the model loads; a retry takes over its own row
    samples        one row per run and canary prompt
    series         one row per (model, suite, metric, prompt, group, other labels): the strings of all metric points
    reasons        why values are null, each text once
    metric_points  one narrow row per value: series, time, run, value or reason

A trend filters by series and time only, so `metric_points` is ordered by them (in SQLite it *is* that tree). The texts
live once in `series`, which keeps a point at about 50 bytes, keys included.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from model_health.store.index.types import JSON_DOCUMENT, UtcDateTime

VERSION_TABLE = "model_health_version"
"""Not Alembic's default: the index may share a database with Airflow, which has that one."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_key", String(320), nullable=False, unique=True),
    Column("attempt", String(32), nullable=False),
    Column("model", String(100), nullable=False),
    Column("suite", String(100), nullable=False),
    Column("suite_version", String(50)),
    Column("suite_digest", String(100)),
    Column("run_id", String(500), nullable=False),
    Column("dag_id", String(250)),
    Column("dag_run_id", String(500)),
    Column("try_number", Integer),
    Column("status", String(20), nullable=False),
    Column("verdict", String(20)),
    Column("reason", Text),
    Column("log_tail", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("manifest_uri", Text),
    Column("manifest_digest", String(100)),
    Column("report_schema_version", String(20)),
    Column("manifest_schema_version", String(20)),
    Column("identity_digest", String(100)),
    Column("revision", String(200)),
    Column("weights_digest", String(100)),
    Column("dtype", String(30)),
    Column("quantization", String(50)),
    Column("attention_backend", String(50)),
    Column("device_class", String(100)),
    Column("libraries", JSON_DOCUMENT),
    Column("flags", JSON_DOCUMENT),
    Column("unhealthy_flags", JSON_DOCUMENT),
    CheckConstraint("status IN ('started', 'measured', 'could_not_measure')", name="status"),
    CheckConstraint("verdict IN ('healthy', 'unhealthy', 'could_not_measure', 'inconclusive')", name="verdict"),
    CheckConstraint("(status = 'could_not_measure') = (coalesce(verdict, '') = 'could_not_measure')", name="agreement"),
    CheckConstraint("status <> 'could_not_measure' OR reason IS NOT NULL", name="failure_has_reason"),
    # Covers what changes are found by: a year of a model's verdicts and identities is read from the index alone.
    Index("ix_runs_history", "model", "suite", "started_at", "verdict", "identity_digest", "id"),
    # One step to the newest run of each verdict.
    Index(None, "model", "suite", "verdict", "started_at"),
    Index(None, "started_at"),
    Index(None, "status", "heartbeat_at"),
)

samples = Table(
    "samples",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("prompt_id", String(100), nullable=False),
    Column("prompt_group", String(100)),
    Column("report_uri", Text),
    Column("report_digest", String(100)),
    Column("prompt_tokens", Integer),
    Column("generated_tokens", Integer),
    Column("stopped_by", String(20)),
    Column("time_to_first_token_seconds", Double),
    Column("time_per_output_token_seconds", Double),
    Column("loop_period", Integer),
    Column("flags", JSON_DOCUMENT, nullable=False),
    Column("unhealthy_flags", JSON_DOCUMENT, nullable=False),
    Column("not_measured", JSON_DOCUMENT, nullable=False),
    Column("tolerated", JSON_DOCUMENT),  # null in rows that are older than the column
    PrimaryKeyConstraint("run_id", "prompt_id"),
)

series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String(100), nullable=False),
    Column("suite", String(100), nullable=False),
    Column("metric", String(100), nullable=False),
    # Empty text, not null, where a series has no prompt, group or label: nulls are never equal in a unique key.
    Column("prompt_id", String(100), nullable=False),
    Column("prompt_group", String(100), nullable=False),
    Column("labels", String(200), nullable=False),
    UniqueConstraint("model", "suite", "metric", "prompt_id", "prompt_group", "labels"),
)

reasons = Table(
    "reasons",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(500), nullable=False, unique=True),
)

metric_points = Table(
    "metric_points",
    metadata,
    Column("series_id", Integer, ForeignKey("series.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("value", Double),
    Column("reason_id", Integer, ForeignKey("reasons.id")),
    PrimaryKeyConstraint("series_id", "at", "run_id"),
    UniqueConstraint("run_id", "series_id"),
    CheckConstraint("(value IS NULL) = (reason_id IS NOT NULL)", name="null_has_reason"),
    sqlite_with_rowid=False,
)
