"""What has not been delivered, by the model whose numbers or alerts it holds. Settled items are not looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select

from model_health.store.index.outbox import State
from model_health.store.index.tables import runs
from model_health.store.index.tables_alerts import alert_history
from model_health.store.index.tables_outbox import outbox

_PENDING: Final[tuple[State, ...]] = ("pending", "delivering")
_LOOKED_AT: Final[tuple[State, ...]] = (*_PENDING, "held", "withheld", "dead")


@dataclass(frozen=True)
class Waiting:
    """Items that have not arrived: how many wait, are held back, withheld for invalid reports, or were given up.

    `oldest_at`: when the oldest of those that wait or are held was made; `targets`: where those that wait or are dead
    were to go, by name; `last_error`: why one of them has not arrived, as its last try said.
    """

    pending: int = 0
    held: int = 0
    withheld: int = 0
    dead: int = 0
    oldest_at: datetime | None = None
    targets: tuple[str, ...] = ()
    last_error: str | None = None


def waiting_by_model(connection: Connection) -> dict[tuple[str, str], Waiting]:
    """What waits, by model and suite; items that belong to no model are left out (see `outbox_status.counts`)."""
    of_runs = outbox.join(runs, runs.c.run_key == outbox.c.run_key)
    of_alerts = outbox.join(alert_history, alert_history.c.key == outbox.c.key)
    found: dict[tuple[str, str], list[tuple[State, str, int, datetime, str | None]]] = {}
    for source, table, more in ((of_runs, runs, ()), (of_alerts, alert_history, (outbox.c.run_key.is_(None),))):
        key = (table.c.model, table.c.suite, outbox.c.state, outbox.c.target)
        query = (
            select(*key, func.count(), func.min(outbox.c.created_at), func.max(outbox.c.last_error))
            .select_from(source)
            .where(outbox.c.state.in_(_LOOKED_AT), *more)
            .group_by(*key)
        )
        for model, suite, state, target, count, oldest, error in connection.execute(query):
            found.setdefault((model, suite), []).append((state, target, count, oldest, error))
    return {pair: _waiting(rows) for pair, rows in found.items()}


def _waiting(rows: Iterable[tuple[State, str, int, datetime, str | None]]) -> Waiting:
    rows = list(rows)

    def count(*states: State) -> int:
        return sum(number for state, _, number, _, _ in rows if state in states)

    stuck = (*_PENDING, "dead")
    return Waiting(
        pending=count(*_PENDING),
        held=count("held"),
        withheld=count("withheld"),
        dead=count("dead"),
        oldest_at=min((oldest for state, _, _, oldest, _ in rows if state in (*_PENDING, "held")), default=None),
        targets=tuple(sorted({target for state, target, _, _, _ in rows if state in stuck})),
        last_error=next((error for state, _, _, _, error in rows if state in stuck and error), None),
    )
