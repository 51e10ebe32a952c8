"""Gates over comparisons with the promoted baseline: what the regression policy made of the newest one, and drift.

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
from model_health.config.regression import RegressionStatistics
from model_health.gates.drifting import judge_drift
from model_health.gates.evidence import CLOCK_SKEW
from model_health.gates.judge import judge
from model_health.gates.observe import Observation
from model_health.gates.result import GateResult, GateVerdict
from model_health.store.index.comparisons import ComparisonRecord, golden_nights, judged_comparison
from model_health.store.index.index import Index

VALUES: Final = {"pass": 0.0, "warn": 1.0, "fail": 2.0}


def judge_comparison(
    model: str,
    suite: str,
    index: Index,
    rules: Sequence[GateRule],
    now: datetime,
    statistics: RegressionStatistics | None = None,
) -> tuple[GateResult, ...]:
    """The answers of the rules over `baseline_verdict`, then of those over `baseline_drift`, that cover them.

    `statistics` is of the regression policy; the shipped figures if None.
    """
    mine = [rule for rule in rules if rule.by_comparison and rule.covers(model, suite)]
    if not mine:
        return ()
    drifts = [rule for rule in mine if rule.condition == "baseline_drift"]
    with index.reading("read the newest comparison") as connection:
        newest = judged_comparison(connection, model, suite)
        if newest is None:
            return ()
        until = now + CLOCK_SKEW
        nights = golden_nights(connection, model, suite, newest.baseline_id, until=until) if drifts else []
    found = tuple(_answer(rule, newest, now) for rule in mine if rule.condition == "baseline_verdict")
    return (*found, *judge_drift(drifts, newest, nights, statistics or RegressionStatistics(), now))


def _answer(rule: GateRule, found: ComparisonRecord, now: datetime) -> GateResult:
    value = VALUES.get(found.outcome)
    seen = Observation(found.key, value, value, value) if value is not None else _unknown(found)
    result = judge(rule, [seen], model=found.model, suite=found.suite, now=now)
    reason = result.reason if result.verdict is GateVerdict.INCONCLUSIVE else found.reason
    return replace(result, run_at=found.at, reason=reason)


def _unknown(found: ComparisonRecord) -> Observation:
    return Observation(found.key, -math.inf, math.inf, None, found.reason)
