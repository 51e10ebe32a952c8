"""The drift chart: tabulated run lengths, simulated ones, and series that no chart may judge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.baseline.ewma import EwmaChart, chart_for, standard

SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
# Mean run lengths of Lucas and Saccucci, Technometrics 32 (1990), as reprinted by Montgomery (table 9.11).
TABLE = {
    (0.40, 3.054): (500, 224, 71.2, 28.4, 14.3, 5.9, 3.5, 2.5, 2.0, 1.4),
    (0.25, 2.998): (500, 170, 48.2, 20.1, 11.1, 5.5, 3.6, 2.7, 2.3, 1.7),
    (0.20, 2.962): (500, 150, 41.8, 18.2, 10.5, 5.5, 3.7, 2.9, 2.4, 1.9),
    (0.10, 2.814): (500, 106, 31.3, 15.9, 10.3, 6.1, 4.4, 3.4, 2.9, 2.2),
    (0.05, 2.615): (500, 84.1, 28.8, 16.4, 11.4, 7.1, 5.2, 4.2, 3.5, 2.7),
}


@pytest.mark.parametrize(("design", "lengths"), TABLE.items(), ids=str)
def test_run_lengths_are_those_of_the_published_tables(design: tuple[float, float], lengths: tuple[float, ...]) -> None:
    chart = EwmaChart(*design)
    for shift, length in zip(SHIFTS, lengths, strict=True):
        # Half a unit of the last printed digit, and half a per cent for the rounding of the tabulated width.
        assert chart.run_length(shift) == pytest.approx(length, rel=0.005, abs=0.06)


def test_a_weight_of_one_is_a_shewhart_chart() -> None:
    chart = EwmaChart(1.0, 3.0)
    outside = math.erfc(3.0 / math.sqrt(2.0))
    assert chart.run_length() == pytest.approx(1.0 / outside)
    assert chart.delay(1.0) == pytest.approx(31, abs=1)  # the median of a geometric wait with mean 43.9


def test_the_chart_on_simulated_nights_has_the_run_length_of_its_design() -> None:
    chart = chart_for(100.0)
    nights = 60_000
    signals = chart.signals(np.random.default_rng(4).normal(size=nights).tolist())
    assert len(signals) == pytest.approx(nights / 100.0, rel=0.15)


def test_a_shift_of_one_deviation_is_found_in_eight_nights_where_three_sigma_limits_need_a_month() -> None:
    chart = chart_for(360.0)
    assert chart.delay(1.0) == 8
    assert EwmaChart(1.0, 3.0).delay(1.0) > 3 * chart.delay(1.0)
    generator = np.random.default_rng(9)
    delays = [chart.signals((generator.normal(size=200) + 1.0).tolist())[0] + 1 for _ in range(500)]
    assert np.median(delays) == pytest.approx(8, abs=1)


@given(st.floats(20, 3000), st.sampled_from([0.05, 0.2, 0.5]))
@settings(max_examples=8, deadline=None)
def test_a_designed_chart_has_its_run_length(run_length: float, weight: float) -> None:
    assert chart_for(run_length, weight).run_length() == pytest.approx(run_length, rel=1e-3)


@given(st.lists(st.floats(-3, 3), max_size=40))
@settings(max_examples=40, deadline=None)
def test_the_path_is_the_weighted_mean_of_what_came(values: list[float]) -> None:
    chart = EwmaChart(0.2, 3.0)
    path = chart.path(values)
    for night in range(len(values)):
        weights = 0.2 * 0.8 ** np.arange(night, -1, -1)
        assert path[night] == pytest.approx(float(np.dot(weights, values[: night + 1])), abs=1e-9)


def test_a_chart_starts_again_after_a_signal() -> None:
    assert EwmaChart(0.5, 1.0).signals([10.0, 0.0, 0.0, 10.0]) == [0, 3]


def test_a_longer_wait_finds_with_more_certainty() -> None:
    chart = chart_for(360.0)
    assert chart.delay(1.0, quantile=0.95) > chart.delay(1.0) > chart.delay(2.0)


def test_what_no_chart_can_tell_is_refused() -> None:
    chart = chart_for(360.0)
    with pytest.raises(ValueError, match="shift"):
        chart.delay(0.0)
    with pytest.raises(ValueError, match="finite"):
        chart.signals([0.0, math.nan])
    with pytest.raises(ValueError, match="two nights"):
        chart_for(1.0)


def test_a_series_that_is_short_constant_or_not_finite_has_no_standard() -> None:
    assert standard([0.5] * 100) is None
    assert standard([0.1, 0.2] * 9) is None
    assert standard([*[0.1, 0.2] * 20, math.inf]) is None
    found = standard([1.0, 3.0] * 50)
    assert found is not None
    assert (found.mean, found.values) == (2.0, 100)
    assert found.of(2.0) == 0.0
