"""Self-tests over time: every one without its trials, and one of them whole. Reads on a connection of the caller's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from model_health.store.index.self_tests import SelfTestRecord, TrialRecord
from model_health.store.index.tables_self_tests import self_test_trials, self_tests


def self_test_history(
    connection: Connection, *, model: str | None = None, suite: str | None = None, limit: int = 100
) -> list[SelfTestRecord]:
    """Self-tests without their trials, newest first; None does not filter."""
    query = select(self_tests).order_by(self_tests.c.started_at.desc(), self_tests.c.id.desc()).limit(limit)
    if model is not None:
        query = query.where(self_tests.c.model == model)
    if suite is not None:
        query = query.where(self_tests.c.suite == suite)
    return [_record(row, ()) for row in connection.execute(query)]


def self_test_of(connection: Connection, model: str, suite: str, started_at: datetime) -> SelfTestRecord | None:
    """The self-test that started then, with its trials in the order in which they ran; None if there is none."""
    mine = self_tests.c.model == model, self_tests.c.suite == suite, self_tests.c.started_at == started_at
    row = connection.execute(select(self_tests).where(*mine)).one_or_none()
    if row is None:
        return None
    columns = [self_test_trials.c[name] for name in TrialRecord.__dataclass_fields__]
    query = select(*columns).where(self_test_trials.c.self_test_id == row.id).order_by(self_test_trials.c.position)
    return _record(row, tuple(TrialRecord(**one._mapping) for one in connection.execute(query)))


def _record(row: Row[Any], trials: tuple[TrialRecord, ...]) -> SelfTestRecord:
    own = {name: row._mapping[name] for name in SelfTestRecord.__dataclass_fields__ if name != "trials"}
    return SelfTestRecord(**own, trials=trials)
