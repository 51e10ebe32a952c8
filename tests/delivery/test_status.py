"""What people and programs are told of the outbox, and trying dead letters again."""

from __future__ import annotations

import json
from datetime import timedelta
from random import Random

import pytest

from model_health.delivery import status
from model_health.delivery.deliver import deliver_target
from model_health.errors import BadInput
from model_health.store.index.index import Index
from support.far_side import FarSide, Fault
from support.outbox import NOON, Clock, item, put, states, stored

HOUR = timedelta(hours=1)


@pytest.fixture
def busy(index: Index) -> Index:
    """One item delivered, one dead, one that waits, one held."""
    put(index, item("sent"), item("refused"), item("waits", created_at=NOON - HOUR))
    put(index, item("held"), state="held")
    far = FarSide(Clock(), [Fault("server_error", taken=False)])
    deliver_target(index, "here", far, clock=far.clock, rng=Random(1))
    far.clock.forward(60)
    far.faults[:] = []
    deliver_target(index, "here", far, clock=far.clock, rng=Random(1), limit=1)
    far.faults[:] = [Fault("refused"), Fault("server_error")]
    deliver_target(index, "here", far, clock=far.clock, rng=Random(1))
    return index


def test_a_row_per_target_says_what_waits_and_since_when(busy: Index) -> None:
    assert status.count_rows(busy, NOON) == [
        {
            "target": "here",
            "held": 1,
            "oldest_held_seconds": 0.0,
            "pending": 1,
            "oldest_pending_seconds": 3600.0,
            "dead": 1,
            "withheld": 0,
            "delivered": 1,
            "failed_notifications_24h": 0,
        }
    ]
    assert status.count_rows(busy, NOON - 2 * HOUR)[0]["oldest_pending_seconds"] == 0


def test_items_can_be_listed_by_state_and_never_show_a_payload(busy: Index) -> None:
    rows = status.item_rows(busy)
    assert [row["key"] for row in rows] == ["held", "waits", "refused", "sent"]
    assert [row["key"] for row in status.item_rows(busy, states=["dead"])] == ["refused"]
    assert status.item_rows(busy, target="elsewhere") == []
    assert [row["key"] for row in status.item_rows(busy, limit=1)] == ["held"]
    assert "payload" not in json.dumps(rows)
    [dead] = status.item_rows(busy, states=["dead"])
    assert dead["last_error"] == "the far side: refused"


def test_an_unknown_state_is_refused_with_those_that_there_are(index: Index) -> None:
    with pytest.raises(BadInput, match="pending"):
        status.item_rows(index, states=["lost"])  # type: ignore[list-item]


def test_the_ledger_tells_every_try_of_an_item(busy: Index) -> None:
    rows = status.ledger_rows(busy)
    assert [(row["key"], row["outcome"]) for row in rows][::-1] == [
        ("sent", "failed"),
        ("sent", "delivered"),
        ("refused", "refused"),
        ("waits", "failed"),
    ]
    [first, *_] = stored(busy)
    assert [row["outcome"] for row in status.ledger_rows(busy, item_id=first.id)] == ["delivered", "failed"]
    json.dumps(rows)


def test_dead_letters_are_tried_again(busy: Index) -> None:
    assert status.retry(busy, target="elsewhere") == 0
    assert status.retry(busy, target="here") == 1
    assert states(busy)["refused"] == "pending"


def test_retrying_something_that_is_not_dead_changes_nothing(busy: Index) -> None:
    ids = {found.key: found.id for found in stored(busy)}
    with pytest.raises(BadInput, match="not all"):
        status.retry(busy, item_ids=[ids["refused"], ids["sent"]])
    assert states(busy)["refused"] == "dead"
    assert status.retry(busy, item_ids=[ids["refused"], ids["refused"]]) == 1


def test_old_deliveries_are_forgotten_and_nothing_else(busy: Index) -> None:
    assert status.prune(busy, NOON + status.KEEP) == 0
    assert status.prune(busy, NOON + status.KEEP + HOUR) == 1
    assert set(states(busy)) == {"refused", "waits", "held"}


def test_an_empty_outbox_has_no_rows(index: Index) -> None:
    assert status.count_rows(index, NOON) == []
    assert status.item_rows(index) == []
    assert status.ledger_rows(index) == []
    assert status.retry(index) == 0
