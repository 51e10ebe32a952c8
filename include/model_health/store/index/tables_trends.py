"""Tables that keep long trends quick: what a run added to each day, so that a year of a metric is read in 365 rows.

    configurations  one row per (model, suite, identity): revision, device class, libraries; what trends are filtered by
    trend_series    one row per (model, suite, metric, other labels): series of single prompts put together
    trend_days      per trend series, UTC day, configuration and health of the run: how many values, their sum and range

All of it follows from `runs` and `metric_points`, and is written in the transaction that writes those (`rollup`).
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

from model_health.store.index.tables import metadata
from model_health.store.index.types import JSON_DOCUMENT

configurations = Table(
    "configurations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String(100), nullable=False),
    Column("suite", String(100), nullable=False),
    # Empty text, not null, where a run recorded no identity: nulls are never equal in a unique key.
    Column("identity_digest", String(100), nullable=False),
    Column("revision", String(200)),
    Column("weights_digest", String(100)),
    Column("dtype", String(30)),
    Column("quantization", String(50)),
    Column("attention_backend", String(50)),
    Column("device_class", String(100)),
    Column("libraries", JSON_DOCUMENT),
    UniqueConstraint("model", "suite", "identity_digest"),
)

trend_series = Table(
    "trend_series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String(100), nullable=False),
    Column("suite", String(100), nullable=False),
    Column("metric", String(100), nullable=False),
    Column("labels", String(200), nullable=False),
    # Whether the values are of single prompts; a metric of the run as a whole is another series.
    Column("per_prompt", Boolean, nullable=False),
    UniqueConstraint("model", "suite", "metric", "labels", "per_prompt"),
)

trend_days = Table(
    "trend_days",
    metadata,
    Column("trend_id", Integer, ForeignKey("trend_series.id"), nullable=False),
    Column("day", Integer, nullable=False),  # days since 1970-01-01, UTC
    Column("configuration_id", Integer, ForeignKey("configurations.id"), nullable=False),
    Column("healthy", Boolean, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("measured", Integer, nullable=False),
    Column("not_measured", Integer, nullable=False),
    # Null where nothing was measured that day: a sum of nothing is no zero here.
    Column("total", Double),
    Column("minimum", Double),
    Column("maximum", Double),
    PrimaryKeyConstraint("trend_id", "day", "configuration_id", "healthy"),
    sqlite_with_rowid=False,
)
