"""Gates that the clock judges: what did not happen for too long, and an outbox that does not drain.

What shall happen: a valid report of each model, a settled comparison of each accepted one, a self-test, and that
somebody looks at the clock at all.

The dead man's switch: it speaks when nothing else happens, so whatever has never run counts from when it was first
looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from model_health.config.gates import Condition, GateRule
from model_health.gates.result import GateResult, GateVerdict

EVERYTHING = "all"
"""The model and suite of a gate that judges the installation as a whole."""

Pair = tuple[str, str]
"""A model and a canary suite."""


EXPECTED: Final[Mapping[Condition, str]] = {
    "no_report": "valid report",
    "no_comparison": "settled comparison with the baseline",
    "no_self_test": "self-test of the monitor",
}
"""What each of these conditions waits for, by model and suite."""


@dataclass(frozen=True)
class Expected:
    """What is waited for of one condition.

    Args:
        pairs: the models and suites that it is expected of.
        last: when it last happened to each; left out where it never did.
        unknown: why it cannot be told whether it is expected of a pair.
    """

    pairs: Sequence[Pair]
    last: Mapping[Pair, datetime]
    unknown: Mapping[Pair, str] = field(default_factory=dict)


def judge_expected(
    rules: Iterable[GateRule],
    condition: Condition,
    expected: Expected,
    first_looked: Mapping[tuple[str, str, str], datetime],
    now: datetime,
) -> tuple[GateResult, ...]:
    """What the rules of one of the conditions in `EXPECTED` say of every model and suite that it is expected of.

    Args:
        rules: all of them.
        condition: the others are passed over.
        expected: what is waited for.
        first_looked: when a gate was first judged, by (model, suite, gate).
        now: the present.
    """
    what = EXPECTED[condition]
    results = []
    for rule in rules:
        if rule.condition != condition:
            continue
        for model, suite in expected.pairs:
            if not rule.covers(model, suite):
                continue
            happened = expected.last.get((model, suite))
            since = happened or first_looked.get((model, suite, rule.name), now)
            # A clock that was set back since makes no negative age.
            age = max(0.0, (now - since).total_seconds())
            said = f"the last {what} is {_long(age)} old"
            if happened is None:
                said = f"there is no {what} yet; it was looked for {_long(age)} ago"
            results.append(_result(rule, model, suite, age, said, now))
        for (model, suite), why in expected.unknown.items():
            if rule.covers(model, suite):
                verdict = GateVerdict.INCONCLUSIVE
                results.append(GateResult(rule.name, rule.tier, model, suite, verdict, now, None, None, why))
    return tuple(results)


def judge_check(rules: Iterable[GateRule], last_look: datetime | None, now: datetime) -> tuple[GateResult, ...]:
    """What the `no_check` rules say once somebody looks again: for how long nobody did.

    While nobody looks, nobody can say so from within: the monitors elsewhere do. `last_look` is None the first time.
    """
    gap = 0.0 if last_look is None else max(0.0, (now - last_look).total_seconds())
    said = "nobody looked at the clock before" if last_look is None else f"the look before was {_long(gap)} ago"
    return tuple(
        _result(rule, EVERYTHING, EVERYTHING, gap, said, now)
        for rule in rules
        if rule.condition == "no_check" and rule.covers(EVERYTHING, EVERYTHING)
    )


def judge_outbox(
    rules: Iterable[GateRule],
    oldest: Mapping[str, datetime],
    now: datetime,
    *,
    held: Mapping[str, datetime] | None = None,
) -> tuple[GateResult, ...]:
    """What the `outbox_stuck` rules say.

    Args:
        rules: all of them.
        oldest: when the oldest item that still waits was made, by target.
        now: the present.
        held: when the oldest item was made that waits for its run to be validated, by target. That takes moments; an
            item that is held for longer is of a run that nobody validated, and would be held for ever.
    """
    results = []
    for rule in rules:
        if rule.condition == "outbox_stuck" and rule.covers(EVERYTHING, EVERYTHING):
            waiting = _waits(rule, oldest, "the oldest item has been waiting for", now)
            unvalidated = _waits(rule, held or {}, "a run was not validated, and its numbers have been held for", now)
            parts = [part for part in (waiting, unvalidated) if part[0]]
            late = [text for text, age in parts if rule.breaches(age, _mildest(rule))]
            reason = "; ".join(late) or next((text for text, _ in parts), "nothing waits")
            worst = max((age for _, age in parts), default=0.0)
            results.append(_result(rule, EVERYTHING, EVERYTHING, worst, reason, now))
    return tuple(results)


def _waits(rule: GateRule, since: Mapping[str, datetime], what: str, now: datetime) -> tuple[str, float]:
    """What is said of items that wait, nothing where there are none, and for how many seconds the oldest does."""
    ages = {target: max(0.0, (now - moment).total_seconds()) for target, moment in since.items()}
    worst = max(ages.values(), default=0.0)
    slow = [target for target, age in sorted(ages.items()) if rule.breaches(age, _mildest(rule))]
    which = f" for {', '.join(slow)}" if slow else ""
    return (f"{what} {_long(worst)}{which}" if ages else ""), worst


def _result(rule: GateRule, model: str, suite: str, value: float, reason: str, now: datetime) -> GateResult:
    verdict = GateVerdict.PASS
    if rule.breaches(value, rule.fail):
        verdict = GateVerdict.FAIL
    elif rule.breaches(value, rule.warn):
        verdict = GateVerdict.WARN
    level = rule.fail if verdict is GateVerdict.FAIL else _mildest(rule)
    return GateResult(rule.name, rule.tier, model, suite, verdict, now, value, level, reason)


def _mildest(rule: GateRule) -> float | None:
    return rule.fail if rule.warn is None else rule.warn


def _long(seconds: float) -> str:
    """A time span as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
