"""Self-tests in the index: written and asked on a connection whose transaction somebody else owns.

Knows nothing of faults; it takes and gives records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select

from model_health.store.index.tables_self_tests import self_test_trials, self_tests
from model_health.store.index.types import require_utc


@dataclass(frozen=True)
class TrialRecord:
    """One trial; columns as in `tables_self_tests`."""

    role: str
    name: str
    kind: str
    configuration: str
    answer: str | None
    raised: bool | None
    place: str | None
    attributed: str | None
    placement: str
    delay_nights: int | None
    ratio: float | None
    reason: str
    missed: str | None


@dataclass(frozen=True)
class SelfTestRecord:
    """One self-test. `figures` is plain JSON: counts and rates."""

    model: str
    suite: str
    started_at: datetime
    dtype: str
    device: str
    reduced: bool
    passed: bool
    figures: Mapping[str, Any]
    libraries: Mapping[str, str]
    wall_seconds: float
    trials: tuple[TrialRecord, ...] = ()


def write_self_test(connection: Connection, record: SelfTestRecord) -> None:
    """Write a self-test, in place of one of the same model, suite and start."""
    require_utc(record.started_at, "the start of a self-test")
    same = (
        self_tests.c.model == record.model,
        self_tests.c.suite == record.suite,
        self_tests.c.started_at == record.started_at,
    )
    older = connection.execute(select(self_tests.c.id).where(*same)).scalar_one_or_none()
    if older is not None:
        connection.execute(delete(self_test_trials).where(self_test_trials.c.self_test_id == older))
        connection.execute(delete(self_tests).where(self_tests.c.id == older))
    values = {name: value for name, value in vars(record).items() if name != "trials"}
    values |= {"figures": dict(record.figures), "libraries": dict(record.libraries)}
    key = connection.execute(insert(self_tests).values(values)).inserted_primary_key
    assert key is not None
    rows = [{"self_test_id": key[0], "position": at, **asdict(trial)} for at, trial in enumerate(record.trials)]
    if rows:
        connection.execute(insert(self_test_trials), rows)


def last_self_tests(connection: Connection, *, until: datetime) -> dict[tuple[str, str], datetime]:
    """When the newest whole self-test of each model and suite started; none from after `until`.

    One of selected faults has no harmless changes, and does not count.
    """
    query = select(self_tests.c.model, self_tests.c.suite, func.max(self_tests.c.started_at).label("newest"))
    of_it = (self_test_trials.c.self_test_id == self_tests.c.id, self_test_trials.c.role == "harmless")
    whole = exists().where(*of_it)
    found = query.where(self_tests.c.started_at <= until, whole).group_by(self_tests.c.model, self_tests.c.suite)
    return {(row.model, row.suite): row.newest for row in connection.execute(found)}


def latest_self_test(connection: Connection, model: str, suite: str) -> SelfTestRecord | None:
    """The newest self-test of a model on a suite, with its trials; None if there is none."""
    query = select(self_tests).where(self_tests.c.model == model, self_tests.c.suite == suite)
    row = connection.execute(query.order_by(self_tests.c.started_at.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    of_it = select(self_test_trials).where(self_test_trials.c.self_test_id == row.id)
    found = connection.execute(of_it.order_by(self_test_trials.c.position)).all()
    own = {name: value for name, value in row._mapping.items() if name != "id"}
    skipped = ("self_test_id", "position")
    trials = tuple(TrialRecord(**{n: v for n, v in one._mapping.items() if n not in skipped}) for one in found)
    return SelfTestRecord(**own, trials=trials)
