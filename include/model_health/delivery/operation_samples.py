"""The catalogue's operation metrics as samples: how Model Health itself does. Pure: numbers in, samples out.

Each function gives the metrics of one part; `OPERATION_METRICS` names them all, and a test holds it equal to the
catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from model_health.report.samples import Sample
from model_health.store.index.outbox_status import TargetCounts

FAILURE_WINDOW: Final = timedelta(hours=24)
"""For how long a failed notification counts."""

GATE_VALUES: Final[Mapping[str, float]] = {"pass": 0.0, "warn": 1.0, "fail": 2.0, "inconclusive": -1.0}

OPERATION_METRICS: Final = (
    "report_invalid",
    "last_valid_run_timestamp_seconds",
    "comparison_completed_timestamp_seconds",
    "self_test_completed_timestamp_seconds",
    "freshness_checked_timestamp_seconds",
    "gate_verdict",
    "outbox_pending",
    "outbox_oldest_pending_seconds",
    "outbox_dead",
    "notifications_failed",
)
"""Every operation metric that a function here emits."""


def validation_samples(
    model: str, suite: str, *, valid: bool, at: datetime, last_valid_at: datetime | None
) -> list[Sample]:
    """What validation found about the newest run of a model on a suite.

    Args:
        model: its name.
        suite: its name.
        valid: whether all reports of the run are valid.
        at: when the run ended.
        last_valid_at: when the newest valid run ended, None if there was none yet.
    """
    labels = {"model": model, "suite": suite}
    known = last_valid_at is not None
    return [
        Sample("report_invalid", 0.0 if valid else 1.0, None, at, dict(labels)),
        Sample(
            "last_valid_run_timestamp_seconds",
            last_valid_at.timestamp() if last_valid_at is not None else None,
            None if known else "no run was valid yet",
            at,
            dict(labels),
        ),
    ]


def comparison_sample(model: str, suite: str, compared_at: datetime, now: datetime) -> Sample:
    """That a night compared the model, and is settled now."""
    labels = {"model": model, "suite": suite}
    return Sample("comparison_completed_timestamp_seconds", compared_at.timestamp(), None, now, labels)


def self_test_sample(model: str, suite: str, started_at: datetime, now: datetime) -> Sample:
    """That the monitor was tested on the model."""
    labels = {"model": model, "suite": suite}
    return Sample("self_test_completed_timestamp_seconds", started_at.timestamp(), None, now, labels)


def look_sample(now: datetime) -> Sample:
    """That somebody looks at the clock."""
    return Sample("freshness_checked_timestamp_seconds", now.timestamp(), None, now, {})


def gate_samples(model: str, suite: str, verdicts: Mapping[str, str], at: datetime) -> list[Sample]:
    """What each gate said (`pass`, `warn`, `fail` or `inconclusive`), by its name."""
    return [
        Sample("gate_verdict", GATE_VALUES[verdict], None, at, {"model": model, "suite": suite, "gate": gate})
        for gate, verdict in sorted(verdicts.items())
    ]


def outbox_samples(counts: Iterable[TargetCounts], now: datetime) -> list[Sample]:
    """How the outbox stands, by target."""
    samples = []
    for found in counts:
        oldest = found.oldest_pending_at
        # A clock that was set back since makes no negative age.
        age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
        values = {
            "outbox_pending": float(found.pending),
            "outbox_oldest_pending_seconds": age,
            "outbox_dead": float(found.dead),
            "notifications_failed": float(found.failed_notifications),
        }
        samples += [Sample(name, value, None, now, {"target": found.target}) for name, value in values.items()]
    return samples
