"""Evaluates all gates of one model on one suite over its last runs: reads the index once, judges each rule.

Owns the order of the steps. It changes nothing and tells nobody; what follows from a verdict is `alerting`'s matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from model_health.config.gates import GateRule
from model_health.config.regression import RegressionStatistics
from model_health.gates.compared import judge_comparison
from model_health.gates.evidence import read_runs
from model_health.gates.judge import judge
from model_health.gates.locate import Locator
from model_health.gates.observe import RunFacts, observe
from model_health.gates.result import GateResult, GateVerdict
from model_health.gates.rules import metrics_of
from model_health.store.index.index import Index


def evaluate(
    model: str,
    suite: str,
    index: Index,
    rules: Sequence[GateRule],
    now: datetime,
    *,
    locator: Locator | None = None,
    statistics: RegressionStatistics | None = None,
) -> tuple[GateResult, ...]:
    """The answer of every rule that covers this model and suite and is judged by runs; by comparisons first.

    Args:
        model: its name.
        suite: the canary suite.
        index: open.
        rules: all of them; those by the clock are left to `gates.freshness`.
        now: the present, in UTC.
        locator: finds the first layer and step in the reports of prompts at fault; None leaves them out.
        statistics: of the regression policy, for drift; the shipped figures if None.
    """
    compared = judge_comparison(model, suite, index, rules, now, statistics)
    mine = [rule for rule in rules if rule.covers(model, suite) and not (rule.by_clock or rule.by_comparison)]
    if not mine:
        return compared
    last = max(rule.of_last for rule in mine)
    facts = read_runs(index, model, suite, last=last, metrics=metrics_of(mine), now=now)
    # First, as the last run that was judged is what an answer about gates as a whole speaks of.
    return (*compared, *(_answer(rule, facts, model, suite, now, locator) for rule in mine))


def _answer(
    rule: GateRule, facts: tuple[RunFacts, ...], model: str, suite: str, now: datetime, locator: Locator | None
) -> GateResult:
    result = judge(rule, [observe(rule, run) for run in facts], model=model, suite=suite, now=now)
    result = replace(result, run_at=facts[0].started_at if facts else None)
    if locator is None or not result.prompts or result.verdict not in (GateVerdict.WARN, GateVerdict.FAIL):
        return result
    breached = next(run.run_key for run in result.runs if run.breach in ("warn", "fail"))
    return replace(result, place=locator.place(rule, breached, result.prompts))
