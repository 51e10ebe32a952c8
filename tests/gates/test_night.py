"""A night is settled as a whole: its tests share one alarm budget, and only then a gate speaks of a comparison."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model_health.config.gates import GateRule
from model_health.config.regression import RegressionConfig
from model_health.config.settings import load_settings
from model_health.gates.compared import judge_comparison
from model_health.gates.night import night_of, settle_night, settled
from model_health.gates.result import GateVerdict
from model_health.store.index.comparisons import ComparisonRecord, comparisons_of_night, save_comparison
from model_health.store.index.index import Index
from support.monitor_inputs import ROOT, shipped

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
POLICY: RegressionConfig = shipped().gates.regression
RULE: GateRule = shipped().gates.rules["changed-model"]
NIGHT = night_of("nightly_regression", "n1")


def row(model: str = "a", **fields: Any) -> ComparisonRecord:
    given = ComparisonRecord(
        key=f"{model}/smoke/night",
        of_run=True,
        model=model,
        suite="smoke",
        at=NOW,
        baseline_id="1" * 32,
        candidate=model,
        purpose="nightly",
        answer="identical",
        finding="every state and every logit is bit-equal",
        outcome="pass",
        reason="identical",
        result_uri="file:///store/comparison.json",
        result_digest="sha256:1",
        night=NIGHT,
        p_values={"golden": 1.0, "logprob": 1.0},
    )
    return replace(given, **fields)


@pytest.fixture
def index(tmp_path: Path) -> Any:
    with Index.open(tmp_path / "index.db") as index:
        yield index


def keep(index: Index, *records: ComparisonRecord) -> None:
    with index.transaction("test") as connection:
        for record in records:
            save_comparison(connection, record)


def test_harm_that_many_models_of_the_night_explain_warns_and_harm_that_they_do_not_fails() -> None:
    def outcome(p: float) -> str:
        harmed = row("a", answer="degraded", finding="worse", outcome="fail", p_values={"golden": p})
        others = [row(f"m{number}", p_values={"golden": 1.0}) for number in range(30)]
        return settled([harmed, *others], POLICY)[0][1]

    assert outcome(1e-3) == "warn"
    assert outcome(1e-7) == "fail"


def test_what_is_no_matter_of_chance_is_not_screened_away() -> None:
    broken = row("a", answer="broken", finding="not finite", outcome="fail", moved=True)
    foreign = row("b", answer="changed", finding="moved", outcome="fail", axes=("weights",), moved=True)
    fine = row("c", answer="equivalent", finding="within tolerance", axes=("batch",), moved=False)
    assert [verdict for _, verdict, _ in settled([broken, foreign, fine], POLICY)] == ["fail", "fail", "pass"]


def test_a_night_without_comparisons_is_settled() -> None:
    assert settled([], POLICY) == []


def test_settling_is_written_once_and_touches_no_other_night(index: Index, tmp_path: Path) -> None:
    keep(index, row("a", answer="changed", finding="moved", outcome="fail", axes=("weights",), moved=True), row("b"))
    keep(index, row("c", night=night_of("nightly_regression", "n2")))
    settings = load_settings(
        {
            "MODEL_HEALTH_HOME": str(ROOT),
            "MODEL_HEALTH_INDEX_URL": f"sqlite:///{tmp_path / 'index.db'}",
            "MODEL_HEALTH_STORE_URI": str(tmp_path / "store"),
        }
    )
    for _ in range(2):
        done = settle_night("nightly_regression", "n1", settings=settings)
        assert done.summary() == {"night": NIGHT, "compared": 2, "counts": {"fail": 1, "pass": 1}}
    with index.reading("look") as connection:
        mine = comparisons_of_night(connection, NIGHT)
        other = comparisons_of_night(connection, night_of("nightly_regression", "n2"))
    assert [(one.model, one.outcome, one.screened) for one in mine] == [("a", "fail", True), ("b", "pass", True)]
    assert "not those that were accepted" in mine[0].reason
    assert [one.screened for one in other] == [False]


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        ("pass", GateVerdict.PASS),
        ("warn", GateVerdict.WARN),
        ("fail", GateVerdict.FAIL),
        ("inconclusive", GateVerdict.INCONCLUSIVE),
    ],
)
def test_the_gate_answers_what_the_policy_said(index: Index, outcome: str, verdict: GateVerdict) -> None:
    keep(index, row(outcome=outcome, reason="because", screened=True))
    (found,) = judge_comparison("a", "smoke", index, [RULE], NOW)
    assert (found.verdict, found.run_key, found.run_at) == (verdict, "a/smoke/night", NOW)
    assert "because" in found.reason


def test_the_newest_settled_run_counts_and_candidates_do_not(index: Index) -> None:
    later = NOW + timedelta(days=1)
    keep(index, row(screened=True), row(key="a/smoke/open", at=later, outcome="fail"))
    keep(index, row(key="a/smoke/candidate", of_run=False, night=None, at=later, outcome="fail"))
    assert [one.run_key for one in judge_comparison("a", "smoke", index, [RULE], NOW)] == ["a/smoke/night"]


def test_a_model_that_was_never_compared_has_no_answer(index: Index) -> None:
    assert judge_comparison("a", "smoke", index, [RULE], NOW) == ()


def test_a_rule_for_other_models_has_no_answer(index: Index) -> None:
    keep(index, row(screened=True))
    assert judge_comparison("a", "smoke", index, [RULE.model_copy(update={"models": "b*"})], NOW) == ()


@pytest.mark.parametrize("wrong", [{"for_runs": 2, "of_last": 2}, {"direction": "below", "warn": 2.0, "fail": 1.0}])
def test_the_condition_is_judged_by_the_newest_comparison_alone(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="newest comparison alone"):
        GateRule.model_validate({**RULE.model_dump(), **wrong})
