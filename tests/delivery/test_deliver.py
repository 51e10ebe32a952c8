"""Draining the outbox: what becomes of an item that is taken, refused or fails, and of the targets beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from model_health.delivery.deliver import Deliverer, TargetReport, deliver_due, deliver_target
from model_health.delivery.policy import RetryPolicy
from model_health.errors import ConfigError, CouldNotMeasure, DeliveryFailed, StoreError
from model_health.store.index import outbox
from model_health.store.index.index import Index
from model_health.store.index.outbox import OutboxItem
from model_health.store.index.outbox_status import ledger
from support.outbox import NOON, Clock, item, put, states, stored

POLICY = RetryPolicy(first_seconds=10, cap_seconds=60, max_attempts=5)


class Target:
    """Takes every item, unless it was told what to do with it."""

    def __init__(self, **answers: Exception | Callable[[], None]) -> None:
        self.got: list[str] = []
        self.answers = answers

    def deliver(self, item: OutboxItem) -> None:
        answer = self.answers.get(item.key)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            answer()
        self.got.append(item.key)


def drain(index: Index, deliverer: Deliverer, clock: Clock, *, limit: int = 100, target: str = "here") -> TargetReport:
    return deliver_target(index, target, deliverer, clock=clock, rng=Random(1), policy=POLICY, limit=limit)


def transient(retry_after: float | None = None) -> DeliveryFailed:
    return DeliveryFailed("answers 503", subject="sink here", retry_after_seconds=retry_after)


REFUSED = DeliveryFailed("answers 400", subject="sink here", permanent=True)


def test_everything_due_is_delivered_in_order(index: Index) -> None:
    put(index, item("a"), item("b"), item("c"), item("elsewhere", "there"))
    target = Target()
    report = drain(index, target, Clock())
    assert target.got == ["a", "b", "c"]
    assert (report.delivered, report.failed, report.dead, report.error) == (3, 0, 0, None)
    assert states(index) == {"a": "delivered", "b": "delivered", "c": "delivered", "elsewhere": "pending"}
    assert drain(index, target, Clock()).delivered == 0


def test_an_empty_outbox_is_no_work(index: Index) -> None:
    assert drain(index, Target(), Clock()) == TargetReport("here")


def test_no_more_than_the_limit_is_delivered(index: Index) -> None:
    put(index, item("a"), item("b"), item("c"))
    assert drain(index, Target(), Clock(), limit=2).delivered == 2
    assert states(index)["c"] == "pending"


def test_a_failure_that_may_pass_stops_the_target_until_its_time(index: Index) -> None:
    put(index, item("a"), item("b"))
    clock, target = Clock(), Target(a=transient(retry_after=120))
    report = drain(index, target, clock)
    assert target.got == []
    assert (report.failed, report.error) == (1, "sink here: answers 503")
    assert report.waits_until is not None
    assert report.waits_until >= NOON + timedelta(seconds=120)
    target.answers = {}
    clock.forward(119)
    assert drain(index, target, clock).delivered == 0
    clock.forward(60)
    assert drain(index, target, clock).delivered == 2
    assert target.got == ["a", "b"]


def test_a_refused_item_is_dead_at_once_and_the_next_one_goes(index: Index) -> None:
    put(index, item("a"), item("b"))
    target = Target(a=REFUSED)
    report = drain(index, target, Clock())
    assert (report.dead, report.delivered) == (1, 1)
    assert states(index) == {"a": "dead", "b": "delivered"}
    assert stored(index)[0].last_error == "sink here: answers 400"
    assert stored(index)[0].attempts == 1


@pytest.mark.parametrize("error", [ConfigError("no key"), StoreError("disk full"), RuntimeError("x"), OSError("y")])
def test_anything_else_that_stands_in_the_way_may_pass(index: Index, error: Exception) -> None:
    put(index, item("a"))
    assert drain(index, Target(a=error), Clock()).failed == 1
    assert states(index) == {"a": "pending"}


def test_an_item_that_fails_too_often_is_given_up_and_says_how_often(index: Index) -> None:
    put(index, item("a"), item("b"))
    clock, target = Clock(), Target(a=transient())
    for _ in range(POLICY.max_attempts):
        assert drain(index, target, clock).delivered == 0
        clock.forward(POLICY.cap_seconds)
    assert states(index) == {"a": "dead", "b": "pending"}
    assert "given up after 5 tries" in (stored(index)[0].last_error or "")
    assert drain(index, target, clock).delivered == 1


def test_an_item_that_fails_too_long_is_given_up(index: Index) -> None:
    put(index, item("a"))
    clock, target = Clock(), Target(a=transient())
    drain(index, target, clock)
    clock.forward(POLICY.max_age.total_seconds())
    assert drain(index, target, clock).dead == 1


def test_an_item_that_nobody_tried_for_a_month_is_delivered(index: Index) -> None:
    put(index, item("a", created_at=NOON - timedelta(days=31)))
    assert drain(index, Target(), Clock()).delivered == 1


def test_a_defect_of_a_deliverer_is_on_record_without_its_words(index: Index, caplog: pytest.LogCaptureFixture) -> None:
    put(index, item("a"))
    report = drain(index, Target(a=RuntimeError("url: /services/PLANTEDSECRET")), Clock())
    assert report.error is not None
    assert "RuntimeError" in report.error
    assert "test_deliver.py" in report.error
    assert "PLANTEDSECRET" not in repr(stored(index)) + report.error + caplog.text
    assert "RuntimeError" in caplog.text


def test_whoever_lost_its_lease_does_not_settle_the_item(index: Index) -> None:
    put(index, item("a"), item("b"))
    clock = Clock()

    def take_too_long() -> None:
        clock.forward(3600)
        with index.transaction("test") as connection:
            assert outbox.claim(connection, "here", clock(), lease=timedelta(minutes=10)) is not None

    report = drain(index, Target(a=take_too_long), clock)
    assert (report.delivered, report.lease_lost) == (1, 1)
    assert states(index) == {"a": "delivering", "b": "pending"}
    with index.reading("test") as connection:
        assert [entry.outcome for entry in ledger(connection)] == [None, "delivered"]


def test_ctrl_c_leaves_the_item_to_its_lease(index: Index) -> None:
    put(index, item("a"))

    def interrupt() -> None:
        raise KeyboardInterrupt

    clock = Clock()
    with pytest.raises(KeyboardInterrupt):
        drain(index, Target(a=interrupt), clock)
    assert states(index) == {"a": "delivering"}
    clock.forward(3600)
    assert drain(index, Target(), clock).delivered == 1


# -- all targets at once, on a database that threads can share


@pytest.fixture
def shared(tmp_path: Path) -> Index:
    return Index.open(tmp_path / "index.db")


def test_a_target_that_hangs_delays_no_other_and_is_named(shared: Index) -> None:
    put(shared, item("h1", "hangs"), item("h2", "hangs"), *(item(str(n), "works") for n in range(20)))
    release, done = threading.Event(), threading.Event()

    def hang() -> None:
        release.wait()
        done.set()

    works, hangs = Target(), Target(h1=hang)
    targets: dict[str, Deliverer] = {"hangs": hangs, "works": works}
    try:
        # It comes back while the other target is still hanging: nothing but its own end lets that one go on.
        report = deliver_due(shared, targets, clock=Clock(), rng=Random(1), policy=POLICY, budget_seconds=2)
        assert not done.is_set()
        assert "hangs" in [found.target for found in report.problems]
        # A busy machine may need more passes than one for the target that works: each gives it some time.
        while len(works.got) < 20:
            deliver_due(shared, {"works": works}, clock=Clock(), rng=Random(1), policy=POLICY, budget_seconds=2)
        assert works.got == [str(n) for n in range(20)]
        assert not done.is_set()
        assert report.targets["hangs"].hangs
        assert states(shared, "hangs") == {"h1": "delivering", "h2": "pending"}
    finally:
        release.set()
    assert done.wait(120)
    # The late end counts, and the next item is left to the next pass.
    [thread] = [thread for thread in threading.enumerate() if thread.name == "deliver hangs"] or [None]
    if thread is not None:
        thread.join(120)
    assert states(shared, "hangs") == {"h1": "delivered", "h2": "pending"}


def test_a_slow_target_gets_everything_late_and_in_order_and_nobody_waits_for_it(shared: Index) -> None:
    put(shared, *(item(f"s{n}", "slow") for n in range(3)), *(item(str(n), "works") for n in range(5)))
    the_other_is_done, waited = threading.Event(), []
    slow = Target(s0=lambda: waited.append(the_other_is_done.wait(600)))
    works = Target(**{"4": the_other_is_done.set})
    while len(slow.got) + len(works.got) < 8:
        report = deliver_due(
            shared, {"slow": slow, "works": works}, clock=Clock(), rng=Random(1), policy=POLICY, budget_seconds=600
        )
        assert not report.problems
    assert waited == [True]
    assert (slow.got, works.got) == (["s0", "s1", "s2"], ["0", "1", "2", "3", "4"])


def test_each_target_meets_its_own_fate(shared: Index) -> None:
    put(shared, *(item(f"{n}", target) for n in range(3) for target in ("fine", "down", "refuses", "defect")))
    fine = Target()
    targets: dict[str, Deliverer] = {
        "fine": fine,
        "down": Target(**{"0": transient()}),
        "refuses": Target(**{"0": REFUSED}),
        "defect": Target(**{"0": ZeroDivisionError()}),
    }
    report = deliver_due(shared, targets, clock=Clock(), rng=Random(1), policy=POLICY)
    assert report.delivered == 3 + 0 + 2 + 0
    assert {found.target for found in report.problems} == {"down", "refuses", "defect"}
    assert fine.got == ["0", "1", "2"]


def test_no_target_is_no_work(shared: Index) -> None:
    assert deliver_due(shared, {}, clock=Clock(), rng=Random(1)).targets == {}


def test_an_index_that_fails_is_an_error_and_not_a_quiet_pass(shared: Index, tmp_path: Path) -> None:
    put(shared, item("a"))

    def lose_the_index() -> None:
        with shared.transaction("test") as connection:
            connection.exec_driver_sql("DROP TABLE outbox_attempts")

    with pytest.raises(StoreError, match="mark an item"):
        deliver_due(shared, {"here": Target(a=lose_the_index)}, clock=Clock(), rng=Random(1))
    assert states(shared) == {"a": "delivering"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_of_the_delivery_itself_is_an_error_and_not_a_quiet_pass(
    shared: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(shared, item("a"))

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(outbox, "claim", fail)
    with pytest.raises(CouldNotMeasure, match="here: its delivery ended in the middle"):
        deliver_due(shared, {"here": Target()}, clock=Clock(), rng=Random(1))
