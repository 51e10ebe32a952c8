"""The outbox on SQLite and PostgreSQL: what goes in once, what comes out in order, and what a claim is worth."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from model_health.errors import StoreError
from model_health.store.index import outbox
from model_health.store.index.index import Index
from model_health.store.index.outbox import MAX_ERROR, MAX_KEY, MAX_PAYLOAD, Claim, OutboxItem
from model_health.store.index.outbox_status import (
    LedgerEntry,
    counts,
    items,
    ledger,
    open_targets,
    prune,
    requeue,
    told_events,
)
from model_health.store.index.records import RunResult, RunStatus
from support.index_rows import measured_run, start
from support.outbox import NOON, SECOND, empty, item, put, states, stored
from support.postgres import Postgres

LEASE = timedelta(minutes=10)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """One database for all tests of this module: migrating takes longer than most of them."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('outbox')}/index.db"
        else:
            server: Postgres = request.getfixturevalue("postgres")
            url = stack.enter_context(server.new_database())
        yield stack.enter_context(Index.open(url))


@pytest.fixture
def index(migrated: Index) -> Index:
    empty(migrated)
    return migrated


def take(index: Index, target: str = "here", now: datetime = NOON) -> Claim | None:
    with index.transaction("test") as connection:
        return outbox.claim(connection, target, now, lease=LEASE)


def must_take(index: Index, target: str = "here", now: datetime = NOON) -> Claim:
    claim = take(index, target, now)
    assert claim is not None
    return claim


def act(index: Index, function: Any, *arguments: Any, **named: Any) -> Any:
    with index.transaction("test") as connection:
        return function(connection, *arguments, **named)


def tries(index: Index) -> list[LedgerEntry]:
    return act(index, ledger)


# -- putting in


def test_a_key_goes_in_once_per_target(index: Index) -> None:
    assert put(index, item("a"), item("b"), item("a", "there")) == 3
    assert put(index, item("a", payload={"n": "other"}), item("c")) == 1
    assert [(found.target, found.key) for found in stored(index)] == [
        ("here", "a"),
        ("here", "b"),
        ("there", "a"),
        ("here", "c"),
    ]
    assert stored(index)[0].payload == {"n": "a"}


def test_nothing_to_put_in_is_fine(index: Index) -> None:
    assert put(index) == 0


def test_what_was_put_in_comes_back_unchanged(index: Index) -> None:
    given = item("ключ/1", kind="alert", run_key=None, payload={"text": "naïve \u0000 💥", "list": [1, 0.1, None]})
    put(index, given)
    [found] = stored(index)
    for name in ("target", "kind", "key", "payload", "run_key", "created_at"):
        assert getattr(found, name) == getattr(given, name)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"payload": {"x": float("nan")}}, "not JSON"),
        ({"payload": {"x": object()}}, "not JSON"),
        ({"payload": {"x": "x" * MAX_PAYLOAD}}, "bytes"),
        ({"key": ""}, "characters"),
        ({"key": "k" * (MAX_KEY + 1)}, "characters"),
        ({"created_at": datetime(2026, 1, 1)}, "time"),  # noqa: DTZ001
    ],
)
def test_what_could_not_be_delivered_is_refused_and_nothing_goes_in(
    index: Index, wrong: dict[str, Any], words: str
) -> None:
    fields = {"target": "here", "kind": "samples", "key": "bad", "payload": {}, "created_at": NOON, **wrong}
    with pytest.raises(StoreError, match=words):
        put(index, item("good"), OutboxItem(**fields))
    assert stored(index) == []


def test_items_and_what_they_tell_of_are_written_together_or_not_at_all(index: Index) -> None:
    with pytest.raises(StoreError), index.transaction("test") as connection:
        outbox.enqueue(connection, [item("a")]) and connection.execute(sa.text("INSERT INTO nowhere VALUES (1)"))
    assert stored(index) == []


def test_the_database_refuses_states_that_make_no_sense(index: Index) -> None:
    put(index, item("a"))
    for wrong in ("state='lost'", "state='delivering'", "state='delivered'", "payload=NULL", "kind='pigeon'"):
        with pytest.raises(StoreError), index.transaction("test") as connection:
            connection.execute(sa.text(f"UPDATE outbox SET {wrong}"))


# -- held, released, withheld, superseded


