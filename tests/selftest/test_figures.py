"""Counting: what is promised, what is excused, and exact intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model_health.selftest.figures import figures, rate
from model_health.selftest.markdown import render
from model_health.selftest.record import record_of
from model_health.selftest.result import HarmlessTrial
from support.self_tests import missed, self_test_of, trial


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 200, 0.0, 0.01828), (86, 86, 0.95801, 1.0), (45, 47, 0.85460, 0.99481)],
)
def test_intervals_are_those_of_clopper_and_pearson(hits: int, of: int, low: float, high: float) -> None:
    found = rate([True] * hits + [False] * (of - hits))
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert f"{hits} of {of}" in str(found)


def test_nothing_tried_is_no_rate() -> None:
    assert str(rate([])) == "none tried"


def test_everything_caught_keeps_every_promise() -> None:
    found = figures(self_test_of())
    assert found.shortfalls == ()
    assert found.healthy_upper == pytest.approx(1 - 0.05 ** (1 / 3))


def test_one_miss_under_the_same_configuration_breaks_the_promise_even_where_rounding_swallows_it() -> None:
    found = figures(self_test_of(trial(), missed(inert=True)))
    assert found.same.hits == 1
    assert any("same configuration were missed" in line for line in found.shortfalls)


def test_a_wrong_layer_under_the_same_configuration_breaks_the_promise() -> None:
    found = figures(self_test_of(trial(attributed="layer.2", placement="wrong")))
    assert any("not placed" in line for line in found.shortfalls)


def test_single_bits_may_hide_under_another_configuration_and_loud_faults_may_not() -> None:
    loud = missed("scaled by 2, layer 1", kind="scaled layer", configuration="other")
    assert figures(self_test_of(trial(), replace(loud, subtle=True))).shortfalls == ()
    assert any("loud faults" in line for line in figures(self_test_of(trial(), loud)).shortfalls)
    assert figures(self_test_of(trial(), replace(loud, excused=True))).shortfalls == ()


def test_in_sixteen_bits_misses_under_another_configuration_are_counted_and_not_promised_but_a_wrong_place_is() -> None:
    loud = missed("scaled by 2, layer 1", kind="scaled layer", configuration="other")
    half = self_test_of(trial(), loud, dtype="bfloat16")
    assert (figures(half).loud.hits, figures(half).loud.of, figures(half).shortfalls) == (0, 1, ())
    assert "what harmless variation hides in bfloat16 is counted, not promised" in render([half])
    wrong = trial(configuration="other", attributed="layer.2", placement="wrong")
    assert figures(self_test_of(wrong, dtype="bfloat16")).shortfalls == ("1 faults were given a wrong place",)


def test_a_fault_of_one_token_may_be_unnamed_but_not_named_wrong() -> None:
    one = trial(configuration="other", one_token=True, attributed=None, placement="unnamed")
    assert figures(self_test_of(one)).shortfalls == ()
    wrong = replace(one, attributed="layer.2", placement="wrong")
    assert figures(self_test_of(wrong)).shortfalls == ("1 faults were given a wrong place",)


def test_a_false_alarm_and_a_model_that_is_not_restored_break_promises() -> None:
    alarm = HarmlessTrial("healthy 1", ("batch",), answer="changed", false_alarm=True, reason="beyond | tolerance")
    test = self_test_of(healthy=(alarm,), restored=False)
    found = figures(test)
    assert found.false_alarms.hits == 1
    assert any("false alarms" in line for line in found.shortfalls)
    assert "nothing of this can be trusted" in found.shortfalls[0]
    page = render([test])
    assert "beyond | tolerance" in page
    assert "NOT what they were" in page


def test_what_a_model_cannot_have_counts_nowhere_and_is_listed() -> None:
    test = self_test_of(trial(), missed("one head zeroed", applicable=False, missed=None, reason="it has no heads"))
    assert figures(test).same.of == 1
    assert "one head zeroed (same): not tried, it has no heads" in render([test])
    record = record_of(test, figures(test))
    assert [one.raised for one in record.trials] == [True, None, False, False, False, False]
    assert (record.suite, record.passed) == ("smoke", True)


def test_the_page_names_every_miss_with_its_reason_and_every_fault() -> None:
    hidden = missed(configuration="other", subtle=True, ratio=0.25)
    page = render([self_test_of(trial(), hidden), self_test_of(dtype="bfloat16")])
    assert "- sign bit of one weight, layer 1 (other): too small" in page
    assert "equivalent (missed)" in page
    assert page.count("## tiny, ") == 2
    assert "0 false alarms, so the rate is at most 63.16%" in page
