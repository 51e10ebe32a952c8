"""Deliverers that are killed with SIGKILL, on SQLite and PostgreSQL: their items are delivered by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from model_health.delivery.deliver import LEASE, deliver_target
from model_health.store.index.index import Index
from model_health.store.index.outbox_status import ledger
from support import deliverer_process
from support.deliverer_process import FileTarget
from support.outbox import item, put, states

pytestmark = pytest.mark.slow


@contextmanager
def deliverer(url: str, path: Path, wait_at: str = "", ahead: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """A process that delivers; killed at the end if it still runs."""
    argv = [sys.executable, deliverer_process.__file__, url, str(path), wait_at, str(ahead)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for said in process.stdout:
        if said.strip() == line:
            return
    raise AssertionError(f"it ended without saying {line!r}")


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_deliverer_killed_between_send_and_mark_loses_nothing(index_url: str, tmp_path: Path) -> None:
    path = tmp_path / "taken"
    with Index.open(index_url) as index:
        put(index, item("a"), item("b"), item("c"))
        with deliverer(index_url, path, wait_at="b") as process:
            wait_for(process, "sent b")
            kill(process)
        assert states(index) == {"a": "delivered", "b": "delivering", "c": "pending"}
        now = datetime.now(UTC)
        # The lease still runs: nobody may send what may be on its way.
        target = FileTarget(path, "")
        assert deliver_target(index, "here", target, clock=lambda: now, rng=Random(1)).delivered == 0
        late = now + LEASE + timedelta(seconds=1)
        assert deliver_target(index, "here", target, clock=lambda: late, rng=Random(1)).delivered == 2
        assert set(states(index).values()) == {"delivered"}
        assert path.read_text().split() == ["a", "b", "b", "c"]
        with index.reading("test") as connection:
            assert [(entry.key, entry.outcome) for entry in ledger(connection)][::-1] == [
                ("a", "delivered"),
                ("b", "lost"),
                ("b", "delivered"),
                ("c", "delivered"),
            ]


def test_deliverers_killed_anywhere_lose_nothing_and_repeat_one_item_each(index_url: str, tmp_path: Path) -> None:
    path, keys, rng = tmp_path / "taken", [f"{n:03}" for n in range(120)], Random(7)
    with Index.open(index_url) as index:
        put(index, *(item(key) for key in keys))
        kills = 6
        for number in range(kills):
            with deliverer(index_url, path, ahead=number * 2 * LEASE.total_seconds()) as process:
                assert process.stdout is not None
                wait_for(process, "ready")
                for _ in range(rng.randrange(1, 12)):
                    process.stdout.readline()
                kill(process)  # wherever it is by now: claiming, sending, marking, or between
        with deliverer(index_url, path, ahead=kills * 2 * LEASE.total_seconds()) as process:
            assert process.wait(300) == 0
        assert set(states(index).values()) == {"delivered"}
    taken = path.read_text().split()
    assert sorted(set(taken)) == keys
    assert taken == sorted(taken), "in order, repetitions included"
    assert sum(times - 1 for times in Counter(taken).values()) <= kills


def test_two_deliverers_at_once_send_each_item_once(index_url: str, tmp_path: Path) -> None:
    path, keys = tmp_path / "taken", [f"{n:03}" for n in range(60)]
    with Index.open(index_url) as index:
        put(index, *(item(key) for key in keys))
    with deliverer(index_url, path) as one, deliverer(index_url, path) as two:
        assert (one.wait(300), two.wait(300)) == (0, 0)
    taken = path.read_text().split()
    assert taken == sorted(set(taken)), "in order, and nothing twice"
    with Index.open(index_url) as index:
        # Each stops when the other is at work; together they may have left the rest for the next pass.
        sent = [key for key, state in states(index).items() if state == "delivered"]
        assert sent == taken
        now = datetime.now(UTC)
        deliver_target(index, "here", FileTarget(path, ""), clock=lambda: now, rng=Random(1))
    assert path.read_text().split() == keys
