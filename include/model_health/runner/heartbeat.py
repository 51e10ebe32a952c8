"""Beats while a run is under way, in a thread of its own: loading a model or one long batch is no silence.

Owns the thread. What a beat is, it is told; a beat that fails is tried again with the next, since a database that is
away for a moment ends no run. Who hangs beats on: for that a supervisor has a time limit.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from model_health.errors import StoreError

BEAT_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


@contextmanager
def beating(beat: Callable[[], bool], *, every_seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Call `beat` every so many seconds until the block is left, or until it says False: nobody waits for it any more.

    The thread has ended when the block is left.
    """
    over = threading.Event()

    def run() -> None:
        while not over.wait(every_seconds):
            try:
                if not beat():
                    return
            except StoreError as error:
                log.warning("a heartbeat was not recorded: %s", error)

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
