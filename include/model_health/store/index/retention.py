"""Which runs of the index are old, which of them something still needs, and how one is forgotten.

Owns the statements. Knows neither the store nor baselines; whoever calls it removes a run's files first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, delete, func, or_, select

from model_health.store.index.records import RunStatus
from model_health.store.index.tables import runs
from model_health.store.index.tables_alerts import alert_states, gate_results
from model_health.store.index.tables_comparisons import comparisons
from model_health.store.index.tables_outbox import outbox
from model_health.store.index.tables_validation import validations
from model_health.store.names import RunFolder

UNDELIVERED: Final = ("held", "pending", "delivering", "dead")


@dataclass(frozen=True)
class OldRun:
    """A run that may be forgotten. `attempt` is the try that was looked at: a newer one is another run."""

    row_id: int
    folder: RunFolder
    attempt: str
    started_at: datetime


def old_runs(connection: Connection, *, before: datetime | None, keep: int | None, spared: int) -> list[OldRun]:
    """Runs that have ended and are old, oldest first.

    Args:
        connection: to read from.
        before: what started earlier is old; None: no age is.
        keep: of each model and suite, what is not among so many newest is old; None: no number is.
        spared: so many newest of each model and suite are never old.
    """
    newest = (runs.c.started_at.desc(), runs.c.id.desc())
    columns = tuple(runs.c[name] for name in ("id", "run_key", "attempt", "status", "started_at"))
    rank = func.row_number().over(partition_by=(runs.c.model, runs.c.suite), order_by=newest).label("rank")
    ranked = select(*columns, rank).subquery("ranked")
    old = [ranked.c.started_at < before] if before is not None else []
    old += [ranked.c.rank > keep] if keep is not None else []
    if not old:
        return []
    query = (
        select(ranked)
        .where(or_(*old), ranked.c.rank > spared, ranked.c.status != RunStatus.STARTED.value)
        .order_by(ranked.c.started_at, ranked.c.id)
    )
    return [
        OldRun(row.id, RunFolder(*row.run_key.split("/")), row.attempt, row.started_at)
        for row in connection.execute(query)
    ]


def needed_runs(connection: Connection) -> dict[str, str]:
    """Runs that something still needs, by key, with what that is."""
    needed: dict[str, str] = {}

    def need(keys: Iterable[str | None], why: str) -> None:
        for key in keys:
            if key:
                needed.setdefault(key, why)

    waiting = select(outbox.c.run_key).where(outbox.c.state.in_(UNDELIVERED), outbox.c.run_key.is_not(None))
    need(connection.execute(waiting.distinct()).scalars(), "not delivered yet")
    opened = or_(alert_states.c.standing != "pass", alert_states.c.told != "pass")
    for state in connection.execute(select(alert_states.c.run_key, alert_states.c.result).where(opened)):
        evidence = (run.get("run_key") for run in (state.result or {}).get("runs", ()))
        need([state.run_key, *evidence], "evidence of an open alert")
    need(connection.execute(_newest_valid()).scalars(), "the newest valid run")
    need(connection.execute(_newest_compared()).scalars(), "the newest comparison")
    return needed


def forget(connection: Connection, run: OldRun) -> bool:
    """Remove a run's row with all that hangs on it; daily trends stay. False where a newer try took the run over."""
    same = (runs.c.id == run.row_id, runs.c.attempt == run.attempt, runs.c.status != RunStatus.STARTED.value)
    if connection.execute(delete(runs).where(*same)).rowcount == 0:
        return False
    connection.execute(delete(gate_results).where(gate_results.c.run_key == run.folder.key))
    sent = (outbox.c.run_key == run.folder.key, outbox.c.state.not_in(UNDELIVERED))
    connection.execute(delete(outbox).where(*sent))
    return True


def is_still(connection: Connection, run: OldRun) -> bool:
    """Whether the run is the one that was looked at."""
    same = (runs.c.id == run.row_id, runs.c.attempt == run.attempt, runs.c.status != RunStatus.STARTED.value)
    return connection.execute(select(runs.c.id).where(*same)).one_or_none() is not None


def _newest_valid() -> Select[Any]:
    newest = (runs.c.started_at.desc(), runs.c.id.desc())
    rank = func.row_number().over(partition_by=(runs.c.model, runs.c.suite), order_by=newest).label("rank")
    valid = select(runs.c.run_key, rank).join(validations, validations.c.run_id == runs.c.id)
    found = valid.where(validations.c.valid.is_(True)).subquery("valid")
    return select(found.c.run_key).where(found.c.rank == 1)


def _newest_compared() -> Select[Any]:
    newest = (comparisons.c.at.desc(), comparisons.c.id.desc())
    pair = (comparisons.c.model, comparisons.c.suite)
    rank = func.row_number().over(partition_by=pair, order_by=newest).label("rank")
    found = select(comparisons.c.key, rank).where(comparisons.c.of_run.is_(True)).subquery("compared")
    return select(found.c.key).where(found.c.rank == 1)
