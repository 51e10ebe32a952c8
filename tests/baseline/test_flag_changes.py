"""McNemar's test over flags: exact, one-sided, and honest about how few pairs there are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from model_health.baseline.flag_changes import appearances_needed, flag_change

PROMPTS = tuple(f"p{n}" for n in range(60))


@pytest.mark.parametrize(("discordant", "needed"), [(10, 9), (20, 15), (50, 32)])
def test_at_five_per_cent_it_takes_nine_of_ten_fifteen_of_twenty_and_thirty_two_of_fifty(
    discordant: int, needed: int
) -> None:
    assert appearances_needed(discordant, level=0.05) == needed
    for appeared in (needed, needed - 1):
        after, before = PROMPTS[:appeared], PROMPTS[appeared:discordant]
        assert flag_change("loop_detected", PROMPTS, before, after, level=0.05).worse(0.05) == (appeared == needed)


@given(st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_it_agrees_with_statsmodels_exact_test(appeared: int, vanished: int) -> None:
    change = flag_change("x", PROMPTS, PROMPTS[:vanished], PROMPTS[vanished : vanished + appeared], level=0.05)
    two_sided = mcnemar([[0, vanished], [appeared, 0]], exact=True).pvalue
    if appeared > vanished:
        assert change.p == pytest.approx(float(two_sided) / 2)
    assert change.discordant == appeared + vanished


def test_prompts_that_agree_say_nothing() -> None:
    change = flag_change("x", PROMPTS, PROMPTS, PROMPTS, level=0.05)
    assert (change.p, change.discordant, change.decided) == (1.0, 0, False)


def test_three_pairs_cannot_decide_and_it_says_how_many_would() -> None:
    change = flag_change("x", PROMPTS, (), PROMPTS[:3], level=0.05)
    assert not change.decided
    assert not change.worse(0.05)
    assert change.needed == 5
    assert flag_change("x", PROMPTS, (), PROMPTS[:5], level=0.05).worse(0.05)


def test_a_flag_outside_the_given_prompts_does_not_count() -> None:
    assert flag_change("x", PROMPTS[:2], (), {"p1", "p7"}, level=0.05).appeared == ("p1",)


@given(st.integers(0, 30), st.integers(0, 29))
@settings(max_examples=40, deadline=None)
def test_one_more_appearance_is_never_less_evidence(appeared: int, vanished: int) -> None:
    def p(count: int) -> float:
        return flag_change("x", PROMPTS, PROMPTS[30 : 30 + vanished], PROMPTS[:count], level=0.05).p

    assert p(appeared) <= p(max(0, appeared - 1))
