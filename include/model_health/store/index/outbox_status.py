"""Questions about the outbox, and its upkeep: what waits, what was given up, what was tried when.

Takes the connection of a transaction that the caller owns, as `outbox` does. Knows nothing of sinks and alerts.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update

from model_health.store.index.outbox import Kind, State, StoredItem, stored
from model_health.store.index.tables_outbox import outbox, outbox_attempts

Outcome = Literal["delivered", "failed", "refused", "lost"]
STATES: tuple[State, ...] = get_args(State)
SETTLED: tuple[State, ...] = ("delivered", "superseded")
"""Nobody will ever send these: `prune` may remove them."""


@dataclass(frozen=True)
class TargetCounts:
    """How many items of a target are in each state, and when the oldest that is to be delivered, or is held, was made.

    What is held waits for a validation; it cannot be delivered by anybody.
    """

    target: str
    states: dict[State, int]
    oldest_pending_at: datetime | None
    failed_notifications: int = 0
    oldest_held_at: datetime | None = None

    @property
    def pending(self) -> int:
        """How many are to be delivered, now or later."""
        return self.states["pending"] + self.states["delivering"]

    @property
    def dead(self) -> int:
        """How many were given up."""
        return self.states["dead"]


@dataclass(frozen=True)
class LedgerEntry:
    """One try to deliver one item. `outcome` is None while it is under way."""

    target: str
    kind: Kind
    key: str
    item_id: int
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome | None
    error: str | None


def counts(connection: Connection, failures_since: datetime) -> list[TargetCounts]:
    """Every target that ever had an item, by name. Failed tries to deliver an alert count from `failures_since`."""
    query = select(outbox.c.target, outbox.c.state, func.count().label("n"), func.min(outbox.c.created_at).label("old"))
    states: dict[str, dict[State, int]] = {}
    oldest: dict[str, datetime] = {}
    held: dict[str, datetime] = {}
    for row in connection.execute(query.group_by(outbox.c.target, outbox.c.state)):
        states.setdefault(row.target, dict.fromkeys(STATES, 0))[row.state] = row.n
        if row.state in ("pending", "delivering"):
            oldest[row.target] = min(row.old, oldest.get(row.target, row.old))
        elif row.state == "held":
            held[row.target] = row.old
    failed = select(outbox.c.target, func.count().label("n")).join(
        outbox_attempts, outbox_attempts.c.item_id == outbox.c.id
    )
    failed = failed.where(
        outbox.c.kind == "alert",
        outbox_attempts.c.started_at >= failures_since,
        outbox_attempts.c.outcome.in_(("failed", "refused", "lost")),
    ).group_by(outbox.c.target)
    failures = {row.target: row.n for row in connection.execute(failed)}
    return [
        TargetCounts(target, states[target], oldest.get(target), failures.get(target, 0), held.get(target))
        for target in sorted(states)
    ]


def told_events(connection: Connection, run_key: str) -> dict[str, dict[str, Any]]:
    """The last event about a run that each target got, or may have got, from any try of the run, by target."""
    arrived = or_(outbox_attempts.c.outcome.is_(None), outbox_attempts.c.outcome.in_(("delivered", "lost")))
    query = (
        select(outbox.c.target, outbox.c.payload)
        .join(outbox_attempts, outbox_attempts.c.item_id == outbox.c.id)
        .where(outbox.c.run_key == run_key, outbox.c.kind == "event", outbox.c.payload.is_not(None), arrived)
    )
    newest_last = connection.execute(query.order_by(outbox_attempts.c.id))
    return {row.target: json.loads(row.payload) for row in newest_last}


def open_targets(connection: Connection) -> list[str]:
    """The targets that have something to deliver, now or later, by name."""
    query = select(outbox.c.target).where(outbox.c.state.in_(("pending", "delivering")))
    return sorted(connection.execute(query.distinct()).scalars())


def targets_of_run(connection: Connection, run_key: str) -> list[str]:
    """The targets that get a run's samples, by name."""
    mine = outbox.c.run_key == run_key, outbox.c.kind == "samples", outbox.c.state != "superseded"
    return sorted(connection.execute(select(outbox.c.target).where(*mine).distinct()).scalars())


def items(
    connection: Connection,
    *,
    target: str | None = None,
    states: Collection[State] = (),
    run_key: str | None = None,
    limit: int = 100,
) -> list[StoredItem]:
    """Items that match, newest first; None and an empty collection do not filter."""
    where: list[ColumnElement[bool]] = []
    if target is not None:
        where.append(outbox.c.target == target)
    if states:
        where.append(outbox.c.state.in_(states))
    if run_key is not None:
        where.append(outbox.c.run_key == run_key)
    query = select(outbox).where(*where).order_by(outbox.c.id.desc()).limit(limit)
    return [stored(row) for row in connection.execute(query)]


def ledger(
    connection: Connection, *, target: str | None = None, item_id: int | None = None, limit: int = 100
) -> list[LedgerEntry]:
    """Tries to deliver, newest first; None does not filter."""
    of_item = (outbox.c.target, outbox.c.kind, outbox.c.key)
    of_try = [outbox_attempts.c[name] for name in ("item_id", "started_at", "ended_at", "outcome", "error")]
    query = select(*of_item, *of_try).join(outbox, outbox.c.id == outbox_attempts.c.item_id)
    if target is not None:
        query = query.where(outbox.c.target == target)
    if item_id is not None:
        query = query.where(outbox.c.id == item_id)
    newest = query.order_by(outbox_attempts.c.id.desc()).limit(limit)
    return [LedgerEntry(**row._mapping) for row in connection.execute(newest)]


def requeue(connection: Connection, *, target: str | None = None, item_ids: Collection[int] | None = None) -> int:
    """Let dead items be tried again from the start; how many. None takes all. The ledger keeps the earlier tries."""
    where: list[ColumnElement[bool]] = [outbox.c.state == "dead"]
    if target is not None:
        where.append(outbox.c.target == target)
    if item_ids is not None:
        where.append(outbox.c.id.in_(item_ids))
    again = {"state": "pending", "attempts": 0, "first_attempt_at": None, "next_attempt_at": None}
    return connection.execute(update(outbox).where(*where).values(again)).rowcount


def prune(connection: Connection, before: datetime) -> int:
    """Remove delivered and superseded items made before a moment, and their ledger; how many items.

    A key that was removed could be delivered again: keep them longer than anything is retried.
    """
    old = outbox.c.state.in_(SETTLED), outbox.c.created_at < before
    return connection.execute(delete(outbox).where(*old)).rowcount
