"""The contract that every entry point keeps, whatever it is given, and the books of how often that was tried.

An input is taken, or refused with one of our errors in one line. Nothing else: no other exception, no input that never
ends, no memory without bound, and no file changed that is not of the entry point's own. `--hypothesis-profile=fuzz`
(`make fuzz`) draws many inputs at random; without it there are few, always the same ones.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from model_health.errors import ExitCode, ModelHealthError

PROFILE = "fuzz"
SECONDS = 300
"""For one input, by the clock: the slowest takes tenths of a second on a machine with nothing else to do."""
MEMORY = 3 * 2**30
"""Bytes of address space that one input may add."""
LONGEST_LINE = 4_000

TALLY: dict[str, Counter[str]] = {}
"""By entry point: how many inputs were accepted and how many refused."""

Run = Callable[[], Any]


class Hung(BaseException):
    """Raised where an input has not ended. Not an Exception: whatever catches those must not swallow it."""


def fuzz(*, full: int, short: int) -> Callable[[Any], Any]:
    """How many inputs a test draws: `full` in `make fuzz`, `short` everywhere else.

    The short ones are the same each time, so that a build that fails fails again.
    """
    many = settings.get_current_profile_name() == PROFILE
    return settings(
        max_examples=full if many else short,
        derandomize=not many,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


class Guard:
    """What must not change: every file, folder and link below `folder`, but for what lies in one of `own`."""

    def __init__(self, folder: Path, *own: Path) -> None:
        self._folder = folder
        self._own = own
        self._before = self._look()

    def check(self) -> None:
        """Fail where anything is new, gone or other than before."""
        after = self._look()
        changed = sorted(
            path for path in self._before.keys() | after.keys() if self._before.get(path) != after.get(path)
        )
        assert not changed, f"changed outside of its own folders: {changed}"

    def _look(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for folder, folders, files in os.walk(self._folder):
            here = Path(folder)
            folders[:] = [name for name in folders if here / name not in self._own]
            for name in [*folders, *files]:
                path = here / name
                if path.is_symlink():
                    found[str(path)] = f"link to {path.readlink()}"
                elif path.is_file():
                    found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
                else:
                    found[str(path)] = "folder"
        return found


def attempt(entry: str, call: Run, guard: Guard | None = None, *, again: bool = False) -> Any:
    """What the call returns, or the error of ours that it ended with; a test fails by anything else.

    Args:
        entry: name of the entry point, for the books.
        call: gives it one input.
        guard: what must not change.
        again: the same input in another way, which counts once.
    """
    try:
        with limits():
            found = call()
    except ModelHealthError as error:
        found = error
    except Hung:
        raise AssertionError(f"has not ended after {SECONDS} s") from None
    if isinstance(found, ModelHealthError):
        one_line(str(found))
        assert found.exit_code in set(ExitCode) - {ExitCode.HEALTHY}
    if guard is not None:
        guard.check()
    refused = isinstance(found, ModelHealthError) or (isinstance(found, int) and found == ExitCode.BAD_INPUT)
    if not again:
        TALLY.setdefault(entry, Counter())["refused" if refused else "accepted"] += 1
    return found


def one_line(text: str) -> None:
    """Fail unless the text is one line, of a bearable length."""
    assert text.strip(), "an error that says nothing"
    assert text.isprintable(), f"more than one line, or control codes: {text!r}"
    assert len(text) < LONGEST_LINE, f"a line of {len(text)} characters: {text[:200]!r}"


@contextmanager
def limits() -> Iterator[None]:
    """End what takes too long with `Hung`, and what takes too much memory with a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGESIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    before = signal.signal(signal.SIGALRM, _hung)
    left, interval = signal.setitimer(signal.ITIMER_REAL, SECONDS)  # pytest-timeout keeps its time with it
    try:
        yield
    finally:
        rest, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (SECONDS - rest), 1.0), interval)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _hung(*_: Any) -> None:
    raise Hung
