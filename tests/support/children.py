"""Requests for the fake capture child, and what tests ask of processes. Reads /proc: these tests need Linux."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from model_health.runner.supervise import ChildRequest

FAKE = Path(__file__).parent / "fake_child.py"


def fake_request(*, model: str = "tiny", suite: str = "core", run_id: str = "run 1", **orders: object) -> ChildRequest:
    """A request whose child is `fake_child.py`, told to behave as `orders` say."""
    environment = {**os.environ, "FAKE_CHILD": json.dumps(orders)}
    return ChildRequest(
        model,
        suite,
        run_id,
        entry=("-X", "faulthandler", "-S", str(FAKE)),
        environment=environment,
        python=sys.executable,
    )


def is_running(pid: int) -> bool:
    """Whether the process lives; one that ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until(true: Callable[[], bool], *, seconds: float = 120.0) -> bool:
    """Poll `true` until it holds; False if it never did. The limit only keeps a broken test from hanging."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
