"""The figures of a self-test: how many faults were caught and placed, how many alarms were false, and is it enough?

Owns the counting, the exact intervals (Clopper and Pearson, two-sided 95 %) and what is promised. An excused miss
is listed, not counted: mathematically the fault changes nothing, or it changes no bit under the other configuration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from model_health.baseline.budget import upper_bound
from model_health.selftest.result import Configuration, SelfTest, Trial, YearFound

LOUD_CAUGHT: Final = 0.98
PLACED: Final = 0.97
FINE: Final = frozenset({"float32", "float64"})
"""Dtypes in which faults are promised to be seen and placed under another configuration as well. In one of 16 bits
harmless variation is a thousand times as large, and hides whatever is smaller: there the figures are stated, and only
that no place is wrong is promised."""
SILENT: Final = 0.1
"""Share of faults that may change no number; with more, a catalogue that does nothing would keep every promise."""


@dataclass(frozen=True)
class Rate:
    """`hits` of `of`, with the interval of the rate; None where nothing was tried."""

    hits: int
    of: int
    low: float | None
    high: float | None

    @property
    def share(self) -> float:
        """The rate; 1 where nothing was tried."""
        return self.hits / self.of if self.of else 1.0

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return "none tried"
        return f"{self.hits} of {self.of} ({self.share:.1%}, 95 % interval {self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class Figures:
    """What a self-test came to.

    Args:
        same: caught under the baseline's configuration, of those that change a number at all.
        silent: faults that change no number there on all texts of the suite: neither caught nor missed.
        same_placed: faults of one block whose block was named there.
        loud, subtle: caught under another configuration: all but single bits, and single bits.
        placed: right names among caught faults under another configuration that have one place and strike more than a
            token; placed_tokens: among those that strike one, of which *unnamed* may be honest.
        wrong, unnamed: of all these.
        before: faults of tokenizer and template, refused. loops: forced loops flagged.
        false_alarms: over harmless changes and healthy replays. healthy_upper: one-sided 95 % bound of healthy replays.
        shortfalls: promises that were not kept, in words.
    """

    same: Rate
    silent: int
    same_placed: Rate
    loud: Rate
    subtle: Rate
    placed: Rate
    placed_tokens: Rate
    wrong: int
    unnamed: int
    before: Rate
    loops: Rate
    false_alarms: Rate
    healthy_upper: float
    shortfalls: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def rate(marks: Iterable[bool]) -> Rate:
    """The rate of what is true."""
    marks = tuple(marks)
    if not marks:
        return Rate(0, 0, None, None)
    from scipy.stats import binomtest

    interval = binomtest(sum(marks), len(marks)).proportion_ci(confidence_level=0.95, method="exact")
    return Rate(sum(marks), len(marks), float(interval.low), float(interval.high))


def figures(test: SelfTest) -> Figures:
    """Count."""
    before = [one for one in test.trials if one.applicable and one.kind == "tokens"]
    same = [one for one in _counted(test, "same") if one.kind != "tokens"]
    other = _counted(test, "other")
    placed = [one for one in other if one.detected and one.place is not None]
    changes = [one for one in (*test.harmless, *test.healthy) if one.applicable]
    ill = sum(one.false_alarm for one in test.healthy)
    found = Figures(
        same=rate(one.detected for one in same),
        silent=sum(one.no_number for one in test.trials),
        same_placed=rate(one.placement == "right" for one in same if one.single_layer),
        loud=rate(one.detected for one in other if not one.subtle),
        subtle=rate(one.detected for one in other if one.subtle),
        placed=rate(one.placement == "right" for one in placed if not one.one_token),
        placed_tokens=rate(one.placement == "right" for one in placed if one.one_token),
        wrong=sum(one.placement == "wrong" for one in placed),
        unnamed=sum(one.placement == "unnamed" for one in placed),
        before=rate(one.detected for one in before),
        loops=rate(one.detected for one in _counted(test, "generation")),
        false_alarms=rate(one.false_alarm for one in changes),
        healthy_upper=upper_bound(ill, len(test.healthy)),
        shortfalls=(),
    )
    return Figures(**{**vars(found), "shortfalls": tuple(_shortfalls(found, test))})


def drift_in_time(year: YearFound) -> bool:
    """Whether drift was found as the chart's design says: in half of the models within the designed delay of 9 of 10.

    Half of few models is uncertain, and recorded noise is not normal, as the design has it: hence not the same half.
    """
    needed = (year.drifts + 1) // 2
    return len(year.delays) >= needed and sorted(year.delays)[needed - 1] <= year.designed_late


def _counted(test: SelfTest, configuration: Configuration) -> list[Trial]:
    return [
        one
        for one in test.trials
        if one.applicable and one.configuration == configuration and not (one.excused or one.no_number)
    ]


def _shortfalls(found: Figures, test: SelfTest) -> Iterable[str]:
    if not test.restored:
        yield "the model is not what it was before: nothing of this can be trusted"
    whole = {
        "faults under the same configuration were missed": found.same,
        "single-layer faults under the same configuration were not placed": found.same_placed,
        "faults of the tokenizer or the template were let through": found.before,
        "forced loops were not flagged": found.loops,
    }
    for what, counted in whole.items():
        if counted.hits < counted.of:
            yield f"{counted.of - counted.hits} {what}"
    if found.silent > SILENT * (found.same.of + found.silent):
        yield f"{found.silent} faults change no number: a test of so little shows little"
    fine = test.dtype in FINE
    if fine and found.loud.share < LOUD_CAUGHT:
        yield f"under another configuration {found.loud.share:.1%} of loud faults were caught, not {LOUD_CAUGHT:.0%}"
    if fine and found.placed.share < PLACED:
        yield f"under another configuration {found.placed.share:.1%} were placed right, not {PLACED:.0%}"
    if found.wrong:
        yield f"{found.wrong} faults were given a wrong place"
    if found.false_alarms.hits:
        yield f"{found.false_alarms.hits} false alarms"
    year = test.year
    if year is not None and year.pages > year.allowed:
        yield f"a simulated year pages {year.pages} times for nothing, and {year.allowed:.0f} are allowed"
    if year is not None and not drift_in_time(year):
        yield f"a drift of {year.shift:g} deviation is not found within the nights that the chart was designed for"
