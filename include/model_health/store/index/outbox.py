"""The outbox: what shall leave this machine, written in the same transaction as what it tells about.

Every function takes the connection of a transaction that the caller owns (`Index.transaction`). Within a target, items
go out one at a time in the order in which they came: the oldest that is not delivered is the only one that can be
claimed, so a target that is down holds its own queue and no other. A claim is a lease: whoever dies while delivering
loses it, and the item goes out again. Who sends, and how long to wait after a failure, is not known here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, bindparam, case, func, insert, null, select, update

from model_health.config.redact import redact_line
from model_health.errors import StoreError
from model_health.store.index.records import RunStatus
from model_health.store.index.tables import runs
from model_health.store.index.tables_outbox import outbox, outbox_attempts
from model_health.store.index.upsert import insert_into

Kind = Literal["samples", "alert", "event", "check"]
State = Literal["held", "pending", "delivering", "delivered", "withheld", "dead", "superseded"]

MAX_PAYLOAD = 16 * 2**20
"""Bytes of one payload as compact JSON: far above a run of thousands of prompts, far below what hurts a database."""
LONGEST_LEASE = timedelta(hours=1)
MAX_ERROR = 500
MAX_KEY = 500

OF_A_RUN: tuple[Kind, ...] = ("samples", "event", "check")
"""What a newer try of the run replaces. An alert stands for a change that somebody must hear of, whatever comes."""

_OPEN: tuple[State, ...] = ("pending", "delivering")
# What every delivery executes is built once: building it costs more than executing it.
_OLDEST = select(func.min(outbox.c.id)).where(outbox.c.target == bindparam("of_target"), outbox.c.state.in_(_OPEN))
# Only the head of the queue is ever locked: skipping to the next one would deliver out of order.
_HEAD = (
    select(outbox)
    .where(outbox.c.id == _OLDEST.scalar_subquery(), outbox.c.state.in_(_OPEN))
    .with_for_update(skip_locked=True)
)
_TAKE = (
    update(outbox)
    .where(outbox.c.id == bindparam("of_item"), outbox.c.state.in_(_OPEN))
    .values(attempts=outbox.c.attempts + 1)
    .returning(outbox)
)
_END_ATTEMPT = update(outbox_attempts).where(outbox_attempts.c.owner == bindparam("of_owner"))


@dataclass(frozen=True)
class OutboxItem:
    """One thing for one target.

    Args:
        target: a sink (`prometheus`) or an alert transport (`webhook:ops`).
        kind: what the payload is.
        key: names the thing; a target gets each key once, and gets the key along with events and checks.
        payload: plain JSON values, without NaN.
        run_key: the run whose numbers these are.
        created_at: aware.
    """

    target: str
    kind: Kind
    key: str
    payload: Mapping[str, Any]
    run_key: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class StoredItem(OutboxItem):
    """An item as it lies in the outbox.

    The payload is empty once nobody will send it again, but for an event's: a newer try of its run needs to know what
    was told.
    """

    id: int = 0
    state: State = "pending"
    attempts: int = 0
    first_attempt_at: datetime | None = None
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True)
class Claim:
    """The right to deliver one item, until the lease ends. `token` names this try in the ledger."""

    item: StoredItem
    token: str


# ------------------------------------------------------------------------------------------------------ putting in
def enqueue(connection: Connection, items: Sequence[OutboxItem], state: Literal["pending", "held"] = "pending") -> int:
    """Put items in; how many were new. A key that its target has already is left as it is, whatever became of it.

    Raises:
        StoreError: a payload is no JSON or too large, a key is empty or too long, or a time is naive.
    """
    rows = [_row(item, state) for item in items]
    if not rows:
        return 0
    statement = insert_into(connection.dialect.name, outbox)
    # What a replaced try left under this key makes room: the newer try says it anew.
    changed = {name: statement.excluded[name] for name in rows[0] if name not in ("target", "key")}
    upsert = statement.on_conflict_do_update(
        index_elements=["target", "key"], set_=changed, where=outbox.c.state == "superseded"
    ).returning(outbox.c.id)
    return sum(len(connection.execute(upsert, row).all()) for row in rows)


def release(connection: Connection, run_key: str) -> int:
    """Let a run's items go out: its reports are valid. How many there were; those withheld before go out too.

    However late that is: a sink that shows what came last, as a gateway does, shows this run until the next one.
    """
    return _move(connection, run_key, ("held", "withheld"), state="pending", last_error=None)


def withhold(connection: Connection, run_key: str, reason: str) -> int:
    """Keep a run's items back, and say why: its reports are not valid. How many there were.

    Usually they are all held. Where the run was found valid before and is not any more, those that still wait, are
    being sent or were given up are kept back as well. What arrived cannot be taken back: the invalidity itself, which
    is published after this, tells the sinks (a gateway then shows none of the run's numbers). An item that is under way
    may still arrive; should the run be found valid again, it is sent once more, which does no harm.
    What goes out for a run that was never measured has no reports to be invalid, and is left alone.
    """
    text = clean_error(reason)
    held = _move(connection, run_key, ("held",), state="withheld", last_error=text)
    measured = select(runs.c.id).where(runs.c.run_key == run_key, runs.c.status == RunStatus.MEASURED.value)
    if connection.execute(measured).first() is None:
        return held
    let_go: tuple[State, ...] = ("pending", "delivering", "dead")
    free = {"lease_owner": None, "lease_until": None}
    return held + _move(connection, run_key, let_go, state="withheld", last_error=text, **free)


def supersede(connection: Connection, run_key: str) -> int:
    """Drop what a run's earlier try left undelivered; its alerts stay. How many there were."""
    return _move(
        connection,
        run_key,
        ("held", "pending", "delivering", "withheld", "dead"),
        state="superseded",
        payload=_what_was_told(),
        lease_owner=None,
        lease_until=None,
    )


def _move(connection: Connection, run_key: str, states: Sequence[State], **values: Any) -> int:
    mine = outbox.c.run_key == run_key, outbox.c.kind.in_(OF_A_RUN), outbox.c.state.in_(states)
    return connection.execute(update(outbox).where(*mine).values(values)).rowcount


# ---------------------------------------------------------------------------------------------------- taking out
def due(connection: Connection, target: str, now: datetime, limit: int = 100) -> list[StoredItem]:
    """What `target` would be sent now, oldest first; nothing while its oldest item waits or is being delivered."""
    waiting = select(outbox).where(outbox.c.target == target, outbox.c.state.in_(_OPEN)).order_by(outbox.c.id)
    found: list[StoredItem] = []
    for row in connection.execute(waiting.limit(limit)):
        expired = row.state == "delivering" and row.lease_until <= now
        ready = row.state == "pending" and (row.next_attempt_at is None or row.next_attempt_at <= now)
        if not (expired or ready):
            break
        found.append(stored(row))
    return found


def claim(
    connection: Connection,
    target: str,
    now: datetime,
    *,
    lease: timedelta,
    longest_wait: timedelta = timedelta(days=1),
) -> Claim | None:
    """Lease the oldest item of `target` to the caller, and open its line in the ledger; None if nothing can go now.

    Safe with any number of callers: one of them gets the item, the others None.

    Args:
        connection: of a transaction that commits before anything is sent.
        target: whose queue.
        now: the present.
        lease: how long the caller may take; longer than the deliverer's own time limit, at most `LONGEST_LEASE`.
        longest_wait: a moment to wait for that lies further ahead was written by a clock that has since been set back;
            it does not count. Nor does a lease that would run for more than `LONGEST_LEASE`.
    """
    assert timedelta() < lease <= LONGEST_LEASE
    row = connection.execute(_HEAD, {"of_target": target}).one_or_none()
    if row is None or (row.state == "pending" and _ahead(row.next_attempt_at, now, longest_wait)):
        return None
    if row.state == "delivering":
        if _ahead(row.lease_until, now, LONGEST_LEASE):
            return None
        lost = {
            "ended_at": now,
            "outcome": "lost",
            "error": "the deliverer died or hung; it is not known what was sent",
        }
        mine = outbox_attempts.c.owner == row.lease_owner, outbox_attempts.c.outcome.is_(None)
        connection.execute(update(outbox_attempts).where(*mine).values(lost))
    token = uuid.uuid4().hex
    taken = {
        "of_item": row.id,
        "state": "delivering",
        "lease_owner": token,
        "lease_until": now + lease,
        "first_attempt_at": row.first_attempt_at or now,
    }
    claimed = connection.execute(_TAKE, taken).one()
    connection.execute(insert(outbox_attempts), {"item_id": row.id, "owner": token, "started_at": now})
    return Claim(stored(claimed), token)


def _ahead(moment: datetime | None, now: datetime, at_most: timedelta) -> bool:
    return moment is not None and now < moment <= now + at_most


# -------------------------------------------------------------------------------------------------- what became of it
def mark_delivered(connection: Connection, claim: Claim, now: datetime) -> bool:
    """The target took it. False if the lease was lost meanwhile: the ledger says that it arrived all the same."""
    _end_attempt(connection, claim, now, "delivered", None)
    told = _what_was_told()
    return _settle(connection, claim, state="delivered", delivered_at=now, payload=told, last_error=None)


def mark_failed(connection: Connection, claim: Claim, now: datetime, error: str, next_attempt_at: datetime) -> bool:
    """It did not arrive, as far as is known; it goes out again at `next_attempt_at`. False if the lease was lost."""
    text = clean_error(error)
    _end_attempt(connection, claim, now, "failed", text)
    return _settle(connection, claim, state="pending", next_attempt_at=next_attempt_at, last_error=text)


def mark_dead(connection: Connection, claim: Claim, now: datetime, error: str) -> bool:
    """It will not be tried again unless somebody asks for it. False if the lease was lost."""
    text = clean_error(error)
    _end_attempt(connection, claim, now, "refused", text)
    return _settle(connection, claim, state="dead", next_attempt_at=None, last_error=text)


def _end_attempt(connection: Connection, claim: Claim, now: datetime, outcome: str, error: str | None) -> None:
    ended = {"of_owner": claim.token, "ended_at": now, "outcome": outcome, "error": error}
    connection.execute(_END_ATTEMPT, ended)


def _settle(connection: Connection, claim: Claim, **values: Any) -> bool:
    mine = outbox.c.id == claim.item.id, outbox.c.lease_owner == claim.token
    changed = update(outbox).where(*mine).values(lease_owner=None, lease_until=None, **values)
    return connection.execute(changed).rowcount > 0


# ---------------------------------------------------------------------------------------------------------- helpers
def _what_was_told() -> Any:
    return case((outbox.c.kind == "event", outbox.c.payload), else_=null())


def clean_error(text: str) -> str:
    """One line without secrets, short enough for its column."""
    return redact_line(text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8"))[:MAX_ERROR]


def stored(row: Row[Any]) -> StoredItem:
    """A row of `outbox` as a record."""
    values = {name: value for name, value in row._mapping.items() if name not in ("lease_owner", "lease_until")}
    payload = values.pop("payload")
    return StoredItem(payload=json.loads(payload) if payload is not None else {}, **values)


def _row(item: OutboxItem, state: State) -> dict[str, Any]:
    if not item.key or len(item.key) > MAX_KEY:
        raise StoreError(f"an outbox key has 1 to {MAX_KEY} characters", subject=f"{item.target}: {item.key[:80]!r}")
    try:
        payload = json.dumps(item.payload, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as err:
        raise StoreError(f"the payload is not JSON: {err}", subject=f"{item.target}: {item.key}") from err
    if len(payload) > MAX_PAYLOAD:
        raise StoreError(
            f"the payload has {len(payload)} bytes, more than {MAX_PAYLOAD}", subject=f"{item.target}: {item.key}"
        )
    return {
        "target": item.target,
        "kind": item.kind,
        "key": item.key,
        "run_key": item.run_key,
        "payload": payload,
        "state": state,
        "created_at": item.created_at,
        "attempts": 0,
        "first_attempt_at": None,
        "next_attempt_at": None,
        "last_error": None,
    }
