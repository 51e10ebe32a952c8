"""The made-up outbox: what the last nights sent, what one sink has not taken since, and one item that was refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from model_health.delivery.enqueue import run_items
from model_health.report.manifest import Manifest, Verdict
from model_health.report.samples import Sample
from model_health.sinks.context import context_of
from model_health.store.index.outbox import claim, enqueue, mark_dead, mark_delivered, mark_failed

SINKS: Final = ("prometheus", "datadog")
STUCK_SINK: Final = "datadog"
STUCK_NIGHTS: Final = 2
"""For how many of the last nights one sink has taken nothing."""
PUBLISHED_NIGHTS: Final = 10
REFUSED: Final = "HTTP 400: metric name is not allowed"
UNREACHABLE: Final = "cannot connect: timed out after 30 s"


def deliver(
    connection: Connection,
    run_key: str,
    manifest: Manifest,
    samples: Sequence[Sample],
    previous: Verdict | None,
    *,
    nights_left: int,
) -> None:
    """Put in what a run sends, and what became of it; nothing for older nights.

    Args:
        connection: of a transaction.
        run_key: names the run.
        manifest: of the run.
        samples: every one.
        previous: the verdict of the run before.
        nights_left: until the last one, which has 0.
    """
    if nights_left >= PUBLISHED_NIGHTS:
        return
    for sink in SINKS:
        items = run_items(run_key, (sink,), samples, context_of(manifest), manifest, previous)
        enqueue(connection, items)
        stuck = sink == STUCK_SINK and nights_left < STUCK_NIGHTS
        for number in range(len(items)):
            at = manifest.ended_at + timedelta(minutes=1, seconds=number)
            taken = claim(connection, sink, at, lease=timedelta(minutes=5))
            if taken is None:
                break  # an older item of this sink waits
            if stuck:
                mark_failed(connection, taken, at + timedelta(seconds=30), UNREACHABLE, at + timedelta(hours=1))
            elif nights_left == STUCK_NIGHTS + 1 and number == 0 and sink == STUCK_SINK:
                mark_dead(connection, taken, at, REFUSED)
            else:
                mark_delivered(connection, taken, at + timedelta(seconds=1))
