"""What the clock tells: no valid report for too long, and an outbox that does not drain."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from model_health.config.gates import GateRule
from model_health.gates.freshness import EXPECTED, Expected, judge_check, judge_expected, judge_outbox
from model_health.gates.result import GateResult
from support.gate_facts import NOW, a_rule

HOUR = timedelta(hours=1)
RULE = a_rule(condition="no_report", warn=7200.0, fail=18000.0)
PAIR = ("m", "s")


def report_age(hours: float | None, first: datetime | None = None) -> str:
    last = {} if hours is None else {PAIR: NOW - hours * HOUR}
    looked = {} if first is None else {("m", "s", "a-gate"): first}
    (found,) = judge_expected([RULE], "no_report", Expected([PAIR], last), looked, NOW)
    return str(found.verdict)


def judged(rules: list[GateRule], condition: Any, expected: Expected, **looked: Any) -> list[GateResult]:
    return list(judge_expected(rules, condition, expected, looked, NOW))


@pytest.mark.parametrize(
    ("hours", "verdict"), [(0.5, "pass"), (2.0, "pass"), (2.1, "warn"), (5.0, "warn"), (5.1, "fail")]
)
def test_the_age_of_the_last_valid_report_is_judged(hours: float, verdict: str) -> None:
    assert report_age(hours) == verdict


def test_a_model_that_never_had_a_valid_report_counts_from_when_it_was_first_looked_for() -> None:
    assert report_age(None) == "pass"
    assert report_age(None, first=NOW - 3 * HOUR) == "warn"
    assert report_age(None, first=NOW - 300 * HOUR) == "fail"


def test_a_report_from_a_clock_that_ran_ahead_is_not_negative_news() -> None:
    (found,) = judged([RULE], "no_report", Expected([PAIR], {PAIR: NOW + HOUR}))
    assert (str(found.verdict), found.value) == ("pass", 0.0)


def test_every_scheduled_pair_is_judged_by_every_rule_that_covers_it() -> None:
    rules = [RULE, a_rule(name="strict", condition="no_report", models="m", fail=1.0), a_rule()]
    found = judged(rules, "no_report", Expected([PAIR, ("n", "s"), ("m", "t")], {}))
    assert [(one.model, one.suite, one.gate) for one in found] == [
        ("m", "s", "a-gate"), ("n", "s", "a-gate"), ("m", "t", "a-gate"), ("m", "s", "strict"), ("m", "t", "strict"),
    ]  # fmt: skip


def test_the_reason_tells_the_age_in_words() -> None:
    reasons = [
        judged([RULE], "no_report", Expected([PAIR], {PAIR: NOW - timedelta(seconds=seconds)}))[0].reason
        for seconds in (5, 600, 9000, 300_000)
    ]
    assert reasons == [
        "the last valid report is 5 s old", "the last valid report is 10 min old", "the last valid report is 2.5 h old",
        "the last valid report is 3.5 days old",
    ]  # fmt: skip


def test_the_oldest_waiting_item_of_any_target_counts() -> None:
    rule = a_rule(condition="outbox_stuck", warn=3600.0, fail=14400.0)
    (found,) = judge_outbox([rule], {"prometheus": NOW - 5 * HOUR, "datadog": NOW - HOUR / 2}, NOW)
    assert (str(found.verdict), found.value, found.model) == ("fail", 18000.0, "all")
    assert found.reason == "the oldest item has been waiting for 5.0 h for prometheus"
    (empty,) = judge_outbox([rule], {}, NOW, held={})
    assert (str(empty.verdict), empty.reason) == ("pass", "nothing waits")


def test_numbers_of_a_run_that_nobody_validated_are_an_outbox_that_is_stuck_for_a_reason_of_its_own() -> None:
    rule = a_rule(condition="outbox_stuck", warn=3600.0, fail=14400.0)
    held = {"datadog": NOW - HOUR / 60, "prometheus": NOW - 5 * HOUR}
    (found,) = judge_outbox([rule], {}, NOW, held=held)
    assert (str(found.verdict), found.value) == ("fail", 18000.0)
    assert found.reason == "a run was not validated, and its numbers have been held for 5.0 h for prometheus"
    (both,) = judge_outbox([rule], {"local": NOW - 2 * HOUR}, NOW, held=held)
    assert both.reason.startswith("the oldest item has been waiting for 2.0 h for local; a run was not validated")
    (moments,) = judge_outbox([rule], {}, NOW, held={"prometheus": NOW - HOUR / 60})
    assert (str(moments.verdict), moments.value) == ("pass", 60.0)


@pytest.mark.parametrize("condition", sorted(EXPECTED))
def test_each_thing_that_is_expected_is_judged_by_its_own_rules_alone(condition: Any) -> None:
    rules = [a_rule(name=name.replace("_", "-"), condition=name, warn=3600.0, fail=7200.0) for name in sorted(EXPECTED)]
    found = judged(rules, condition, Expected([PAIR], {PAIR: NOW - 1.5 * HOUR}))
    assert [(one.gate, str(one.verdict)) for one in found] == [(condition.replace("_", "-"), "warn")]
    assert EXPECTED[condition] in found[0].reason


def test_what_cannot_be_told_is_inconclusive_and_harms_nobody_else() -> None:
    rule = a_rule(condition="no_comparison", fail=3600.0)
    expected = Expected([PAIR], {PAIR: NOW - 2 * HOUR}, {("n", "s"): "the store does not answer"})
    found = judged([rule], "no_comparison", expected)
    assert [(one.model, str(one.verdict)) for one in found] == [("m", "fail"), ("n", "inconclusive")]
    assert (found[1].value, found[1].reason) == (None, "the store does not answer")


def test_whoever_looks_again_says_for_how_long_nobody_did() -> None:
    rules = [a_rule(condition="no_check", warn=2700.0, fail=7200.0), RULE]
    verdicts = []
    for last in (None, NOW - HOUR / 4, NOW - HOUR, NOW - 3 * HOUR, NOW + HOUR):
        (found,) = judge_check(rules, last, NOW)
        verdicts.append((str(found.verdict), found.value))
    assert verdicts == [("pass", 0.0), ("pass", 900.0), ("warn", 3600.0), ("fail", 10800.0), ("pass", 0.0)]
    assert judge_check([RULE], None, NOW) == ()
