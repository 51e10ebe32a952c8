"""After any sequence of faults: nothing is lost, nothing is counted twice, order holds, and no other target waits.

Time is simulated. A killed process is an exception that nobody catches: what it would have done next does not happen.
Processes that are really killed are in `test_crashes`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_health.delivery.deliver import LEASE, deliver_target
from model_health.delivery.policy import RetryPolicy
from model_health.store.index.index import Index
from model_health.store.index.outbox import Kind
from model_health.store.index.outbox_status import ledger, requeue
from support.far_side import FarSide, Fault, Killed
from support.outbox import NOON, Clock, empty, item, put, stored

# Clocks of a play may run for a week, which is no reason here to give up; a test below is about what is given up.
POLICY = RetryPolicy(first_seconds=5, cap_seconds=300, longest_retry_after_seconds=3600, max_age=timedelta(days=30))
WOBBLY, STEADY = "wobbly", "steady"

faults = st.one_of(
    st.builds(Fault, st.just("rate_limited"), seconds=st.sampled_from([0.0, 1.0, 30.0, 3599.0, 1e9])),
    st.builds(Fault, st.sampled_from(["server_error", "half_close", "reset", "bad_gateway_page"]), st.booleans()),
    st.builds(Fault, st.just("timeout"), st.booleans(), st.sampled_from([15.0, 500.0])),
    st.builds(Fault, st.sampled_from(["defect", "crash"]), st.booleans()),
    st.builds(Fault, st.just("refused")),
)
kinds: st.SearchStrategy[Kind] = st.sampled_from(["samples", "event", "check", "alert"])


@dataclass(frozen=True)
class Round:
    """What happens before one pass: the clock steps (either way), and items of these kinds come in for both targets."""

    step_seconds: float
    arriving: tuple[Kind, ...]


rounds = st.builds(
    Round,
    st.sampled_from([0.0, 1.0, 60.0, 600.0, 3700.0, 90_000.0, -5.0, -3000.0, -200_000.0]),
    st.lists(kinds, max_size=3).map(tuple),
)


def one_pass(index: Index, target: str, far: FarSide, seed: int) -> None:
    """One deliverer process over one target; it may be killed."""
    with contextlib.suppress(Killed):
        deliver_target(index, target, far, clock=far.clock, rng=Random(seed), policy=POLICY)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(faults, min_size=1, max_size=14),
    plan=st.lists(rounds, min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
)
def test_whatever_fails_nothing_is_lost_nothing_counts_twice_and_nobody_else_waits(
    index: Index, script: list[Fault], plan: list[Round], seed: int
) -> None:
    empty(index)
    now = Clock()
    wobbly = FarSide(Clock(), list(script))
    steady = FarSide(Clock())
    asked: dict[str, Kind] = {}
    arrived_at = {}
    for number, happening in enumerate(plan):
        now.forward(happening.step_seconds)
        for place, kind in enumerate(happening.arriving):
            key = f"{number}-{place}"
            asked[key], arrived_at[key] = kind, now()
            put(index, *(item(key, target, kind=kind, created_at=now()) for target in (WOBBLY, STEADY)))
        # Each target has a thread of its own in one pass: time that one of them spends is not the others'.
        wobbly.clock.now = steady.clock.now = now()
        one_pass(index, WOBBLY, wobbly, seed + number)
        one_pass(index, STEADY, steady, seed)

    # No other target is delayed: everything reached the steady one in the very pass in which it came in, at one try.
    assert [(call.key, call.at) for call in steady.calls] == [(key, arrived_at[key]) for key in asked]
    assert {found.state for found in stored(index, STEADY)} <= {"delivered"}

    # The faults end some time. A bounded number of passes then empties the queue, whatever the clock did before.
    for number in range(len(script) + 4):
        if {found.state for found in stored(index, WOBBLY)} <= {"delivered", "dead"}:
            break
        now.forward(max(POLICY.longest_wait, LEASE).total_seconds() + 1)
        wobbly.clock.now = now()
        one_pass(index, WOBBLY, wobbly, seed - number)
    final = {found.key: found for found in stored(index, WOBBLY)}
    refused = {call.key for call in wobbly.calls if call.fault is not None and call.fault.kind == "refused"}
    check_that_nothing_is_lost(wobbly, asked, {key: found.state for key, found in final.items()}, refused)
    check_that_nothing_counts_twice(wobbly, asked, refused)
    check_order(wobbly, asked)
    check_that_a_request_to_stay_away_is_honoured(wobbly)
    with index.reading("test") as connection:
        entries = ledger(connection, target=WOBBLY, limit=10_000)[::-1]
    assert [entry.key for entry in entries] == [call.key for call in wobbly.calls]
    for entry, call in zip(entries, wobbly.calls, strict=True):
        assert entry.outcome == expected_outcome(call.fault)

    # Dead letters are not lost either: asked for again once the other side is mended, they arrive.
    wobbly.faults.clear()
    with index.transaction("test") as connection:
        assert requeue(connection, target=WOBBLY) == len(refused)
    one_pass(index, WOBBLY, wobbly, seed)
    assert {found.state for found in stored(index, WOBBLY)} <= {"delivered"}
    assert set(wobbly.taken) == set(asked)


def expected_outcome(fault: Fault | None) -> str:
    if fault is None:
        return "delivered"
    return {"refused": "refused", "crash": "lost"}.get(fault.kind, "failed")


def check_that_nothing_is_lost(far: FarSide, asked: dict[str, Kind], final: dict[str, str], refused: set[str]) -> None:
    assert final == {key: "dead" if key in refused else "delivered" for key in asked}
    assert set(asked) - refused <= set(far.taken)
    for key, kind in asked.items():
        if key not in refused and kind == "samples":
            assert far.gauges[key] == {"n": key}


def check_that_nothing_counts_twice(far: FarSide, asked: dict[str, Kind], refused: set[str]) -> None:
    # The receiver counts by key, and got nothing under a key that was not asked for.
    countable = {key for key, kind in asked.items() if kind != "samples"}
    assert countable - refused <= far.counted.keys() <= countable
    assert all(count == 1 for count in far.counted.values())
    # And only a call whose end nobody could know is ever repeated after it was taken.
    doubtful = Counter(call.key for call in far.calls if call.fault is not None and call.fault.taken)
    for key, times in Counter(far.taken).items():
        assert times <= 1 + doubtful[key]


def check_order(far: FarSide, asked: dict[str, Kind]) -> None:
    """An item is first sent when all before it are taken or refused: the calls follow the order of coming in."""
    order = {key: place for place, key in enumerate(asked)}
    places = [order[call.key] for call in far.calls]
    assert places == sorted(places)


def check_that_a_request_to_stay_away_is_honoured(far: FarSide) -> None:
    for call, following in zip(far.calls, far.calls[1:], strict=False):
        if call.fault is not None and call.fault.kind == "rate_limited":
            asked = timedelta(seconds=min(call.fault.seconds, POLICY.longest_retry_after_seconds))
            # A clock that was set back by so much that the wait would be longer than any has forgotten it.
            latest = call.at + asked + timedelta(seconds=POLICY.first_seconds)
            set_back = latest - following.at > POLICY.longest_wait
            assert following.at >= call.at + asked or set_back


# -- an hour without the other side, minute by minute


@pytest.mark.parametrize("fault", ["server_error", "timeout", "reset", "rate_limited"])
def test_a_target_that_is_down_for_an_hour_loses_nothing_and_delays_no_other(index: Index, fault: str) -> None:
    down = [Fault(fault, seconds=20.0)] * 10_000  # type: ignore[arg-type]
    sick, well = FarSide(Clock(), down), FarSide(Clock())
    now, keys = Clock(), []
    policy = RetryPolicy()

    def each_minute() -> None:
        for target, far in ((WOBBLY, sick), (STEADY, well)):
            far.clock.now = now()
            deliver_target(index, target, far, clock=far.clock, rng=Random(len(far.calls)), policy=policy)

    for minute in range(60):
        if minute % 5 == 0:
            keys.append(f"run at minute {minute}")
            put(index, item(keys[-1], WOBBLY), item(keys[-1], STEADY))
            each_minute()
            assert well.taken == keys
        else:
            each_minute()
        now.forward(60)
    assert sick.taken == []
    assert 5 <= len(sick.calls) <= 61, "it backs off, but does not forget"
    assert len(well.calls) == len(keys)

    sick.faults.clear()
    while len(sick.taken) < len(keys):
        assert now() < NOON + timedelta(hours=2), "the longest wait is a quarter of an hour"
        now.forward(60)
        each_minute()
    assert sick.taken == keys
    assert {found.state for found in stored(index)} == {"delivered"}


def test_a_weekend_without_the_other_side_leaves_dead_letters_that_can_be_sent(index: Index) -> None:
    far = FarSide(Clock(), [Fault("server_error")] * 100_000)
    put(index, *(item(str(n), WOBBLY) for n in range(30)))
    for _ in range(4 * 24 * 12):
        deliver_target(index, WOBBLY, far, clock=far.clock, rng=Random(len(far.calls)))
        far.clock.forward(300)
    dead = [found for found in stored(index) if found.state == "dead"]
    assert 1 <= len(dead) < 15
    far.faults.clear()
    with index.transaction("test") as connection:
        assert requeue(connection) == len(dead)
    far.clock.forward(3600)
    deliver_target(index, WOBBLY, far, clock=far.clock, rng=Random(1))
    assert sorted(far.taken) == sorted(str(n) for n in range(30))
