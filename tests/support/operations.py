"""Self-tests and deliveries in an index, as the page on operations meets them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from model_health.selftest.figures import figures
from model_health.selftest.record import record_of
from model_health.store.index import outbox
from model_health.store.index.index import Index
from model_health.store.index.self_tests import write_self_test
from support.outbox import item, put
from support.self_tests import missed, self_test_of, trial


def record_self_test(index: Index, at: datetime, *, passed: bool = True, **fields: Any) -> None:
    """Record a self-test of `tiny` on `smoke`; one that fell short missed a fault."""
    trials = [trial(), trial("Inf in one weight, layer 2")]
    trials += [] if passed else [missed("sign <b>bit</b> of one weight", configuration="same")]
    test = self_test_of(*trials, started_at=at.isoformat(), **fields)
    with index.transaction("test") as connection:
        write_self_test(connection, record_of(test, figures(test)))


def deliveries(index: Index, now: datetime, *, dead: bool = True, stuck: bool = True) -> None:
    """Items for two sinks: some arrived; `prometheus` refused one, and `datadog` is down for three hours."""
    put(index, *(item(f"run-{n}", "prometheus", created_at=now - timedelta(hours=5)) for n in range(3)))
    for number in range(3):
        at = now - timedelta(hours=4 - number)
        with index.transaction("test") as connection:
            claim = outbox.claim(connection, "prometheus", at, lease=timedelta(minutes=5))
            assert claim is not None
            if dead and number == 1:
                outbox.mark_dead(connection, claim, at + timedelta(seconds=2), "400 Bad Request <i>unknown label</i>")
            else:
                outbox.mark_delivered(connection, claim, at + timedelta(seconds=1))
    if stuck:
        put(index, item("late", "datadog", created_at=now - timedelta(hours=3), run_key="tiny/smoke/night-3"))
        with index.transaction("test") as connection:
            claim = outbox.claim(connection, "datadog", now - timedelta(hours=2), lease=timedelta(minutes=5))
            assert claim is not None
            again = now + timedelta(minutes=5)
            outbox.mark_failed(connection, claim, now - timedelta(hours=2), "503 from the intake", again)
