"""From a comparison to a trial: what counts as heard of, whose name is right, and why a fault was missed."""

from __future__ import annotations

import pytest

from model_health.baseline.attribution import Place
from model_health.baseline.comparison import Comparison
from model_health.baseline.finite import NonFinite
from model_health.config.regression import Answer
from model_health.selftest.faults_bits import WeightBit
from model_health.selftest.judge import attributed_to, judge, judge_harmless
from model_health.selftest.result import Trial

FAULT = WeightBit(3, "sign")
LAYER = Place("layer.3", "band", "a", 0, 1, "beyond")


def judged(found: Comparison, *, excuse: str | None = None, inert: bool = False) -> Trial:
    return judge(FAULT, "other", found, place="layer.3", excuse=excuse, inert=inert)


@pytest.mark.parametrize("answer", list(Answer))
def test_an_answer_that_no_policy_passes_is_heard_of(answer: Answer) -> None:
    heard = answer in {Answer.CHANGED, Answer.DEGRADED, Answer.BROKEN, Answer.NOT_COMPARABLE}
    trial = judged(Comparison(answer, "why"))
    assert (trial.detected, trial.delay_nights) == (heard, 1 if heard else None)
    assert (trial.missed is None) == heard
    assert judge_harmless("x", Comparison(answer, "why")).false_alarm == (
        answer not in {Answer.IDENTICAL, Answer.EQUIVALENT}
    )


def test_an_undecided_harm_is_heard_of_where_something_moved_for_certain() -> None:
    assert judged(Comparison(Answer.INCONCLUSIVE, "why", moved=True)).detected
    assert not judged(Comparison(Answer.INCONCLUSIVE, "why")).detected


@pytest.mark.parametrize(("state", "placement"), [("layer.3", "right"), ("layer.4", "wrong"), (None, "unnamed")])
def test_a_name_is_right_wrong_or_not_given(state: str | None, placement: str) -> None:
    place = Place(state, "band", "a", 0, 1, "beyond")
    assert judged(Comparison(Answer.CHANGED, "why", place=place)).placement == placement


def test_where_numbers_stop_being_finite_is_a_name_too() -> None:
    assert attributed_to(Comparison(Answer.BROKEN, "", non_finite=NonFinite("layer.3", "a", None, None))) == "layer.3"
    assert attributed_to(Comparison(Answer.BROKEN, "", non_finite=NonFinite("logits", "a", 0, 1))) == "head"
    assert attributed_to(Comparison(Answer.CHANGED, "", place=LAYER)) == "layer.3"
    assert attributed_to(Comparison(Answer.IDENTICAL, "")) is None


def test_a_miss_says_why_and_is_excused_where_nothing_could_be_seen() -> None:
    near = Comparison(Answer.EQUIVALENT, "why", ratios={"logprob": 0.5, "sketch": 0.25})
    assert judged(near).missed == "reaches 0.5 of the limit at most: not distinguishable from harmless variation"
    assert not judged(near).excused
    assert judged(near, inert=True).excused
    assert "not one bit" in str(judged(near, inert=True).missed)
    assert judged(near, excuse="it is mathematically nothing").missed == "it is mathematically nothing"
    same = judge(FAULT, "same", near, place="layer.3", excuse=None, inert=True)
    assert not same.excused
