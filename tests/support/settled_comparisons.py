"""Comparisons of settled nights as the index holds them: healthy ones, but for the fields."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from model_health.store.index.comparisons import ComparisonRecord

NIGHT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_comparison(**fields: Any) -> ComparisonRecord:
    """A settled comparison of model `m` on suite `s` that found nothing."""
    healthy = ComparisonRecord(
        key="m/s/1",
        of_run=True,
        model="m",
        suite="s",
        at=NIGHT,
        baseline_id="1" * 32,
        candidate="m",
        purpose="nightly",
        answer="equivalent",
        finding="within tolerance",
        outcome="pass",
        reason="equivalent",
        result_uri="file:///comparison.json",
        result_digest="sha256:1",
        night="d/1",
        screened=True,
        axes=("batch",),
    )
    return replace(healthy, **fields)
