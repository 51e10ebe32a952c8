"""The policy's keys: every answer has a meaning, and nothing that was not shown may pass."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from model_health.config.regression import Answer, RegressionConfig, RegressionStatistics

ANSWERS = {str(answer): "fail" for answer in Answer} | {"identical": "pass"}
RULE: dict[str, Any] = {
    "uses": ["nightly"],
    "answers": ANSWERS,
    "tier": "critical",
    "owner": "us",
    "runbook": "changed-model",
    "reason": "x",
}


def config(**changes: Any) -> RegressionConfig:
    return RegressionConfig.model_validate({"rules": {"a": RULE | changes}})


def test_a_rule_is_named_by_its_key_and_found_by_use_model_and_suite() -> None:
    rules = {"a": RULE | {"models": "qwen-*"}, "b": RULE | {"suites": "core"}}
    found = RegressionConfig.model_validate({"rules": rules})
    first = found.rule_for("nightly", "qwen-1", "core")
    second = found.rule_for("nightly", "other", "core")
    assert first is not None
    assert second is not None
    assert (first.name, second.name) == ("a", "b")
    assert found.rule_for("nightly", "other", "smoke") is None
    assert found.rule_for("upgrade", "qwen-1", "core") is None


@pytest.mark.parametrize("answer", ["broken", "inconclusive", "not_comparable"])
def test_nothing_that_was_not_shown_may_pass(answer: str) -> None:
    with pytest.raises(ValidationError, match=f"answers.{answer} cannot be pass"):
        config(answers=ANSWERS | {answer: "pass"})


def test_identical_is_a_pass() -> None:
    with pytest.raises(ValidationError, match="identical is pass"):
        config(answers=ANSWERS | {"identical": "warn"})


@pytest.mark.parametrize("answer", sorted(ANSWERS))
def test_an_answer_without_a_meaning_is_refused(answer: str) -> None:
    with pytest.raises(ValidationError, match=f"answers lacks {answer}"):
        config(answers={name: outcome for name, outcome in ANSWERS.items() if name != answer})


@pytest.mark.parametrize(
    "changes",
    [{"uses": []}, {"uses": ["weekly"]}, {"tier": "high"}, {"answers": ANSWERS | {"fine": "pass"}}, {"more": 1}],
)
def test_what_nobody_knows_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)


@pytest.mark.parametrize(
    "wrong",
    [{"golden_margin_bits": 0.0}, {"drift_share": 1.0}, {"confidence": 0.5}, {"history_nights": 3}, {"power": True}],
)
def test_figures_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RegressionStatistics.model_validate(wrong)


def test_without_rules_nothing_is_covered() -> None:
    assert RegressionConfig().rule_for("nightly", "m", "core") is None
