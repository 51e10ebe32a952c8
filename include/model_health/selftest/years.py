"""From the healthy replays of a self-test to a simulated year: what would nights like these have cost in false pages?

Owns the sizes of the year and what the chart's design promises for it; the simulation is `baseline.year`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final

from model_health.baseline.answers import budget_of
from model_health.baseline.ewma import chart_for
from model_health.baseline.numbers import Numbers
from model_health.baseline.year import simulate_year
from model_health.config.regression import RegressionStatistics
from model_health.selftest.result import YearFound

NIGHTS: Final = 365
MODELS: Final = 20
DRIFTS: Final = 100
"""Models in the year with a drift: of 20 the median delay would be uncertain by a third."""
FEWEST: Final = 50
"""Recorded replays. Half of them teach the floors, and of a handful a floor is a guess."""
SHIFT: Final = 1.0


def year_of(
    recorded: Sequence[Numbers], statistics: RegressionStatistics, *, dtype: str, seed: int
) -> YearFound | None:
    """Simulate a year of nights drawn from `recorded`, and one in which every model drifts; None for too few."""
    if len(recorded) < FEWEST:
        return None
    year = simulate_year(recorded, statistics, dtype=dtype, nights=NIGHTS, models=MODELS, seed=seed)
    start = statistics.history_nights + (NIGHTS - statistics.history_nights) // 3
    drifting = simulate_year(
        recorded, statistics, dtype=dtype, nights=NIGHTS, models=DRIFTS, seed=seed + 1, shift=SHIFT, shift_night=start
    )
    chart = chart_for(budget_of(statistics).run_length, statistics.ewma_weight)
    seen = SHIFT / caution(statistics.history_nights)
    return YearFound(
        recorded=len(recorded),
        nights=year.nights,
        models=year.models,
        allowed=year.allowed,
        pages=year.pages,
        beyond=len(year.beyond),
        degraded=len(year.degraded),
        drifted=len(year.drifted),
        upper=year.upper,
        shift=SHIFT,
        drifts=DRIFTS,
        delays=tuple(sorted(delay for delay in drifting.delays if delay is not None)),
        designed=chart.delay(seen),
        designed_late=chart.delay(seen, quantile=0.9),
    )


def caution(nights: int) -> float:
    """The factor by which `baseline.nightly` widens a deviation of so many nights: a shift looks smaller by it."""
    from scipy.stats import chi2

    return sqrt((nights - 1) / float(chi2.ppf(0.1, nights - 1)))
