"""The alarm budget: the level that it leaves, and that the screening keeps its promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.baseline.budget import AlarmBudget, harmonic, rank_p, screen, upper_bound

P = st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=20)


def test_the_level_follows_from_the_budget() -> None:
    one = AlarmBudget(nights=90, drift_share=0.25, families=7, models=1, charts=1)
    # 3/4 of 1/90, times c(7) / 7, because a model whose families fall together may be rejected at that many thresholds.
    assert one.level == pytest.approx(0.75 / 90 * (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5 + 1 / 6 + 1 / 7) / 7)
    assert one.run_length == pytest.approx(360.0)
    assert AlarmBudget(models=20).allowed(365) == pytest.approx(365 * 20 / 90)


@given(models=st.integers(1, 200), families=st.integers(1, 12), charts=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_no_part_of_the_budget_is_spent_twice(models: int, families: int, charts: int) -> None:
    budget = AlarmBudget(models=models, families=families, charts=charts)
    by_tests = families * budget.level / harmonic(families * models)  # the most that screening lets through
    by_drift = charts / budget.run_length
    assert by_tests + by_drift <= 1 / budget.nights + 1e-12
    assert budget.level <= 1 / budget.nights


@pytest.mark.parametrize("wrong", [{"nights": 0.5}, {"drift_share": 1.0}, {"models": 0}, {"charts": 0}])
def test_a_budget_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="budget"):
        AlarmBudget(**wrong)  # type: ignore[arg-type]


@given(P)
@settings(max_examples=40, deadline=None)
def test_screening_keeps_the_order_of_the_p_values_and_never_lowers_one(p_values: list[float]) -> None:
    done = screen(dict(enumerate(p_values)), level=0.05)
    ordered = sorted(done.values(), key=lambda each: each.p)
    assert [each.adjusted for each in ordered] == sorted(each.adjusted for each in ordered)
    assert all(each.adjusted >= each.p - 1e-12 for each in ordered)
    assert all(each.rejected == (each.adjusted <= 0.05) for each in ordered)


@given(P, st.integers(0, 19), st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_a_smaller_p_value_never_saves_another_hypothesis(p_values: list[float], which: int, factor: float) -> None:
    lower = list(p_values)
    lower[which % len(lower)] *= factor
    before, after = (screen(dict(enumerate(values)), level=0.05) for values in (p_values, lower))
    assert all(after[key].rejected for key in before if before[key].rejected)


def test_a_healthy_fleet_pages_at_most_as_often_as_promised_also_where_families_move_together() -> None:
    budget = AlarmBudget(families=7, models=20, nights=10.0)
    generator = np.random.default_rng(2)
    nights, bad = 1500, 0
    for _ in range(nights):
        shared = generator.uniform(size=20).repeat(7)
        own = generator.uniform(size=140)
        p_values = np.where(generator.uniform(size=140) < 0.5, shared, own)
        bad += any(each.rejected for each in screen(dict(enumerate(p_values)), level=budget.level).values())
    assert bad / nights <= budget.level + 4 * np.sqrt(budget.level / nights)


def test_nothing_to_screen_is_nothing() -> None:
    assert screen({}, level=0.01) == {}


def test_a_rank_among_n_cannot_be_rarer_than_one_in_n_and_one() -> None:
    assert rank_p(9.0, (1.0, 2.0, 3.0)) == 0.25
    assert rank_p(2.0, (1.0, 2.0, 3.0)) == 0.75
    assert rank_p(0.0, ()) == 1.0


def test_the_upper_bound_of_none_in_two_hundred_is_one_and_a_half_per_cent() -> None:
    assert upper_bound(0, 200) == pytest.approx(1 - 0.05 ** (1 / 200))
    assert upper_bound(200, 200) == 1.0
    assert upper_bound(0, 0) == 1.0
