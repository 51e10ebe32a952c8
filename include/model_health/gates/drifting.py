"""The gate on slow drift: nights that each pass by themselves, and together move golden text away from health.

Owns which nights make a chart: those held against the baseline that counts now, in tonight's configuration, because a
harmless change of configuration moves the level by design. The first healthy ones are the reference. The chart and its
share of the alarm budget are `baseline.nightly`. Golden surprisal alone is charted: a mean over many prompts is close
enough to normal for the chart's run lengths, while the families' largest distances are not.

Where there are too few nights, or all of them gave the same number to the last bit, there is no chart and no answer:
then the comparison of each single night decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from model_health.baseline.answers import budget_of
from model_health.baseline.nightly import Standing, standing
from model_health.config.gates import GateRule
from model_health.config.regression import RegressionStatistics
from model_health.gates.judge import judge
from model_health.gates.observe import Observation
from model_health.gates.result import GateResult, RunEvidence
from model_health.store.index.comparisons import ComparisonRecord, GoldenNight


def judge_drift(
    rules: Sequence[GateRule],
    newest: ComparisonRecord,
    nights: Sequence[GoldenNight],
    statistics: RegressionStatistics,
    now: datetime,
) -> tuple[GateResult, ...]:
    """The answers of the rules over `baseline_drift`; none where no chart applies.

    Args:
        rules: those that cover this model and suite.
        newest: the comparison that tells which baseline and configuration count.
        nights: of that baseline, oldest first, `newest` among them.
        statistics: of the regression policy.
        now: the present.
    """
    alike = [night for night in nights if sorted(night.axes) == sorted(newest.axes)]
    charted = _charted(alike, statistics.history_nights)
    if not charted or charted[-1].key != newest.key:
        return ()  # tonight's golden text was not measured: the chart says nothing new
    found = standing([night.bits for night in charted], budget_of(statistics), statistics)
    return () if found is None else tuple(_answer(rule, newest, found, charted, now) for rule in rules)


def _charted(nights: Sequence[GoldenNight], history: int) -> list[GoldenNight]:
    """The reference, of healthy nights only, and every night after it."""
    charted: list[GoldenNight] = []
    for night in nights:
        if len(charted) >= history or night.outcome == "pass":
            charted.append(night)
    return charted


def _answer(
    rule: GateRule, newest: ComparisonRecord, found: Standing, nights: Sequence[GoldenNight], now: datetime
) -> GateResult:
    seen = Observation(newest.key, found.ratio, found.ratio, found.ratio)
    result = judge(rule, [seen], model=newest.model, suite=newest.suite, now=now)
    moved, begun = found.level - found.healthy.mean, nights[found.since]
    reason = (
        f"golden text costs {moved:+.3g} bits a token against the first {found.healthy.values} healthy nights since"
        f" {begun.at:%Y-%m-%d} ({len(nights) - found.since} nights); the chart is at {found.ratio:.2f} of its limit"
    )
    start = RunEvidence(begun.key, begun.bits, f"the movement begins here, on {begun.at.isoformat(timespec='minutes')}")
    return replace(result, reason=reason, run_at=newest.at, runs=(*result.runs, start))
