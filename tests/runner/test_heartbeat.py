"""A run under way gives signs of life by itself, and stops when nobody waits for them."""

from __future__ import annotations

import threading

import pytest

from model_health.errors import StoreError
from model_health.runner.heartbeat import beating

SOON = 0.001
GENEROUS = 60.0


def heartbeats() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_it_beats_until_the_block_is_left_and_leaves_no_thread() -> None:
    beats = threading.Semaphore(0)

    def beat() -> bool:
        beats.release()
        return True

    with beating(beat, every_seconds=SOON):
        assert all(beats.acquire(timeout=GENEROUS) for _ in range(3))
    assert heartbeats() == []


def test_a_beat_that_fails_is_tried_again() -> None:
    third, count = threading.Event(), 0

    def beat() -> bool:
        nonlocal count
        count += 1
        if count < 3:
            raise StoreError("the database restarts")
        third.set()
        return True

    with beating(beat, every_seconds=SOON):
        assert third.wait(GENEROUS)


def test_it_stops_when_nobody_waits_for_it() -> None:
    calls: list[int] = []

    def beat() -> bool:
        calls.append(1)
        return False

    with beating(beat, every_seconds=SOON):
        [thread] = heartbeats()
        thread.join(GENEROUS)
        assert not thread.is_alive()
    assert calls == [1]


def test_an_error_in_the_block_goes_on_and_ends_the_thread() -> None:
    with pytest.raises(ZeroDivisionError), beating(lambda: True, every_seconds=GENEROUS):
        raise ZeroDivisionError
    assert heartbeats() == []
