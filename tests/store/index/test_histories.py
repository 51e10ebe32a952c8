"""Self-tests and tries to deliver over time, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from model_health.store.index import outbox
from model_health.store.index.delivery_history import TryCount, tries_over_time
from model_health.store.index.index import Index
from model_health.store.index.self_test_history import self_test_history, self_test_of
from model_health.store.index.self_tests import SelfTestRecord, TrialRecord, write_self_test
from support.outbox import NOON, empty, item, put

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TRIAL = TrialRecord("fault", "NaN", "weight", "same", "broken", True, "layer.2", "layer.2", "right", 1, None, "", None)
RECORD = SelfTestRecord(
    "tiny", "smoke", NOW, "float32", "cpu", False, True, {"wrong": 0}, {"torch": "2"}, 1.5, (TRIAL,)
)


@pytest.fixture
def index(shared_index: Index) -> Index:
    empty(shared_index)
    return shared_index


def test_self_tests_come_newest_first_and_without_their_trials(index: Index) -> None:
    with index.transaction("test") as connection:
        for days, model in ((2, "tiny"), (0, "tiny"), (1, "other")):
            write_self_test(connection, replace(RECORD, started_at=NOW - timedelta(days=days), model=model))
        assert [one.model for one in self_test_history(connection)] == ["tiny", "other", "tiny"]
        mine = self_test_history(connection, model="tiny", suite="smoke", limit=1)
        assert mine == [replace(RECORD, trials=())]
        assert self_test_history(connection, suite="core") == []


def test_one_self_test_is_read_whole(index: Index) -> None:
    with index.transaction("test") as connection:
        write_self_test(connection, replace(RECORD, trials=(TRIAL, replace(TRIAL, name="bit", raised=None))))
        assert self_test_of(connection, "tiny", "smoke", NOW - HOUR) is None
        found = self_test_of(connection, "tiny", "smoke", NOW)
        assert found is not None
        assert [(one.name, one.raised) for one in found.trials] == [("NaN", True), ("bit", None)]


def test_tries_are_counted_by_time_target_and_outcome(index: Index) -> None:
    put(index, item("a"), item("b"), item("c", target="there"))
    for minutes, failed in ((0, True), (5, False), (70, None)):
        at = NOON + timedelta(minutes=minutes)
        with index.transaction("test") as connection:
            claim = outbox.claim(connection, "here", at, lease=HOUR)
            assert claim is not None
            if failed:
                outbox.mark_failed(connection, claim, at, "503", at)
            elif failed is not None:
                outbox.mark_delivered(connection, claim, at)
    with index.reading("test") as connection:
        found = tries_over_time(connection, NOON, HOUR)
        assert {(one.at, one.outcome, one.tries) for one in found} == {
            (NOON, "failed", 1),
            (NOON, "delivered", 1),
            (NOON + HOUR, None, 1),
        }
        assert tries_over_time(connection, NOON + HOUR, HOUR) == [TryCount(NOON + HOUR, "here", None, 1)]
        assert tries_over_time(connection, NOON, HOUR, target="there") == []
