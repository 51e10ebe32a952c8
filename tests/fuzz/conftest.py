"""Fuzzers of everything that reads what others wrote. `make fuzz` draws thousands of inputs; without it, a few."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.fuzzing import PROFILE, TALLY, Guard

settings.register_profile(PROFILE)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: `guard/` beside it must stay as it is, `own/` is the entry point's."""
    kept = tmp_path / "guard"
    kept.mkdir()
    (kept / "kept").write_text("not yours\n")
    (kept / "link").symlink_to("kept")
    for name in ("own", "work"):
        (tmp_path / name).mkdir()
    temporary = tmp_path / "own" / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def guard(scratch: Path) -> Iterator[Guard]:
    """Everything in the scratch folder but `own/`."""
    watched = Guard(scratch, scratch / "own")
    yield watched
    watched.check()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many inputs each entry point was given, and what it did with them."""
    if not TALLY:
        return
    terminalreporter.section("inputs by entry point")
    for entry, count in sorted(TALLY.items()):
        words = f"{count['accepted']:>6} accepted {count['refused']:>6} refused"
        terminalreporter.line(f"{entry:<24} {count.total():>6} inputs {words}")
    terminalreporter.line(f"{'together':<24} {sum(count.total() for count in TALLY.values()):>6} inputs")
