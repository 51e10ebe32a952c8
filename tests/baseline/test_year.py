"""A simulated year of twenty models: no more false pages than the budget, and a slow drift in the designed time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_health.baseline.answers import budget_of
from model_health.baseline.ewma import chart_for
from model_health.baseline.numbers import Numbers
from model_health.baseline.year import Year, simulate_year
from model_health.config.regression import RegressionStatistics
from model_health.errors import CouldNotMeasure
from support.observations import healthy_numbers

STATISTICS = RegressionStatistics()


@pytest.fixture(scope="module")
def recorded() -> list[Numbers]:
    return healthy_numbers(40, prompts=8)


@pytest.fixture(scope="module")
def year(recorded: list[Numbers]) -> Year:
    return simulate_year(recorded, STATISTICS, nights=365, models=20, seed=1)


def test_healthy_noise_pages_no_more_often_than_the_budget_allows(year: Year) -> None:
    assert (year.nights, year.models) == (365, 20)
    assert year.allowed == pytest.approx(365 * 20 / 90)
    assert year.pages <= year.allowed
    assert year.beyond == year.degraded == ()
    assert year.pages == len({*year.drifted})
    assert year.upper < 1 / 90


def test_the_same_seed_is_the_same_year(recorded: list[Numbers]) -> None:
    one, other = (simulate_year(recorded, STATISTICS, nights=120, models=3, seed=5) for _ in range(2))
    assert one == other


def test_a_drift_of_one_deviation_is_found_within_the_designed_delay(recorded: list[Numbers]) -> None:
    found = simulate_year(recorded, STATISTICS, nights=365, models=40, seed=2, shift=1.0, shift_night=180)
    delays = [delay for delay in found.delays if delay is not None]
    assert len(delays) == 40
    chart = chart_for(budget_of(STATISTICS).run_length, STATISTICS.ewma_weight)
    # The deviation is estimated with caution from 60 nights: a shift of one is one of 1 / 1.14 to the chart.
    assert float(np.median(delays)) <= chart.delay(1 / 1.14, quantile=0.75)
    assert chart.delay(1 / 1.14) <= 12


def test_noise_beyond_what_was_learned_does_page(recorded: list[Numbers]) -> None:
    loud = [replace(n, families=dict.fromkeys(n.families, 0.5)) if i % 4 == 0 else n for i, n in enumerate(recorded)]
    # Half of each model's pool is what it learned from; a fleet that has seen no loud one is alarmed by the first.
    few = [*recorded, *loud[:1]]
    assert simulate_year(few, STATISTICS, nights=200, models=20, seed=3).beyond


def test_text_that_got_worse_pages_after_the_screening_of_all_models() -> None:
    healthy = healthy_numbers(12, prompts=24)
    worse = replace(healthy[0], golden={prompt: bits + 0.5 for prompt, bits in healthy[0].golden.items()})
    found = simulate_year([*healthy, worse], STATISTICS, nights=70, models=8, seed=4)
    assert found.beyond == ()
    # Models that drew it, without having learned from it.
    assert 1 <= len({model for model, _ in found.degraded}) < 8
    assert found.pages >= len(found.degraded)


def test_a_handful_of_recorded_replays_is_no_year(recorded: list[Numbers]) -> None:
    with pytest.raises(CouldNotMeasure, match="at least 8 recorded"):
        simulate_year(recorded[:7], STATISTICS)
