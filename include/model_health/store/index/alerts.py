"""Reads and writes gate answers, how alerts stand, and their history, on a connection that the caller owns.

Records take plain values: what a verdict means, and when something is said, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, update

from model_health.store.index.tables_alerts import alert_history, alert_states, gate_results
from model_health.store.index.upsert import insert_into

MAX_TEXT = 4000


@dataclass(frozen=True)
class GateRecord:
    """A row of `gate_results`. `result` is the whole answer as JSON."""

    model: str
    suite: str
    gate: str
    run_key: str
    at: datetime
    verdict: str
    tier: str
    value: float | None
    level: float | None
    reason: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class AlertState:
    """A row of `alert_states`.

    `standing` is the last conclusive verdict and `told` the last one that was sent. `first_at` is when the gate was
    first judged, `since` when the newest alert began. `result` is the last conclusive answer.
    """

    model: str
    suite: str
    gate: str
    first_at: datetime
    changed_at: datetime
    standing: str = "pass"
    told: str = "pass"
    since: datetime | None = None
    notified_at: datetime | None = None
    sequence: int = 0
    inconclusive_runs: int = 0
    passing_runs: int = 0
    run_key: str | None = None
    run_at: datetime | None = None
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class HistoryEntry:
    """A row of `alert_history`."""

    key: str
    model: str
    suite: str
    gate: str
    kind: str
    verdict: str
    previous: str
    at: datetime
    run_key: str | None
    sent: bool
    silenced_by: str | None = None
    targets: tuple[str, ...] = ()
    alert: Mapping[str, Any] = field(default_factory=dict)


def save_results(connection: Connection, records: Sequence[GateRecord]) -> None:
    """Keep the answers; judging the same run again replaces what it said before."""
    for record in records:
        values = _clean(asdict(record))
        statement = insert_into(connection.dialect.name, gate_results).values(values)
        changed = {name: statement.excluded[name] for name in values if name not in _RESULT_KEY}
        connection.execute(statement.on_conflict_do_update(index_elements=list(_RESULT_KEY), set_=changed))


_RESULT_KEY = ("model", "suite", "gate", "run_key")
_STATE_KEY = ("model", "suite", "gate")


def lock_states(
    connection: Connection, keys: Sequence[tuple[str, str, str]], now: datetime
) -> dict[tuple[str, str, str], AlertState]:
    """The states of (model, suite, gate), made where they are missing, locked until the transaction ends.

    In one order, so that two callers wait for each other instead of locking each other out.
    """
    ordered = sorted(set(keys))
    found: dict[tuple[str, str, str], AlertState] = {}
    for key in ordered:
        fresh = asdict(AlertState(*key, first_at=now, changed_at=now))
        connection.execute(insert_into(connection.dialect.name, alert_states).values(fresh).on_conflict_do_nothing())
        row = connection.execute(select(alert_states).where(*_is(key)).with_for_update()).one()
        found[key] = _state(row)
    return found


def save_state(connection: Connection, state: AlertState) -> None:
    """Write a state that `lock_states` gave."""
    values = _clean({name: value for name, value in asdict(state).items() if name not in _STATE_KEY})
    connection.execute(update(alert_states).where(*_is((state.model, state.suite, state.gate))).values(values))


def append_history(connection: Connection, entry: HistoryEntry) -> bool:
    """Keep what was said. False, changing nothing, if it has been said under this key."""
    values = _clean({**asdict(entry), "targets": list(entry.targets)})
    statement = insert_into(connection.dialect.name, alert_history).values(values).on_conflict_do_nothing()
    return connection.execute(statement).rowcount > 0


def standing_states(connection: Connection) -> list[AlertState]:
    """The alerts that stand, or of which people have not heard the end."""
    query = select(alert_states).where(or_(alert_states.c.standing != "pass", alert_states.c.told != "pass"))
    return [_state(row) for row in connection.execute(query.order_by(*(alert_states.c[name] for name in _STATE_KEY)))]


def states_of_gate(connection: Connection, gate: str) -> list[AlertState]:
    """Every state of a gate, by model and suite."""
    query = select(alert_states).where(alert_states.c.gate == gate)
    return [_state(row) for row in connection.execute(query.order_by(alert_states.c.model, alert_states.c.suite))]


def last_answered(connection: Connection, gates: Sequence[str], *, model: str) -> datetime | None:
    """When one of the gates last answered about a model; None if none ever did."""
    query = select(gate_results.c.at).where(gate_results.c.gate.in_(gates), gate_results.c.model == model)
    return connection.execute(query.order_by(gate_results.c.at.desc()).limit(1)).scalar_one_or_none()


def history(connection: Connection, *, model: str | None = None, limit: int = 100) -> list[HistoryEntry]:
    """What was said, newest first."""
    query = select(alert_history).order_by(alert_history.c.at.desc(), alert_history.c.id.desc()).limit(limit)
    if model is not None:
        query = query.where(alert_history.c.model == model)
    return [_entry(row) for row in connection.execute(query)]


def last_sent(connection: Connection, keys: Sequence[tuple[str, str, str]]) -> list[HistoryEntry]:
    """The newest message that was sent about each (model, suite, gate); none for one that was never told."""
    found = []
    for model, suite, gate in keys:
        mine = (alert_history.c.model == model, alert_history.c.suite == suite, alert_history.c.gate == gate)
        query = select(alert_history).where(*mine, alert_history.c.sent.is_(True)).order_by(alert_history.c.id.desc())
        row = connection.execute(query.limit(1)).one_or_none()
        if row is not None:
            found.append(_entry(row))
    return found


def latest_results(connection: Connection, *, model: str | None = None) -> list[GateRecord]:
    """The newest answer of every gate, by model, suite and gate."""
    group = tuple(gate_results.c[name] for name in _STATE_KEY)
    newest = (gate_results.c.at.desc(), gate_results.c.id.desc())
    ranked = select(gate_results, func.row_number().over(partition_by=group, order_by=newest).label("rank"))
    if model is not None:
        ranked = ranked.where(gate_results.c.model == model)
    found = ranked.subquery("ranked")
    query = select(found).where(found.c.rank == 1).order_by(*(found.c[name] for name in _STATE_KEY))
    return [_record(row) for row in connection.execute(query)]


def _record(row: Row[Any]) -> GateRecord:
    return GateRecord(**{name: row._mapping[name] for name in GateRecord.__dataclass_fields__})


def _entry(row: Row[Any]) -> HistoryEntry:
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    return HistoryEntry(**{**values, "targets": tuple(row.targets)})


def _state(row: Row[Any]) -> AlertState:
    return AlertState(**dict(row._mapping))


def _is(key: tuple[str, str, str]) -> list[Any]:
    return [alert_states.c[name] == value for name, value in zip(_STATE_KEY, key, strict=True)]


def _clean(value: Any) -> Any:
    """Text that every database takes, at any depth: no NUL, no lone surrogates, bounded."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:MAX_TEXT]
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value
