"""When something about a model changed from one run to the next: its verdict, or what exactly was measured.

Owns the order in which runs are compared. Runs without a verdict (under way, died) are passed over; runs that could not
be measured, or recorded no identity, change the verdict but not the identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import Connection, func, select

from model_health.store.index.selection import Configuration, Selection, configurations_of, time_conditions
from model_health.store.index.tables import runs

Kind = Literal["verdict", "revision", "weights", "libraries", "device", "configuration"]
MOST: Final = 500
"""Changes of each sort that are given: a verdict may flap for a year."""
_FIELDS: Final[tuple[tuple[Kind, str], ...]] = (
    ("revision", "revision"),
    ("weights", "weights_digest"),
    ("device", "device_class"),
    ("configuration", "dtype"),
    ("configuration", "quantization"),
    ("configuration", "attention_backend"),
)


@dataclass(frozen=True)
class Change:
    """Something was one way before and is another since the run that started `at`.

    Args:
        at: when that run started.
        kind: what changed; `configuration` is the dtype, quantization, attention backend, or something finer.
        what: the field, or the library.
        before: None where it was not recorded, or there was no such library.
        after: the same, since then.
        run_key: the run with which it changed.
    """

    at: datetime
    kind: Kind
    what: str
    before: str | None
    after: str | None
    run_key: str


def verdict_changes(connection: Connection, where: Selection) -> list[Change]:
    """Every change of verdict of a model on a suite, oldest first; with more than `MOST`, the newest."""
    before = func.lag(runs.c.verdict).over(order_by=(runs.c.started_at, runs.c.id))
    mine = (runs.c.model == where.model, runs.c.suite == where.suite, runs.c.verdict.is_not(None))
    each = select(runs.c.id, runs.c.started_at, runs.c.verdict, before.label("before")).where(*mine).subquery("each")
    query = (
        select(each, runs.c.run_key)
        .join(runs, runs.c.id == each.c.id)
        .where(each.c.before != each.c.verdict, *time_conditions(where, each.c.started_at))
        .order_by(each.c.started_at.desc(), each.c.id.desc())
        .limit(MOST)
    )
    return [
        Change(row.started_at, "verdict", "verdict", row.before, row.verdict, row.run_key)
        for row in reversed(connection.execute(query).all())
    ]


def identity_changes(connection: Connection, where: Selection) -> list[Change]:
    """Every change of what was measured, oldest first, one for each field and library that differs."""
    known = {one.identity_digest: one for one in configurations_of(connection, where.model, where.suite)}
    before = func.lag(runs.c.identity_digest).over(order_by=(runs.c.started_at, runs.c.id))
    mine = (runs.c.model == where.model, runs.c.suite == where.suite, runs.c.identity_digest.is_not(None))
    columns = (runs.c.id, runs.c.started_at, runs.c.identity_digest)
    each = select(*columns, before.label("before")).where(*mine).subquery("each")
    query = (
        select(each, runs.c.run_key)
        .join(runs, runs.c.id == each.c.id)
        .where(each.c.before != each.c.identity_digest, *time_conditions(where, each.c.started_at))
        .order_by(each.c.started_at.desc(), each.c.id.desc())
        .limit(MOST)
    )
    found: list[Change] = []
    for row in reversed(connection.execute(query).all()):
        old, new = known.get(row.before), known.get(row.identity_digest)
        if old is not None and new is not None:
            found += differences(old, new, row.started_at, row.run_key)
    return found


def differences(old: Configuration, new: Configuration, at: datetime, run_key: str) -> list[Change]:
    """What differs between two configurations; at least one change, because their digests do."""
    found = [
        Change(at, kind, name, getattr(old, name), getattr(new, name), run_key)
        for kind, name in _FIELDS
        if getattr(old, name) != getattr(new, name)
    ]
    found += [
        Change(at, "libraries", name, old.libraries.get(name), new.libraries.get(name), run_key)
        for name in sorted(_all(old.libraries, new.libraries))
        if old.libraries.get(name) != new.libraries.get(name)
    ]
    finer = Change(at, "configuration", "identity", old.identity_digest, new.identity_digest, run_key)
    return found or [finer]


def _all(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    return {*old, *new}
