"""Night after night: the tests of a fleet's night screened together, and slow drift over many nights.

Owns both; what a comparison by itself shows is `answers`, what follows is `policy`. Knows no clock and no store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_health.baseline.budget import AlarmBudget, Screened, screen
from model_health.baseline.ewma import EwmaChart, Standard, chart_for, standard
from model_health.config.regression import RegressionStatistics


@dataclass(frozen=True)
class Drift:
    """A series of nightly numbers held against its healthy start. `nights` are those on which the chart signalled."""

    chart: EwmaChart
    healthy: Standard
    nights: tuple[int, ...]


@dataclass(frozen=True)
class Standing:
    """Where a drift chart stands after its last night.

    Args:
        ratio: |z| in units of the chart's limit: beyond 1 the series has drifted.
        since: the night (from 0) with which the movement began: the first one after z was last at the healthy mean, or
            beyond it (the estimate of Nishina, Qual. Reliab. Eng. Int. 8, 1992).
        level: mean since then; healthy: mean and deviation before.
    """

    ratio: float
    since: int
    level: float
    healthy: Standard


def screen_night(p_values: Mapping[str, Mapping[str, float]], *, level: float) -> dict[str, dict[str, Screened]]:
    """Screen all hypotheses of all models of one night together.

    Args:
        p_values: `Comparison.p_values` by model. A rank p-value belongs in it as well: it was looked at.
        level: `AlarmBudget.level` for this number of models.

    Returns:
        The screened hypotheses, by model.
    """
    flat = {(model, family): p for model, families in p_values.items() for family, p in families.items()}
    done = screen(flat, level=level)
    return {model: {family: done[model, family] for family in families} for model, families in p_values.items()}


def drift(series: Sequence[float], budget: AlarmBudget, statistics: RegressionStatistics) -> Drift | None:
    """Watch a nightly number, such as mean golden surprisal or mean |difference of log-probability|, for slow drift.

    The first `history_nights` of it are the healthy reference and are not judged. Few nights estimate a deviation
    badly, and an underestimate would signal too often, so the upper end of its 90 % interval is used.

    Returns:
        None where the history is too short, or constant: then bits tell.
    """
    found = _chart(series, budget, statistics)
    if found is None:
        return None
    chart, healthy, watched = found
    return Drift(chart, healthy, tuple(healthy.values + night for night in chart.signals(watched)))


def standing(series: Sequence[float], budget: AlarmBudget, statistics: RegressionStatistics) -> Standing | None:
    """Where the chart of a series stands tonight. It is not set back after a signal: what drifted stays drifted.

    Its excursions are no more frequent than the signals of a chart that is set back, so the alarm budget holds.

    Returns:
        None where `drift` has none, or no night was watched yet.
    """
    found = _chart(series, budget, statistics)
    if found is None or not found[2]:
        return None
    chart, healthy, watched = found
    path = chart.path(watched)
    if not np.isfinite(path).all():
        raise ValueError("a chart takes finite values: leave out nights that were not measured")
    other = np.flatnonzero(np.sign(path) != np.sign(path[-1]))
    begun = int(other[-1]) + 1 if other.size and path[-1] != 0.0 else 0
    level = float(np.mean(np.asarray(series, dtype=np.float64)[healthy.values + begun :]))
    return Standing(abs(float(path[-1])) / chart.limit, healthy.values + begun, level, healthy)


def _chart(
    series: Sequence[float], budget: AlarmBudget, statistics: RegressionStatistics
) -> tuple[EwmaChart, Standard, list[float]] | None:
    """The chart, the healthy start that it is held to, and the standardised nights after it."""
    from scipy.stats import chi2

    values = np.asarray(series, dtype=np.float64)
    count = statistics.history_nights
    if values.size < count:
        return None
    healthy = standard(values[:count].tolist(), fewest=count)
    if healthy is None:
        return None
    wider = healthy.sd * float(np.sqrt((count - 1) / chi2.ppf(0.1, count - 1)))
    healthy = Standard(healthy.mean, wider, healthy.values)
    chart = chart_for(budget.run_length, statistics.ewma_weight)
    return chart, healthy, [healthy.of(float(value)) for value in values[count:]]