def test_held_items_go_nowhere_until_they_are_released(index: Index) -> None:
    put(index, item("a"), item("b", "there"), item("other", run_key="m/s/other"), state="held")
    assert take(index) is None
    assert act(index, outbox.release, "m/s/r") == 2
    assert states(index) == {"a": "pending", "b": "pending", "other": "held"}
    assert must_take(index).item.key == "a"
    assert act(index, outbox.release, "m/s/r") == 0


def test_items_of_an_invalid_run_are_withheld_and_go_out_if_it_is_found_valid_after_all(index: Index) -> None:
    put(index, item("a"), state="held")
    assert act(index, outbox.withhold, "m/s/r", "report one: entropy above its bound") == 1
    [found] = stored(index)
    assert (found.state, found.last_error) == ("withheld", "report one: entropy above its bound")
    assert take(index) is None
    assert act(index, outbox.release, "m/s/r") == 1
    assert (stored(index)[0].state, stored(index)[0].last_error) == ("pending", None)


def test_withholding_leaves_alone_what_was_released(index: Index) -> None:
    put(index, item("invalidity"))
    put(index, item("a"), state="held")
    act(index, outbox.withhold, "m/s/r", "invalid")
    assert states(index) == {"invalidity": "pending", "a": "withheld"}


def test_a_run_that_is_found_invalid_after_all_keeps_back_what_has_not_arrived_yet(index: Index) -> None:
    key = measured_run(index)
    put(index, *(item(name, name, run_key=key) for name in ("arrived", "under way", "refused", "waits")))
    put(index, item("alert", "waits", kind="alert", run_key=key))
    act(index, outbox.mark_delivered, must_take(index, "arrived"), NOON)
    act(index, outbox.mark_dead, must_take(index, "refused"), NOON, "no")
    claim = must_take(index, "under way")
    assert act(index, outbox.withhold, key, "a file was changed") == 3
    assert states(index) == {
        "arrived": "delivered", "under way": "withheld", "refused": "withheld", "waits": "withheld", "alert": "pending",
    }  # fmt: skip
    assert act(index, outbox.mark_failed, claim, NOON, "timeout", NOON) is False  # it does not come back that way
    assert states(index)["under way"] == "withheld"
    assert act(index, outbox.release, key) == 3
    assert {states(index)[name] for name in ("under way", "refused", "waits")} == {"pending"}


def test_what_tells_that_a_run_was_not_measured_is_never_withheld(index: Index) -> None:
    attempt, _ = start(index)
    index.fail_run(attempt, "out of memory", "", [item("not measured", run_key=attempt.run_key)])
    assert act(index, outbox.withhold, attempt.run_key, "it has no reports") == 0
    assert states(index) == {"not measured": "pending"}


def told(index: Index) -> dict[str, dict[str, Any]]:
    with index.reading("test") as connection:
        return told_events(connection, "m/s/r")


def test_the_last_event_that_arrived_is_known_to_a_newer_try(index: Index) -> None:
    event: dict[str, Any] = {"kind": "event", "run_key": "m/s/r"}
    put(index, item("one", payload={"verdict": "unhealthy"}, **event))
    assert told(index) == {}  # nothing was sent yet
    act(index, outbox.mark_delivered, must_take(index), NOON)
    put(index, item("two", payload={"verdict": "healthy"}, **event), item("three", payload={"verdict": "x"}, **event))
    assert told(index) == {"here": {"verdict": "unhealthy"}}
    claim = must_take(index)
    act(index, outbox.supersede, "m/s/r")  # a newer try begins while the second event is on its way
    assert told(index) == {"here": {"verdict": "healthy"}}
    act(index, outbox.mark_failed, claim, NOON, "refused", NOON)
    assert told(index) == {"here": {"verdict": "unhealthy"}}


def test_a_new_try_of_a_run_supersedes_what_the_last_one_did_not_deliver_but_no_alert(index: Index) -> None:
    key = start(index)[0].run_key
    put(index, item("alert", kind="alert", run_key=key), item("sent", run_key=key), item("dead", "far", run_key=key))
    put(index, item("held", run_key=key), state="held")
    act(index, outbox.mark_delivered, must_take_key(index, "alert"), NOON)
    act(index, outbox.mark_delivered, must_take_key(index, "sent"), NOON)
    act(index, outbox.mark_dead, must_take(index, "far"), NOON, "no")
    put(index, item("alert2", kind="alert", run_key=key), item("pending", "far", run_key=key), item("else"))
    start(index)
    assert states(index) == {
        "alert": "delivered",
        "sent": "delivered",
        "dead": "superseded",
        "held": "superseded",
        "alert2": "pending",
        "pending": "superseded",
        "else": "pending",
    }
    assert all(found.payload == {} for found in stored(index) if found.state == "superseded")


