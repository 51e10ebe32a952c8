"""A fleet's night and the nights before it: one screening for all, and drift against a healthy start."""

from __future__ import annotations

import numpy as np
import pytest

from model_health.baseline.answers import budget_of
from model_health.baseline.nightly import drift, screen_night, standing
from model_health.config.regression import RegressionStatistics

STATISTICS = RegressionStatistics()
BUDGET = budget_of(STATISTICS)


def series(nights: int, seed: int = 0, shift: float = 0.0, start: int = 0) -> list[float]:
    values = np.random.default_rng(seed).normal(5.0, 0.2, nights)
    values[start:] += shift * 0.2
    return values.tolist()


def test_a_fleets_hypotheses_are_screened_together() -> None:
    alone = screen_night({"a": {"golden": 0.002, "kl": 0.5}}, level=0.01)
    among = screen_night(
        {"a": {"golden": 0.002, "kl": 0.5}, **{f"m{n}": {"golden": 0.6, "kl": 0.7} for n in range(30)}}, level=0.01
    )
    assert alone["a"]["golden"].rejected
    assert not among["a"]["golden"].rejected
    assert set(among) == {"a", *(f"m{n}" for n in range(30))}
    assert among["a"]["golden"].adjusted > alone["a"]["golden"].adjusted


def test_a_night_without_models_is_nothing() -> None:
    assert screen_night({}, level=0.01) == {}


def test_a_slow_drift_is_found_after_the_healthy_start() -> None:
    start = STATISTICS.history_nights + 40
    found = drift(series(start + 60, shift=1.5, start=start), BUDGET, STATISTICS)
    assert found is not None
    assert [night for night in found.nights if night >= start]
    assert all(night >= STATISTICS.history_nights for night in found.nights)


def test_the_deviation_is_taken_from_the_cautious_end_of_what_the_start_allows() -> None:
    found = drift(series(100), BUDGET, STATISTICS)
    assert found is not None
    assert found.healthy.sd > np.std(series(100)[: STATISTICS.history_nights], ddof=1)
    assert found.chart.run_length() == pytest.approx(BUDGET.run_length, rel=1e-3)


@pytest.mark.parametrize("values", [[], series(STATISTICS.history_nights - 1), [1.0] * 200])
def test_a_short_or_constant_history_has_no_chart(values: list[float]) -> None:
    assert drift(values, BUDGET, STATISTICS) is None


def test_where_a_chart_stands_tells_since_when_and_by_how_much() -> None:
    start = STATISTICS.history_nights + 40
    found = standing(series(start + 60, shift=2.0, start=start), BUDGET, STATISTICS)
    assert found is not None
    assert found.ratio > 1.0
    assert abs(found.since - start) <= 5
    assert found.level - found.healthy.mean == pytest.approx(0.4, abs=0.15)
    still = standing(series(start + 60), BUDGET, STATISTICS)
    assert still is not None
    assert still.ratio < 1.0


@pytest.mark.parametrize("values", [[], series(STATISTICS.history_nights), [1.0] * 200])
def test_without_a_watched_night_a_chart_stands_nowhere(values: list[float]) -> None:
    assert standing(values, BUDGET, STATISTICS) is None


def test_a_chart_that_is_not_set_back_stays_within_the_alarm_budget() -> None:
    nights, years = STATISTICS.history_nights, 40
    raised = watched = 0
    for seed in range(years):
        values = series(nights + 365, seed=seed)
        found = drift(values, BUDGET, STATISTICS)
        assert found is not None
        path = found.chart.path([found.healthy.of(value) for value in values[nights:]])
        beyond = np.abs(path) > found.chart.limit
        raised += int((beyond[1:] & ~beyond[:-1]).sum()) + int(beyond[0])
        watched += 365
    assert raised / watched <= 1.0 / BUDGET.run_length
