"""What is written into a trend beside its values: promotions of baselines, and where the level changed.

Changes of verdict, revision and libraries come from the index (`store.index.changes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from model_health.baseline.change_points import change_points
from model_health.baseline.registry import Promotion, history
from model_health.baseline.store import BaselineStore
from model_health.store.index.selection import Selection
from model_health.store.index.trends import Trend


@dataclass(frozen=True)
class LevelChange:
    """A trend changed its level with the step at `at`; `before` and `after` are the means around it."""

    at: datetime
    before: float
    after: float


def level_changes(trend: Trend) -> list[LevelChange]:
    """Where the means of a trend changed their level, oldest first. Steps without a value are left out."""
    measured = [(step.at, step.mean) for step in trend.steps if step.mean is not None]
    found = change_points([mean for _, mean in measured])
    return [LevelChange(measured[point.at][0], point.before, point.after) for point in found]


def promotions_in(store: BaselineStore, where: Selection) -> tuple[Promotion, ...]:
    """The promotions of a model's baselines in a selection's time, oldest first. Raises `StoreError`."""
    return tuple(
        promotion
        for promotion in history(store, where.model, where.suite)
        if (where.since is None or promotion.promoted_at >= where.since)
        and (where.until is None or promotion.promoted_at < where.until)
    )