def must_take_key(index: Index, key: str) -> Claim:
    claim = must_take(index)
    assert claim.item.key == key
    return claim


def test_a_superseded_key_may_be_put_in_again(index: Index) -> None:
    put(index, item("a"), state="held")
    act(index, outbox.supersede, "m/s/r")
    assert put(index, item("a", payload={"n": "new"}), state="held") == 1
    [found] = stored(index)
    assert (found.state, found.payload) == ("held", {"n": "new"})


def test_an_item_that_is_superseded_while_it_is_sent_stays_superseded_and_the_ledger_knows(index: Index) -> None:
    put(index, item("a"))
    claim = must_take(index)
    act(index, outbox.supersede, "m/s/r")
    assert act(index, outbox.mark_delivered, claim, NOON) is False
    assert states(index) == {"a": "superseded"}
    assert [entry.outcome for entry in tries(index)] == ["delivered"]


# -- claims


def test_items_come_out_one_at_a_time_in_the_order_in_which_they_went_in(index: Index) -> None:
    # created_at may go backwards when a clock is set; the order of going in does not
    put(index, item("a", created_at=NOON + HOUR), item("b", created_at=NOON), item("c", created_at=NOON - HOUR))
    got = []
    while (claim := take(index)) is not None:
        assert take(index) is None
        got.append(claim.item.key)
        assert act(index, outbox.mark_delivered, claim, NOON)
    assert got == ["a", "b", "c"]


def test_targets_do_not_wait_for_each_other(index: Index) -> None:
    put(index, item("a"), item("b", "there"))
    claim = must_take(index)
    act(index, outbox.mark_failed, claim, NOON, "down", NOON + HOUR)
    assert must_take(index, "there").item.key == "b"


def test_an_item_that_waits_holds_its_queue_and_is_due_at_its_time(index: Index) -> None:
    put(index, item("a"), item("b"))
    act(index, outbox.mark_failed, must_take(index), NOON, "down", NOON + 60 * SECOND)
    assert take(index, now=NOON + 59 * SECOND) is None
    assert act(index, outbox.due, "here", NOON + 59 * SECOND) == []
    assert [found.key for found in act(index, outbox.due, "here", NOON + 60 * SECOND)] == ["a", "b"]
    claim = must_take(index, now=NOON + 60 * SECOND)
    assert (claim.item.key, claim.item.attempts, claim.item.first_attempt_at) == ("a", 2, NOON)


def test_a_refused_item_makes_room_for_the_next(index: Index) -> None:
    put(index, item("a"), item("b"))
    assert act(index, outbox.mark_dead, must_take(index), NOON, "malformed")
    assert must_take(index).item.key == "b"
    assert stored(index)[0].last_error == "malformed"


def test_a_lease_that_ends_gives_the_item_to_the_next_and_the_first_cannot_mark_it(index: Index) -> None:
    put(index, item("a"))
    first = must_take(index)
    assert take(index, now=NOON + LEASE - SECOND) is None
    second = must_take(index, now=NOON + LEASE)
    assert second.item.attempts == 2
    assert act(index, outbox.mark_failed, first, NOON + LEASE, "late", NOON + HOUR) is False
    assert act(index, outbox.mark_delivered, second, NOON + LEASE) is True
    assert states(index) == {"a": "delivered"}


def test_the_ledger_says_what_happened_to_each_try(index: Index) -> None:
    put(index, item("a"))
    act(index, outbox.mark_failed, must_take(index), NOON + SECOND, "503", NOON + 2 * SECOND)
    must_take(index, now=NOON + 2 * SECOND)
    assert [(entry.outcome, entry.ended_at) for entry in tries(index)] == [(None, None), ("failed", NOON + SECOND)]
    late = NOON + HOUR
    act(index, outbox.mark_delivered, must_take(index, now=late), late)
    assert [(entry.outcome, entry.started_at) for entry in tries(index)] == [
        ("delivered", late),
        ("lost", NOON + 2 * SECOND),
        ("failed", NOON),
    ]


