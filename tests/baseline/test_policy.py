"""What an answer means for a use: the shipped policy, its tiers, and findings that only worsen a verdict."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from model_health.baseline.budget import Screened
from model_health.baseline.comparison import Comparison
from model_health.baseline.policy import SEVERITY, RegressionVerdict, judge
from model_health.config.gates import GatesConfig
from model_health.config.regression import Answer, RegressionConfig, Use
from model_health.config.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[2]
GATES = read_yaml(ROOT / "configs" / "gates.yaml", relative_to=ROOT).data
SHIPPED = GatesConfig.model_validate(GATES).regression
USES: tuple[Use, ...] = get_args(Use)


def verdict(answer: Answer, use: Use = "nightly", config: RegressionConfig = SHIPPED, **more: Any) -> RegressionVerdict:
    screened = more.pop("screened", None)
    comparison = Comparison(answer, "because", **more)
    found = judge(comparison, config, use=use, model="m", suite="core", screened=screened)
    json.dumps(found.to_json())
    assert found.reasons
    return found


@pytest.mark.parametrize(
    ("answer", "nightly", "revision", "quantization", "upgrade"),
    [
        (Answer.IDENTICAL, "pass", "pass", "pass", "pass"),
        (Answer.EQUIVALENT, "pass", "pass", "pass", "pass"),
        (Answer.CHANGED, "fail", "warn", "pass", "fail"),
        (Answer.DEGRADED, "fail", "fail", "fail", "fail"),
        (Answer.BROKEN, "fail", "fail", "fail", "fail"),
        (Answer.INCONCLUSIVE, "inconclusive", "inconclusive", "inconclusive", "inconclusive"),
        (Answer.NOT_COMPARABLE, "inconclusive", "inconclusive", "inconclusive", "fail"),
    ],
)
def test_the_shipped_policy(answer: Answer, nightly: str, revision: str, quantization: str, upgrade: str) -> None:
    outcomes = {"nightly": nightly, "revision": revision, "quantization": quantization, "upgrade": upgrade}
    for use in USES:
        assert verdict(answer, use, axes=("batch",)).outcome == outcomes[use]


def test_other_bits_under_the_same_key_page_at_once() -> None:
    found = verdict(Answer.CHANGED, moved=True)
    assert (found.outcome, found.page_now) == ("fail", True)
    assert any("other bits" in reason for reason in found.reasons)
    assert not verdict(Answer.CHANGED, moved=True, axes=("batch",)).page_now


def test_foreign_weights_fail_a_night_that_is_numerically_equal() -> None:
    found = verdict(Answer.EQUIVALENT, axes=("weights",), moved=False)
    assert (found.outcome, found.page_now) == ("fail", True)
    assert "not those that were accepted" in found.reasons[0]
    assert verdict(Answer.EQUIVALENT, "revision", axes=("weights",), moved=False).outcome == "pass"


def test_undecided_harm_does_not_hide_a_certain_change() -> None:
    assert verdict(Answer.INCONCLUSIVE, moved=True, axes=("batch",)).outcome == "fail"
    assert verdict(Answer.INCONCLUSIVE, "upgrade", moved=True, axes=("libraries",)).outcome == "warn"
    assert verdict(Answer.INCONCLUSIVE, moved=None, axes=("batch",)).outcome == "inconclusive"


def test_broken_pages_and_degraded_waits_for_the_screening() -> None:
    assert verdict(Answer.BROKEN, moved=True, axes=("batch",)).page_now
    rejected, kept = Screened(1e-6, 1e-3, True), Screened(0.005, 0.4, False)
    assert verdict(Answer.DEGRADED, axes=("batch",), screened={"golden": rejected}).outcome == "fail"
    weaker = verdict(Answer.DEGRADED, axes=("batch",), screened={"golden": kept})
    assert weaker.outcome == "warn"
    assert "does not survive the screening" in weaker.reasons[0]


@pytest.mark.parametrize(("tier", "effective"), [("critical", "fail"), ("supporting", "warn"), ("advisory", "pass")])
def test_a_tier_says_what_a_failure_means(tier: str, effective: str) -> None:
    raw = SHIPPED.model_dump()
    raw["rules"]["nightly"]["tier"] = tier
    found = verdict(Answer.BROKEN, config=RegressionConfig.model_validate(raw))
    assert (found.outcome, found.effective) == ("fail", effective)
    assert found.page_now == (tier == "critical")


def test_a_use_that_no_rule_covers_is_inconclusive() -> None:
    found = verdict(Answer.IDENTICAL, config=RegressionConfig())
    assert (found.outcome, found.rule) == ("inconclusive", None)
    assert "no regression rule" in found.reasons[0]


def test_the_first_rule_that_covers_a_model_decides() -> None:
    raw = SHIPPED.model_dump()
    special = {**raw["rules"]["nightly"], "models": "m*", "name": "own"}
    special["answers"] = {**special["answers"], Answer.CHANGED: "warn"}
    special["same_key_differs"] = None
    config = RegressionConfig.model_validate({"rules": {"own": special, **raw["rules"]}})
    assert verdict(Answer.CHANGED, config=config, axes=("batch",)).rule == "own"
    assert verdict(Answer.CHANGED, config=config, axes=("batch",)).outcome == "warn"
    other = judge(Comparison(Answer.CHANGED, "x"), config, use="nightly", model="other", suite="core")
    assert other.rule == "nightly"


def test_no_finding_ever_improves_a_verdict() -> None:
    for answer, use, axes, moved in product(Answer, USES, ((), ("weights",), ("batch",)), (None, False, True)):
        found = verdict(answer, use, axes=axes, moved=moved)
        assert SEVERITY[found.outcome] >= SEVERITY[SHIPPED.rules[found.rule or ""].answers[answer]]
