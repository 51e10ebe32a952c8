"""A self-test as the index holds it: whole and passed, but for the fields."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from model_health.store.index.self_tests import SelfTestRecord, TrialRecord

TRIAL = TrialRecord("harmless", "batch", "harmless change", "other", "equivalent", False, None, None, "not asked", None,
                    None, "within tolerance", None)  # fmt: skip


def a_whole_self_test(**fields: Any) -> SelfTestRecord:
    """A self-test of model `m` on suite `s` with one harmless change."""
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    passed = SelfTestRecord("m", "s", at, "float32", "cpu", True, True, {}, {}, 1.0, (TRIAL,))
    return replace(passed, **fields)
