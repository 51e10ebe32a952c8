"""Tables of self-tests: whether the monitor itself works.

    self_tests        one row per self-test of a model and suite, with its figures as JSON
    self_test_trials  one row per trial: a fault under a configuration, a harmless change, or a healthy replay

`raised` says whether anybody would hear of it: wanted for a fault, a false alarm for all else; null where the model
cannot have the fault, or where it changes no number.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from model_health.store.index.tables import metadata
from model_health.store.index.types import JSON_DOCUMENT, UtcDateTime

self_tests = Table(
    "self_tests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String(100), nullable=False),
    Column("suite", String(100), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("dtype", String(30), nullable=False),
    Column("device", String(100), nullable=False),
    Column("reduced", Boolean, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("figures", JSON_DOCUMENT, nullable=False),
    Column("libraries", JSON_DOCUMENT, nullable=False),
    Column("wall_seconds", Double, nullable=False),
    UniqueConstraint("model", "suite", "started_at"),
)

self_test_trials = Table(
    "self_test_trials",
    metadata,
    Column("self_test_id", Integer, ForeignKey("self_tests.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("role", String(20), nullable=False),
    Column("name", String(200), nullable=False),
    Column("kind", String(100), nullable=False),
    Column("configuration", String(20), nullable=False),
    Column("answer", String(20)),
    Column("raised", Boolean),
    Column("place", String(100)),
    Column("attributed", String(100)),
    Column("placement", String(20), nullable=False),
    Column("delay_nights", Integer),
    Column("ratio", Double),
    Column("reason", Text, nullable=False),
    Column("missed", Text),
    PrimaryKeyConstraint("self_test_id", "position"),
    CheckConstraint("role IN ('fault', 'harmless', 'healthy')", name="role"),
    CheckConstraint("placement IN ('right', 'wrong', 'unnamed', 'not asked')", name="placement"),
)
