"""Gates over comparisons with the promoted baseline: what the regression policy made of the newest one.

Owns the reading of comparisons as answers of a gate. A model that was never compared has no such answer: nothing was
accepted, so nothing can have changed. A night that waits for the screening of all its models is not looked at yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from model_health.config.gates import GateRule
from model_health.gates.judge import judge
from model_health.gates.observe import Observation
from model_health.gates.result import GateResult, GateVerdict
from model_health.store.index.comparisons import ComparisonRecord, judged_comparison
from model_health.store.index.index import Index

VALUES: Final = {"pass": 0.0, "warn": 1.0, "fail": 2.0}


def judge_comparison(
    model: str, suite: str, index: Index, rules: Sequence[GateRule], now: datetime
) -> tuple[GateResult, ...]:
    """The answers of the rules over `baseline_verdict` that cover this model and suite, in their order."""
    mine = [rule for rule in rules if rule.by_comparison and rule.covers(model, suite)]
    if not mine:
        return ()
    with index.reading("read the newest comparison") as connection:
        newest = judged_comparison(connection, model, suite)
    return () if newest is None else tuple(_answer(rule, newest, now) for rule in mine)


def _answer(rule: GateRule, found: ComparisonRecord, now: datetime) -> GateResult:
    value = VALUES.get(found.outcome)
    seen = Observation(found.key, value, value, value) if value is not None else _unknown(found)
    result = judge(rule, [seen], model=found.model, suite=found.suite, now=now)
    reason = result.reason if result.verdict is GateVerdict.INCONCLUSIVE else found.reason
    return replace(result, run_at=found.at, reason=reason)


def _unknown(found: ComparisonRecord) -> Observation:
    return Observation(found.key, -math.inf, math.inf, None, found.reason)
