"""The table of comparisons with a baseline: one row each, of a night's run or of a candidate.

`finding` is why the answer is what it is, `outcome` the policy's verdict and `reason` what it says. Once a night's
models were screened together, `screened` is true and the verdict final. `night` (the scheduler's run) is null for
what a person or a pipeline compared.
"""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Double, Index, Integer, String, Table, Text, UniqueConstraint

from model_health.store.index.tables import metadata
from model_health.store.index.types import JSON_DOCUMENT, UtcDateTime

comparisons = Table(
    "comparisons",
    metadata,
    Column("id", Integer, primary_key=True),
    # Of the run, or of a folder that is no run's: `of_run` tells the two apart.
    Column("key", String(320), nullable=False),
    Column("of_run", Boolean, nullable=False),
    Column("model", String(100), nullable=False),
    Column("suite", String(100), nullable=False),
    Column("night", String(500)),
    Column("at", UtcDateTime, nullable=False),
    Column("baseline_id", String(64), nullable=False),
    Column("candidate", Text, nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("answer", String(20), nullable=False),
    Column("finding", Text, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("screened", Boolean, nullable=False),
    Column("rule", String(100)),
    Column("reason", Text, nullable=False),
    Column("cause", String(30)),
    Column("state", String(100)),
    Column("axes", JSON_DOCUMENT, nullable=False),
    Column("moved", Boolean),
    Column("p_values", JSON_DOCUMENT, nullable=False),
    Column("families", JSON_DOCUMENT),
    Column("golden_mean", Double),
    Column("golden_low", Double),
    Column("golden_high", Double),
    Column("needed", Integer),
    Column("tokens", Integer),
    Column("flipped", Integer),
    Column("cpu_seconds", Double),
    Column("wall_seconds", Double),
    Column("result_uri", Text, nullable=False),
    Column("result_digest", String(100), nullable=False),
    UniqueConstraint("key", "of_run"),
    CheckConstraint("outcome IN ('pass', 'warn', 'fail', 'inconclusive')", name="outcome"),
    Index(None, "model", "suite", "at"),
    Index(None, "night"),
)
