"""What an answer means for a use: pass, warn, fail or inconclusive, with reasons. Owns that mapping, pure.

The rules are `regression.rules` of gates.yaml. A finding beside the answer can only worsen the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from model_health.baseline.budget import Screened
from model_health.baseline.comparison import Comparison
from model_health.config.alerting import Tier
from model_health.config.regression import Answer, Outcome, RegressionConfig, RegressionRule, Use

SEVERITY: Final[Mapping[Outcome, int]] = {"pass": 0, "inconclusive": 1, "warn": 2, "fail": 3}


@dataclass(frozen=True)
class RegressionVerdict:
    """A verdict on one model on one suite for one use.

    Args:
        outcome: of the rule, before its tier.
        effective: what its tier lets through: a supporting rule warns at most, an advisory one passes what it says on.
        rule, tier, owner, runbook: of the rule; None, advisory and empty where no rule covers the use.
        page_now: whether no further night is awaited: a broken model, foreign weights, other bits under the same key.
        reasons: at least one sentence, the deciding one first.
    """

    outcome: Outcome
    effective: Outcome
    answer: Answer
    use: Use
    rule: str | None
    tier: Tier | None
    owner: str
    runbook: str
    page_now: bool
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "answer": str(self.answer), "reasons": list(self.reasons)}


def judge(
    comparison: Comparison,
    config: RegressionConfig,
    *,
    use: Use,
    model: str,
    suite: str,
    screened: Mapping[str, Screened] | None = None,
) -> RegressionVerdict:
    """Apply the first rule that covers this use, model and suite.

    Args:
        comparison: the answer and its evidence.
        config: the policy.
        use: what the comparison is for.
        model: its name in the configuration.
        suite: the suite's name.
        screened: of this model's hypotheses (`Comparison.p_values`), screened together with the night's other models;
            a *degraded* that does not survive it warns instead of failing. None: this model was compared alone.
    """
    rule = config.rule_for(use, model, suite)
    if rule is None:
        why = f"no regression rule of gates.yaml covers the use '{use}' for {model} on {suite}"
        return RegressionVerdict(
            "inconclusive", "inconclusive", comparison.answer, use, None, None, "", "", False, (why,)
        )
    base = rule.answers[comparison.answer]
    reasons = [(base, f"{comparison.answer}: {comparison.reason}")]
    if comparison.answer is Answer.DEGRADED and base == "fail" and not _survives(screened):
        reasons[0] = ("warn", f"{reasons[0][1]}; does not survive the screening of the night's families and models")
    urgent = comparison.answer is Answer.BROKEN
    for outcome, finding in _findings(rule, comparison):
        reasons.append((outcome, finding))
        urgent = urgent or outcome == "fail"
    reasons.sort(key=lambda reason: -SEVERITY[reason[0]])
    outcome = reasons[0][0]
    return RegressionVerdict(
        outcome=outcome,
        effective=_through(rule.tier, outcome),
        answer=comparison.answer,
        use=use,
        rule=rule.name,
        tier=rule.tier,
        owner=rule.owner,
        runbook=rule.runbook,
        page_now=urgent and outcome == "fail" and rule.tier == "critical",
        reasons=tuple(text for _, text in reasons),
    )


def _findings(rule: RegressionRule, comparison: Comparison) -> list[tuple[Outcome, str]]:
    found: list[tuple[Outcome, str]] = []
    if rule.weights_differ is not None and comparison.weights_differ:
        found.append((rule.weights_differ, "the weights in memory are not those that were accepted"))
    if rule.same_key_differs is not None and comparison.same_key_differs:
        found.append((rule.same_key_differs, "the same configuration gives other bits than the accepted one"))
    undecided = comparison.answer is Answer.INCONCLUSIVE and comparison.moved
    if rule.moved_undecided is not None and undecided:
        found.append((rule.moved_undecided, "it moved beyond tolerance for certain; only harm is undecided"))
    return found


def _survives(screened: Mapping[str, Screened] | None) -> bool:
    return screened is None or "golden" not in screened or screened["golden"].rejected


def _through(tier: Tier, outcome: Outcome) -> Outcome:
    if tier == "supporting" and outcome == "fail":
        return "warn"
    return "pass" if tier == "advisory" else outcome