def test_a_try_that_was_taken_for_lost_and_arrives_late_is_set_right(index: Index) -> None:
    put(index, item("a"))
    first = must_take(index)
    must_take(index, now=NOON + LEASE)
    assert act(index, outbox.mark_delivered, first, NOON + LEASE + SECOND) is False
    assert [entry.outcome for entry in tries(index)] == [None, "delivered"]


@pytest.mark.parametrize("back", [HOUR, timedelta(days=400)])
def test_a_clock_that_is_set_back_does_not_strand_items(index: Index, back: timedelta) -> None:
    put(index, item("leased"), item("waits", "there"))
    must_take(index)
    act(index, outbox.mark_failed, must_take(index, "there"), NOON, "down", NOON + HOUR)
    # the lease was to end ten minutes after noon: with the clock back by more, it cannot be one that still runs
    assert must_take(index, now=NOON - back).item.key == "leased"
    ahead = timedelta(days=1)
    waiting = take(index, "there", now=NOON - back)
    assert (waiting is None) == (HOUR + back <= ahead)


def test_a_delivered_item_keeps_no_payload(index: Index) -> None:
    put(index, item("a"))
    act(index, outbox.mark_delivered, must_take(index), NOON)
    [found] = stored(index)
    assert (found.payload, found.delivered_at) == ({}, NOON)


@pytest.mark.parametrize("state", ["delivered", "dead", "superseded", "withheld", "held"])
def test_only_items_that_are_to_go_can_be_claimed(index: Index, state: str) -> None:
    put(index, item("a"), state="pending" if state in ("delivered", "dead") else "held")
    if state == "delivered":
        act(index, outbox.mark_delivered, must_take(index), NOON)
    elif state == "dead":
        act(index, outbox.mark_dead, must_take(index), NOON, "no")
    elif state == "superseded":
        act(index, outbox.supersede, "m/s/r")
    elif state == "withheld":
        act(index, outbox.withhold, "m/s/r", "invalid")
    assert take(index, now=NOON + 1000 * HOUR) is None
    assert states(index) == {"a": state}


