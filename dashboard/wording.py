"""The words, marks and colours that the pages share: one state per run, ages, durations, escaped text. Pure.

A state never rests on colour alone: each has a mark and a word of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

import palette
from model_health.store.index.records import RunRecord, RunStatus

SILENT_AFTER = timedelta(minutes=30)
"""A run that has started and gave no sign of life for this long is taken for dead."""
STALE_AFTER = timedelta(hours=2)
"""`run_canaries` runs hourly: two missed runs mean that nobody is looking."""


@dataclass(frozen=True)
class Look:
    """How a state is shown. The colours hold on a light and on a dark background."""

    word: str
    mark: str
    colour: str


class State(Enum):
    """What is known of a run: the verdict, or why there is none."""

    HEALTHY = Look("healthy", "✔", palette.GOOD)
    UNHEALTHY = Look("unhealthy", "✖", palette.BAD)
    INCONCLUSIVE = Look("inconclusive", "?", palette.UNKNOWN)
    COULD_NOT_MEASURE = Look("could not measure", "∅", palette.WARN)
    RUNNING = Look("running", "▶", palette.BLUE)
    SILENT = Look("died silently", "†", palette.QUIET)

    @property
    def label(self) -> str:
        """Mark and word."""
        return f"{self.value.mark} {self.value.word}"


_OF_VERDICT = {
    "healthy": State.HEALTHY,
    "unhealthy": State.UNHEALTHY,
    "inconclusive": State.INCONCLUSIVE,
    "could_not_measure": State.COULD_NOT_MEASURE,
}


def state_of(record: RunRecord, now: datetime) -> State:
    """The state of a run, as far as its row and the clock tell."""
    if record.status is RunStatus.COULD_NOT_MEASURE:
        return State.COULD_NOT_MEASURE
    if record.status is RunStatus.STARTED:
        return State.SILENT if now - record.heartbeat_at > SILENT_AFTER else State.RUNNING
    # A measured run always has a verdict; a word that a newer library wrote must not look healthy here.
    return _OF_VERDICT.get(record.verdict or "", State.INCONCLUSIVE)


def why(record: RunRecord, now: datetime) -> str:
    """Why a run has no measurement, or an empty string where it has one or still may get one."""
    if state_of(record, now) is State.SILENT:
        return f"no sign of life for {span(now - record.heartbeat_at)}: its process ended without saying why"
    return record.reason or ""


def span(length: timedelta) -> str:
    """A length of time in its two largest units: `3 d 4 h`, `12 min`, `9 s`."""
    seconds = max(0, round(length.total_seconds()))
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[tuple[int, str]] = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append((count, name))
    shown = parts[:2] or [(0, "s")]
    return " ".join(f"{count} {name}" for count, name in shown if count) or "0 s"


def stamp(moment: datetime) -> str:
    """A moment, to the minute, in UTC and saying so."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def raised(flags: Mapping[str, int]) -> list[str]:
    """The flags that at least one prompt raised, with the number of prompts where it is more than one; sorted."""
    return [name if count == 1 else f"{name} ×{count}" for name, count in sorted(flags.items()) if count]


def plain(text: str) -> str:
    """Text from outside (reasons, names) so that no character of it acts as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~:$])", r"\\\1", text)
