"""What else pages show: a month of a model, a comparison with flips, weeks of self-tests, an outbox with trouble."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from model_health.store.index.index import Index
from support.comparisons import made, record
from support.dashboard_history import NEWER, night
from support.index_rows import IDENTITY
from support.observations import observation
from support.operations import deliveries, record_self_test

DRIFTING, NIGHTS = "tiny-drift", 30
"""A model whose revision, library, device and level changed half way; its last nights loop."""
WEEKS = 5
"""Self-tests; the newest fell short."""


def fill_beside(index: Index, store: Path, now: datetime) -> str:
    """Fill an index and a store; the address of the comparison that moved, which is the newest."""
    with index.transaction("a month of nights") as connection:
        for day in range(NIGHTS, 0, -1):
            at, later = now - timedelta(days=day, minutes=-30), day < NIGHTS // 2
            level = 2.0 + 0.05 * (day * 7 % 5) + (0.8 if later else 0.0)
            identity = NEWER if later else IDENTITY
            night(connection, DRIFTING, at, entropy=level, sick=day <= 2, identity=identity)
    record(index, store, made(observation()), run_id="night-1", at=now - timedelta(days=1))
    moved = record(index, store, made(noise=0.5, first_state=2), run_id="night-2", at=now - timedelta(hours=2))
    for week in range(WEEKS):
        record_self_test(index, now - timedelta(days=7 * week, hours=3), passed=week != 0)
    deliveries(index, now)
    return f"run:{moved}"