def test_many_claimers_never_get_one_item_twice_and_never_out_of_order(index: Index) -> None:
    put(index, *(item(f"{target}{n:03}", target) for n in range(40) for target in "xy"))
    delivered: dict[str, list[str]] = {"x": [], "y": []}
    errors: list[BaseException] = []
    together = threading.Barrier(6)

    def work(target: str) -> None:
        try:
            together.wait(120)
            for _ in range(2000):
                claim = take(index, target)
                if claim is not None:
                    delivered[target].append(claim.item.key)  # the lease is exclusive: nobody else appends here now
                    assert act(index, outbox.mark_delivered, claim, NOON)
                elif len(delivered[target]) == 40:
                    return
        except BaseException as error:  # noqa: BLE001  # raised in the test's own thread, by its assertion
            errors.append(error)

    threads = [threading.Thread(target=work, args=(target,)) for target in "xyxyxy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert delivered == {target: [f"{target}{n:03}" for n in range(40)] for target in "xy"}
    assert len(tries(index)) == 80


# -- secrets


@pytest.mark.parametrize(
    "error",
    [
        "cannot reach https://hooks.slack.com/services/T000/B000/PLANTEDSECRET",
        "GET https://api.example.com/v1?api_key=PLANTEDSECRET failed",
        "GET https://user:PLANTEDSECRET@host/x failed",
        "rejected: DD-API-KEY: PLANTEDSECRET0123",
        "password=PLANTEDSECRET refused",
        "Authorization: Bearer PLANTEDSECRET0123",
    ],
)
def test_no_secret_is_kept_with_an_error(index: Index, error: str) -> None:
    put(index, item("a"), item("b", "there"))
    act(index, outbox.mark_failed, must_take(index), NOON, error, NOON)
    act(index, outbox.mark_dead, must_take(index, "there"), NOON, error)
    kept = [found.last_error for found in stored(index)] + [entry.error for entry in tries(index)]
    assert len(kept) == 4
    assert "PLANTEDSECRET" not in repr(kept)


def test_an_error_is_one_short_line_of_legal_text(index: Index) -> None:
    put(index, item("a"))
    act(index, outbox.mark_failed, must_take(index), NOON, "two\nlines \x00 \ud800 " + "x" * 5000, NOON)
    text = stored(index)[0].last_error
    assert text is not None
    assert text.startswith("two lines")
    assert len(text) == MAX_ERROR


# -- status


def test_counts_tell_what_waits_since_when_and_what_failed(index: Index) -> None:
    put(index, item("old", created_at=NOON - HOUR), item("new"), item("other", "there", kind="alert"))
    act(index, outbox.mark_failed, must_take(index), NOON, "down", NOON)
    act(index, outbox.mark_dead, must_take(index, "there"), NOON, "gone")
    here, there = act(index, counts, NOON - HOUR)
    assert (here.target, here.pending, here.dead, here.oldest_pending_at) == ("here", 2, 0, NOON - HOUR)
    assert here.failed_notifications == 0
    assert (there.pending, there.dead, there.oldest_pending_at, there.failed_notifications) == (0, 1, None, 1)
    assert act(index, counts, NOON + SECOND)[1].failed_notifications == 0
    assert act(index, open_targets) == ["here"]


def test_an_empty_outbox_has_no_counts(index: Index) -> None:
    assert act(index, counts, NOON) == []
    assert act(index, items) == []
    assert act(index, ledger) == []
    assert act(index, open_targets) == []


def test_dead_items_can_be_tried_again_from_the_start(index: Index) -> None:
    put(index, item("a"), item("b", "there"))
    for target in ("here", "there"):
        act(index, outbox.mark_dead, must_take(index, target), NOON, "gone")
    assert act(index, requeue, target="here") == 1
    assert states(index) == {"a": "pending", "b": "dead"}
    claim = must_take(index, now=NOON + HOUR)
    assert (claim.item.attempts, claim.item.first_attempt_at) == (1, NOON + HOUR)
    assert len(tries(index)) == 3
    assert act(index, requeue, item_ids=[stored(index)[1].id]) == 1
    assert act(index, requeue) == 0


def test_pruning_takes_what_is_settled_and_old_with_its_ledger(index: Index) -> None:
    put(index, item("sent"), item("waits"), item("dead", "there"))
    act(index, outbox.mark_delivered, must_take(index), NOON)
    act(index, outbox.mark_dead, must_take(index, "there"), NOON, "gone")
    assert act(index, prune, NOON) == 0
    assert act(index, prune, NOON + SECOND) == 1
    assert states(index) == {"waits": "pending", "dead": "dead"}
    assert [entry.key for entry in tries(index)] == ["dead"]


# -- with the run


RESULT = RunResult(
    ended_at=NOON,
    identity=None,
    manifest_uri="manifest.json",
    manifest_digest="e" * 64,
    report_schema_version="0.3.0",
    manifest_schema_version="1.0.0",
    verdict="healthy",
)


def test_a_run_and_what_leaves_for_it_are_recorded_together(index: Index) -> None:
    attempt, _ = start(index)
    index.finish_run(attempt, RESULT, [], [], [item("a", run_key=attempt.run_key)])
    assert states(index) == {"a": "held"}
    act(index, outbox.release, attempt.run_key)
    index.finish_run(attempt, RESULT, [], [], [item("a", run_key=attempt.run_key)])
    assert states(index) == {"a": "pending"}, "recording it again takes nothing back"


def test_a_run_whose_items_cannot_be_kept_is_not_recorded_as_measured(index: Index) -> None:
    attempt, _ = start(index)
    with pytest.raises(StoreError, match="not JSON"):
        index.finish_run(attempt, RESULT, [], [], [item("a"), item("b", payload={"x": float("inf")})])
    found = index.run(attempt.run_key)
    assert found is not None
    assert found.status == RunStatus.STARTED
    assert stored(index) == []


def test_a_run_that_was_taken_over_leaves_nothing(index: Index) -> None:
    old, _ = start(index)
    start(index)
    with pytest.raises(StoreError, match="newer try"):
        index.finish_run(old, RESULT, [], [], [item("a")])
    assert index.fail_run(old, "killed", outbox=[item("b")]) is False
    assert stored(index) == []


def test_a_run_that_could_not_measure_says_so_at_once(index: Index) -> None:
    attempt, _ = start(index)
    assert index.fail_run(attempt, "killed", outbox=[item("a", run_key=attempt.run_key)])
    assert states(index) == {"a": "pending"}
