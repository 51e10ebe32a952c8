"""The fleet: one row per model and suite, with the newest of everything and nothing of anybody else's."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from model_health.store.index.alerts import lock_states, save_state
from model_health.store.index.comparisons import ComparisonRecord, save_comparison
from model_health.store.index.fleet import FleetRow, fleet
from model_health.store.index.index import Index
from model_health.store.index.outbox import OutboxItem, claim, enqueue, mark_dead
from model_health.store.index.self_tests import SelfTestRecord, write_self_test
from model_health.store.index.validation import FailureRecord, ValidationRecord, run_state, write_validation
from support.outbox import empty
from support.store_rows import NOON, a_point, a_result, a_start, prompt_points

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FAILED = (FailureRecord("reports.digest", "critical", None, "says", 1, 1, 1),)


@pytest.fixture
def index(shared_index: Index) -> Index:
    empty(shared_index)
    return shared_index


def record(
    index: Index,
    number: int,
    verdict: str = "healthy",
    *,
    model: str = "smollm2",
    suite: str = "default",
    valid: bool | None = True,
    value: float | None = 1.0,
) -> str:
    at = NOON + number * HOUR
    start = a_start(f"r{number}", model=model, suite=suite, started_at=at)
    attempt = index.start_run(start)
    if verdict == "could_not_measure":
        index.fail_run(attempt, "no memory")
        return attempt.run_key
    points = [*prompt_points([value], at), a_point("prompts_unhealthy", float(verdict == "unhealthy"), at=at)]
    index.finish_run(attempt, a_result(ended_at=at + timedelta(minutes=5), verdict=verdict), [], points)
    if valid is not None:
        with index.transaction("test") as connection:
            state = run_state(connection, attempt.run_key)
            assert state is not None
            reason = None if valid else "a digest"
            write_validation(
                connection, state, ValidationRecord(valid, at, 1, 0, 1, 0.1, reason, failures=() if valid else FAILED)
            )
    return attempt.run_key


def rows(index: Index, now: datetime = NOON + 2 * DAY, **more: Any) -> list[FleetRow]:
    with index.reading("test") as connection:
        return fleet(connection, now, **more)


def test_an_empty_index_has_no_fleet(index: Index) -> None:
    assert rows(index) == []


def test_every_model_and_suite_is_one_row_with_its_newest_run(index: Index) -> None:
    for model, suite in (("b", "core"), ("a", "smoke"), ("b", "smoke"), ("c", "core"), ("a", "core")):
        record(index, 0, model=model, suite=suite)
    newest = record(index, 3, model="b", suite="smoke")
    record(index, 1, model="b", suite="smoke")
    found = rows(index)
    assert [(row.model, row.suite) for row in found] == [
        ("a", "core"),
        ("a", "smoke"),
        ("b", "core"),
        ("b", "smoke"),
        ("c", "core"),
    ]
    assert found[3].last.run_key == newest
    assert [(m.model, m.suite, m.runs, m.last.run_key) for m in index.models()][3] == ("b", "smoke", 3, newest)


def test_a_run_under_way_is_the_last_one_but_has_no_verdict_yet(index: Index) -> None:
    judged = record(index, 0)
    started = index.start_run(a_start("now", started_at=NOON + HOUR))
    (row,) = rows(index)
    assert row.last.run_key == started.run_key
    assert row.last_verdict_run is not None
    assert row.last_verdict_run.run_key == judged


def test_a_model_that_never_ended_a_run_has_neither_verdict_nor_change(index: Index) -> None:
    index.start_run(a_start())
    (row,) = rows(index)
    assert (row.last_verdict_run, row.last_valid_at, row.changed_at, row.previous_verdict) == (None, None, None, None)
    assert all(line == () for line in row.sparklines.values())


def test_the_last_valid_report_is_that_of_the_newest_run_found_valid(index: Index) -> None:
    record(index, 0)
    record(index, 1, valid=False)
    record(index, 2, valid=None)
    record(index, 3, "could_not_measure")
    (row,) = rows(index)
    assert row.last_valid_at == NOON + timedelta(minutes=5)


def test_the_last_change_is_where_the_newest_verdict_began(index: Index) -> None:
    for number, verdict in enumerate(["healthy", "unhealthy", "could_not_measure", "healthy", "healthy"]):
        record(index, number, verdict)
    (row,) = rows(index)
    assert (row.changed_at, row.previous_verdict) == (NOON + 3 * HOUR, "could_not_measure")


def test_a_verdict_that_never_changed_began_with_the_first_run(index: Index) -> None:
    record(index, 0)
    record(index, 5)
    (row,) = rows(index)
    assert (row.changed_at, row.previous_verdict) == (NOON, None)


def test_alerts_that_stand_are_with_their_model(index: Index) -> None:
    record(index, 0)
    record(index, 0, model="other")
    with index.transaction("test") as connection:
        keys = [("smollm2", "default", gate) for gate in ("non-finite", "high-entropy")]
        states = lock_states(connection, keys, NOON)
        save_state(connection, replace(states[keys[0]], standing="fail", told="fail", since=NOON))
    other, row = rows(index)
    assert [(state.gate, state.standing) for state in row.alerts] == [("non-finite", "fail")]
    assert other.alerts == ()


def test_what_waits_is_with_the_model_whose_run_it_tells_of(index: Index) -> None:
    key = record(index, 0)
    record(index, 0, model="other")
    with index.transaction("test") as connection:
        for number in range(3):
            enqueue(connection, [OutboxItem("here", "samples", f"k{number}", {}, key, NOON + number * HOUR)])
        enqueue(connection, [OutboxItem("there", "samples", "held", {}, key, NOON - HOUR)], "held")
        enqueue(connection, [OutboxItem("there", "check", "of nobody", {}, None, NOON)])
        claimed = claim(connection, "here", NOON + DAY, lease=HOUR)
        assert claimed is not None
        mark_dead(connection, claimed, NOON + DAY, "refused for good")
    other, row = rows(index)
    waiting = row.waiting
    assert (waiting.pending, waiting.held, waiting.dead, waiting.withheld) == (2, 1, 1, 0)
    assert (waiting.oldest_at, waiting.targets, waiting.last_error) == (NOON - HOUR, ("here",), "refused for good")
    assert (other.waiting.pending, other.waiting.oldest_at) == (0, None)


def test_the_newest_self_test_and_comparison_count(index: Index) -> None:
    record(index, 0)
    with index.transaction("test") as connection:
        for hours, passed in ((2, False), (1, True)):
            test = SelfTestRecord(
                "smollm2", "default", NOON + hours * HOUR, "float32", "cpu", True, passed, {}, {}, 1.0
            )
            write_self_test(connection, test)
        for hours, answer in ((1, "equivalent"), (3, "changed"), (2, "degraded")):
            save_comparison(connection, a_comparison(f"c{hours}", NOON + hours * HOUR, answer))
    (row,) = rows(index)
    assert row.self_test is not None
    assert (row.self_test.started_at, row.self_test.passed) == (NOON + 2 * HOUR, False)
    assert row.comparison is not None
    assert row.comparison.answer == "changed"


def a_comparison(key: str, at: datetime, answer: str) -> ComparisonRecord:
    return ComparisonRecord(
        key=key,
        of_run=True,
        model="smollm2",
        suite="default",
        at=at,
        baseline_id="b" * 16,
        candidate="the run",
        purpose="nightly",
        answer=answer,
        finding="because",
        outcome="pass",
        reason="because",
        result_uri="memory://x",
        result_digest="d",
    )


def test_a_line_has_one_mean_per_day_back_to_the_first_day_asked_for(index: Index) -> None:
    for number, value in ((-80, 9.0), (0, 1.0), (1, 3.0), (30, None)):
        record(index, number, value=value)
    (row,) = rows(index, days=3)
    midnight = NOON.replace(hour=0)
    line = row.sparklines["entropy_bits_mean"]
    assert [(point.day, point.mean) for point in line] == [(midnight, 2.0), (midnight + DAY, None)]
    assert [point.mean for point in row.sparklines["prompts_unhealthy"]] == [0.0, 0.0]
