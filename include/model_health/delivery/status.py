"""Answers about the outbox for people and programs, and the one thing to do about dead letters: try them again.

Each function is one transaction on an open index. `*_rows` give flat dictionaries, fit for a table or JSON; they never
hold a payload.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from model_health.delivery.operation_samples import FAILURE_WINDOW
from model_health.errors import BadInput
from model_health.store.index import outbox_status
from model_health.store.index.index import Index
from model_health.store.index.outbox import State, StoredItem
from model_health.store.index.outbox_status import LedgerEntry, TargetCounts

KEEP = timedelta(days=90)
"""How long what was delivered stays on record. Far longer than anything is retried."""


def target_counts(index: Index, now: datetime) -> list[TargetCounts]:
    """How many items of each target are in each state, by target."""
    with index.reading("count the outbox") as connection:
        return outbox_status.counts(connection, now - FAILURE_WINDOW)


def count_rows(index: Index, now: datetime) -> list[dict[str, Any]]:
    """One row per target: what waits and since when, and what was given up. `model-health outbox list`."""
    return [
        {
            "target": found.target,
            "held": found.states["held"],
            "oldest_held_seconds": _age(found.oldest_held_at, now),
            "pending": found.pending,
            "oldest_pending_seconds": _age(found.oldest_pending_at, now),
            "dead": found.dead,
            "withheld": found.states["withheld"],
            "delivered": found.states["delivered"],
            "failed_notifications_24h": found.failed_notifications,
        }
        for found in target_counts(index, now)
    ]


def items(
    index: Index, *, target: str | None = None, states: Collection[State] = (), limit: int = 100
) -> list[StoredItem]:
    """Items that match, newest first."""
    with index.reading("read the outbox") as connection:
        return outbox_status.items(connection, target=target, states=states, limit=limit)


def item_rows(
    index: Index, *, target: str | None = None, states: Collection[State] = (), limit: int = 100
) -> list[dict[str, Any]]:
    """Items as rows: `model-health outbox list --target T --state dead`. Raises `BadInput` for an unknown state."""
    unknown = sorted(set(states) - set(outbox_status.STATES))
    if unknown:
        raise BadInput("is no state of the outbox", subject=unknown[0], hint="use " + ", ".join(outbox_status.STATES))
    return [
        {
            "id": item.id,
            "target": item.target,
            "kind": item.kind,
            "state": item.state,
            "attempts": item.attempts,
            "created_at": _time(item.created_at),
            "next_attempt_at": _time(item.next_attempt_at),
            "delivered_at": _time(item.delivered_at),
            "last_error": item.last_error,
            "key": item.key,
        }
        for item in items(index, target=target, states=states, limit=limit)
    ]


def ledger(
    index: Index, *, target: str | None = None, item_id: int | None = None, limit: int = 100
) -> list[LedgerEntry]:
    """Tries to deliver, newest first."""
    with index.reading("read the ledger of deliveries") as connection:
        return outbox_status.ledger(connection, target=target, item_id=item_id, limit=limit)


def ledger_rows(
    index: Index, *, target: str | None = None, item_id: int | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Tries to deliver as rows: `model-health outbox ledger`."""
    return [
        {
            "item": entry.item_id,
            "target": entry.target,
            "kind": entry.kind,
            "started_at": _time(entry.started_at),
            "ended_at": _time(entry.ended_at),
            "outcome": entry.outcome or "under way",
            "error": entry.error,
            "key": entry.key,
        }
        for entry in ledger(index, target=target, item_id=item_id, limit=limit)
    ]


def retry(index: Index, *, target: str | None = None, item_ids: Sequence[int] | None = None) -> int:
    """Let dead letters be tried again, and say how many: `model-health outbox retry`.

    Raises:
        BadInput: an id is not that of a dead item; nothing is changed then.
    """
    with index.transaction("retry dead letters") as connection:
        done = outbox_status.requeue(connection, target=target, item_ids=item_ids)
        if item_ids is not None and done != len(set(item_ids)):
            raise BadInput("not all of these items are dead", subject=f"items {', '.join(map(str, item_ids))}")
    return done


def prune(index: Index, now: datetime, keep: timedelta = KEEP) -> int:
    """Forget what was delivered long ago; how many items."""
    with index.transaction("prune the outbox") as connection:
        return outbox_status.prune(connection, now - keep)


def _age(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
