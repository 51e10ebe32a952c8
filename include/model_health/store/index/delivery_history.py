"""Tries to deliver over time, counted in SQL. Reads on a connection of the caller's; knows nothing of sinks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from model_health.store.index.outbox_status import Outcome
from model_health.store.index.tables_outbox import outbox, outbox_attempts
from model_health.store.index.types import bucket_of, bucket_start


@dataclass(frozen=True)
class TryCount:
    """How many tries of a target that started in a stretch of time ended so; None: under way."""

    at: datetime
    target: str
    outcome: Outcome | None
    tries: int


def tries_over_time(
    connection: Connection, since: datetime, step: timedelta, *, target: str | None = None
) -> list[TryCount]:
    """Tries per stretch of `step`, by time, target and outcome; those that started before `since` are left out."""
    number = bucket_of(outbox_attempts.c.started_at, step)
    query = (
        select(number.label("step"), outbox.c.target, outbox_attempts.c.outcome, func.count().label("n"))
        .join(outbox, outbox.c.id == outbox_attempts.c.item_id)
        .where(outbox_attempts.c.started_at >= since)
        .group_by(number, outbox.c.target, outbox_attempts.c.outcome)
        .order_by(number, outbox.c.target, outbox_attempts.c.outcome)
    )
    if target is not None:
        query = query.where(outbox.c.target == target)
    rows = connection.execute(query).all()
    return [TryCount(bucket_start(int(row.step), step), row.target, row.outcome, row.n) for row in rows]
