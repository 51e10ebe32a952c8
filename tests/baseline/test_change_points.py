"""Change points: dated well, seldom found where nothing changed, refused where a night is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.baseline.change_points import change_points


def test_a_step_of_three_deviations_is_dated_to_two_nights() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        series = generator.normal(size=120)
        series[70:] += 3.0
        found = change_points(series.tolist())
        assert len(found) == 1
        assert abs(found[0].at - 70) <= 2
        assert found[0].after - found[0].before == pytest.approx(3.0, abs=0.8)


def test_two_steps_are_two_changes_in_order() -> None:
    series = np.random.default_rng(2).normal(size=150)
    series[50:] += 4.0
    series[100:] -= 6.0
    assert [pytest.approx(change.at, abs=2) for change in change_points(series.tolist())] == [50, 100]


def test_healthy_years_have_hardly_any() -> None:
    generator = np.random.default_rng(3)
    assert sum(bool(change_points(generator.normal(size=365).tolist())) for _ in range(100)) <= 2


@given(st.floats(-1e6, 1e6), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_a_constant_series_has_none(value: float, nights: int) -> None:
    assert change_points([value] * nights) == ()


def test_a_step_in_a_series_without_noise_is_found() -> None:
    assert [change.at for change in change_points([0.0] * 20 + [1e-6] * 20)] == [20]


@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
@settings(max_examples=40, deadline=None)
def test_neither_unit_nor_origin_matters(scale: float, origin: float) -> None:
    series = np.random.default_rng(5).normal(size=60)
    series[30:] += 5.0
    moved = change_points((series * scale + origin * scale).tolist())
    assert [change.at for change in moved] == [change.at for change in change_points(series.tolist())]


def test_a_night_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="leave out"):
        change_points([0.0, math.nan, 1.0])
