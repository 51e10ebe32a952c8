"""The outbox, the real Datadog sink and an intake on a real socket, under random faults of the network and the API.

The intake parses every body with the client's own models. Time is simulated, except for the short silence after which
the client gives up. It waits for little only where silence is next: a healthy answer, however slow, is never given up.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_health.config.sinks import DatadogSinkConfig
from model_health.delivery.deliver import LEASE, deliver_target
from model_health.delivery.enqueue import run_items
from model_health.delivery.policy import RetryPolicy
from model_health.delivery.registry import SinkTarget
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext
from model_health.sinks.datadog import DatadogSink, aggregation_key
from model_health.store.index.index import Index
from model_health.store.index.outbox import OutboxItem
from model_health.store.index.outbox_status import ledger
from support.children import wait_until
from support.datadog_faults import (
    HALF_CLOSED,
    PATIENCE,
    RESET,
    SILENCE,
    TAKEN_THEN_HALF_CLOSED,
    TAKEN_THEN_RESET,
    TAKEN_THEN_SILENCE,
    Fault,
    answer,
    too_many_requests,
)
from support.datadog_intake import API_KEY, Intake, datadog_intake
from support.far_side import Killed
from support.manifests import make_manifest
from support.outbox import Clock, empty, put, stored

pytestmark = pytest.mark.slow

POLICY = RetryPolicy(first_seconds=2, cap_seconds=60, longest_retry_after_seconds=600)
# Each silence costs real time. However short it is: what is silent is known before it is asked.
SILENT_SECONDS = 0.05
LABELS = {"model": "tiny", "suite": "small"}

network = st.sampled_from([RESET, HALF_CLOSED, TAKEN_THEN_RESET, TAKEN_THEN_HALF_CLOSED])
silent = st.sampled_from([SILENCE, TAKEN_THEN_SILENCE])
answers = st.one_of(
    st.builds(too_many_requests, st.sampled_from([None, 0.0, 7.0, 599.0])),
    st.builds(lambda wait: too_many_requests(retry_after=wait), st.sampled_from(["3", "120", "soon"])),
    st.builds(answer, st.sampled_from([500, 502, 503, 504, 408]), taken=st.booleans()),
    st.builds(lambda: answer(202, b"<html>sign in</html>", taken=False)),
    st.builds(lambda: Fault("cut_body", taken=True)),
)
faults = st.integers(0, 15).flatmap(lambda n: silent if n == 0 else network if n % 2 else answers)


class Mortal:
    """Delivers to the intake, one request an item; its process dies after the calls with these numbers, or before."""

    def __init__(self, intake: Intake, clock: Clock, dies_after: set[int], dies_before: set[int]) -> None:
        self.intake, self.clock, self.dies_after, self.dies_before = intake, clock, dies_after, dies_before
        self.calls = 0

    def deliver(self, item: OutboxItem) -> None:
        self.calls += 1
        if self.calls in self.dies_before:
            raise Killed
        asked, silent = len(self.intake.requests), self.intake.is_silent_next
        config = DatadogSinkConfig(
            url=self.intake.url,
            timeout_seconds=SILENT_SECONDS if silent else PATIENCE,
            connect_timeout_seconds=PATIENCE,
        )
        try:
            SinkTarget(DatadogSink(config, API_KEY, clock=self.clock)).deliver(item)
        finally:
            # Who gave up a silence may be done before the server has read the request, which counts all the same.
            assert wait_until(lambda: len(self.intake.requests) > asked)
        if self.calls in self.dies_after:
            raise Killed


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def intake(clock: Clock) -> Iterator[Intake]:
    with datadog_intake(clock=lambda: clock().timestamp()) as server:
        yield server


def items_of(number: int, clock: Clock) -> list[OutboxItem]:
    """What one run has for Datadog: samples, a check, and an event since the verdict changed."""
    at = clock()
    manifest = make_manifest(
        run_id=f"run {number}", started_at=at - timedelta(minutes=1), ended_at=at, verdict="unhealthy"
    )
    samples = [
        Sample("prompts_unhealthy", float(number), None, at, dict(LABELS)),
        Sample("run_healthy", 0.0, None, at, dict(LABELS)),
    ]
    context = PublishContext(f"run {number}", {"dtype": "float32"})
    return run_items(f"tiny/small/run-{number}", ("datadog",), samples, context, manifest, "healthy")


@pytest.mark.timeout(900)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(faults, min_size=1, max_size=7),
    steps=st.lists(st.sampled_from([1.0, 30.0, 300.0]), min_size=1, max_size=2),
    deaths=st.tuples(st.sets(st.integers(1, 6), max_size=1), st.sets(st.integers(1, 6), max_size=1)),
    seed=st.integers(0, 2**32),
)
def test_after_any_faults_datadog_has_everything_once(
    index: Index,
    intake: Intake,
    clock: Clock,
    script: list[Fault],
    steps: list[float],
    deaths: tuple[set[int], set[int]],
    seed: int,
) -> None:
    empty(index)
    forget(intake)
    intake.script(*script)
    deliverer = Mortal(intake, clock, *deaths)
    asked: dict[str, OutboxItem] = {}

    def one_pass() -> None:
        with contextlib.suppress(Killed):
            deliver_target(index, "datadog", deliverer, clock=clock, rng=Random(seed), policy=POLICY)

    for number, step in enumerate(steps):
        clock.forward(step)
        arriving = items_of(number, clock)
        asked |= {item.key: item for item in arriving}
        put(index, *arriving)
        one_pass()
    for _ in range(len(script) + 4):
        if {item.state for item in stored(index)} == {"delivered"}:
            break
        # Longer than any wait asked for, shorter than the hour for which the intake takes points.
        clock.forward(max(LEASE.total_seconds(), POLICY.longest_wait.total_seconds()) + 1)
        one_pass()

    assert {item.state for item in stored(index)} == {"delivered"}
    with index.reading("test") as connection:
        tries = Counter(entry.key for entry in ledger(connection, limit=10_000))
        sure = Counter(entry.key for entry in ledger(connection, limit=10_000) if entry.outcome == "delivered")
    assert set(sure) == set(asked)
    assert all(times == 1 for times in sure.values())
    check_gauges(intake, asked)
    check_events(intake, asked, tries)
    check_checks(intake, asked, tries)
    assert 400 not in intake.statuses()


def forget(intake: Intake) -> None:
    for remembered in (intake.requests, intake.points, intake.dropped, intake.events, intake.checks):
        remembered.clear()  # type: ignore[attr-defined]
    while intake.scripted:
        intake.next_fault()


def of_kind(asked: Mapping[str, OutboxItem], kind: str) -> dict[str, OutboxItem]:
    return {key: item for key, item in asked.items() if item.kind == kind}


def check_gauges(intake: Intake, asked: Mapping[str, OutboxItem]) -> None:
    """Every point of every run is there, with its value and at its time: a repetition overwrote it and added nothing.

    What comes more than an hour late is more than the API takes: the sink publishes it at the time of delivery, marked,
    where points of two runs that come in one second share a place. So those are only held to have been taken.
    """
    name = "model_health.prompts_unhealthy"
    runs = {
        int(item.created_at.timestamp()): float(number)
        for number, item in enumerate(of_kind(asked, "samples").values())
    }
    in_time = {key[2]: value for key, value in intake.store().items() if key[0] == name and "late:true" not in key[1]}
    assert in_time.items() <= runs.items()
    late = {point.value for point in intake.points if point.metric == name and "late:true" in point.tags}
    assert set(in_time.values()) | late == set(runs.values())
    assert intake.dropped == []


def check_events(intake: Intake, asked: Mapping[str, OutboxItem], tries: Mapping[str, int]) -> None:
    """A person sees each event once: equal ones share an aggregation key, and none has one that was not asked for."""
    wanted = {aggregation_key(key): key for key in of_kind(asked, "event")}
    found = intake.events_by_key()
    assert set(found) == set(wanted)
    for key, events in found.items():
        assert len({(event["title"], event["text"]) for event in events}) == 1
        assert len(events) <= tries[wanted[key]], "never more often than it was tried"


def check_checks(intake: Intake, asked: Mapping[str, OutboxItem], tries: Mapping[str, int]) -> None:
    wanted = of_kind(asked, "check")
    assert len(wanted) <= len(intake.checks) <= sum(tries[key] for key in wanted)
    assert {check["status"] for check in intake.checks} == {2}
