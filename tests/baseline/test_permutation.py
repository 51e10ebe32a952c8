"""The sign-flip test: as scipy has it, honest under its hypothesis, and silent about what it cannot know."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from statsmodels.stats.power import TTestPower

from model_health.baseline import permutation
from model_health.baseline.permutation import clusters_needed, fewest_clusters, mean_effect, sign_flip

VALUES = st.lists(st.floats(-10, 10).map(lambda value: round(value, 3)), min_size=2, max_size=9)


@given(values=VALUES, margin=st.sampled_from([0.0, 0.5, -1.25]))
@settings(max_examples=40, deadline=None)
def test_it_agrees_with_scipys_exact_count(values: list[float], margin: float) -> None:
    shifted = (np.asarray(values) - margin,)
    for side in ("greater", "less"):
        whole = permutation_test(shifted, np.mean, permutation_type="samples", alternative=side, n_resamples=10_000)
        assert sign_flip(values, margin=margin, side=side) == pytest.approx(float(whole.pvalue))  # type: ignore[arg-type]


def test_draws_agree_with_the_exact_count(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(0.4, 1.0, 30).tolist()
    exact = sign_flip(values)
    monkeypatch.setattr(permutation, "EXACT", 4)
    drawn = sign_flip(values)
    assert 0.0 < exact < 0.2
    assert abs(drawn - exact) < 5 * math.sqrt(exact / permutation.RESAMPLES)


def test_p_values_under_the_hypothesis_are_not_too_small() -> None:
    generator = np.random.default_rng(11)
    p_values = np.array([sign_flip(generator.standard_t(3, size=10).tolist()) for _ in range(2000)])
    for level in (0.01, 0.05, 0.2, 0.5):
        # Super-uniform: at most `level`, up to four deviations of a rate over 2,000 tries.
        assert (p_values <= level).mean() <= level + 4 * math.sqrt(level * (1 - level) / 2000)


@given(values=VALUES)
@settings(max_examples=40, deadline=None)
def test_no_p_value_is_below_what_so_few_pairs_can_show(values: list[float]) -> None:
    assert 2.0 ** -len(values) <= sign_flip(values) <= 1.0


@given(values=VALUES, shift=st.floats(0.1, 5))
@settings(max_examples=40, deadline=None)
def test_a_larger_margin_is_never_easier_to_exceed(values: list[float], shift: float) -> None:
    assert sign_flip(values, margin=shift) >= sign_flip(values)


def test_nothing_and_one_pair_decide_nothing() -> None:
    assert sign_flip([]) == 1.0
    assert sign_flip([3.0]) == 0.5
    assert sign_flip([0.0] * 8) == 1.0


def test_a_value_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        sign_flip([1.0, math.nan])


def test_an_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    hits = 0
    for _ in range(1000):
        effect = mean_effect(generator.normal(0.3, 1.0, 12).tolist(), confidence=0.95, level=0.05, power=0.8)
        hits += effect.low <= 0.3 <= effect.high
    assert 925 <= hits <= 975


def test_the_detectable_effect_is_found_with_the_stated_power() -> None:
    generator = np.random.default_rng(8)
    true = mean_effect([-1.0, 1.0] * 10, confidence=0.95, level=0.05, power=0.8)
    size = true.detectable / true.sd
    found = sum(sign_flip(generator.normal(size, 1.0, 20).tolist()) <= 0.05 for _ in range(400))
    assert 0.72 <= found / 400 <= 0.88


def test_too_few_clusters_detect_nothing_however_large() -> None:
    effect = mean_effect([9.0, 9.1, 9.2], confidence=0.95, level=0.05, power=0.8)
    assert effect.detectable == math.inf
    assert mean_effect([9.0], confidence=0.95, level=0.05, power=0.8).low == -math.inf
    with pytest.raises(ValueError, match="at least one"):
        mean_effect([], confidence=0.95, level=0.05, power=0.8)


@pytest.mark.parametrize(("level", "fewest"), [(0.5, 1), (0.05, 5), (0.01, 7), (1 / 1024, 10)])
def test_the_fewest_clusters_follow_from_the_smallest_p_value(level: float, fewest: int) -> None:
    assert fewest_clusters(level) == fewest
    assert sign_flip([1.0] * fewest) <= level
    assert sign_flip([1.0] * (fewest - 1)) > level


@pytest.mark.parametrize("size", [0.2, 0.5, 0.8])
def test_the_clusters_needed_are_those_of_the_t_test(size: float) -> None:
    exact = TTestPower().solve_power(effect_size=size, alpha=0.05, power=0.8, alternative="larger")
    needed = clusters_needed(size, 1.0, level=0.05, power=0.8)
    assert needed is not None
    assert abs(needed - exact) <= 1.0


def test_no_number_of_clusters_decides_no_effect() -> None:
    assert clusters_needed(0.0, 1.0, level=0.05, power=0.8) is None
    assert clusters_needed(1e-12, 1.0, level=0.05, power=0.8) == 10**9
