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
    signals = chart.signals([healthy.of(float(value)) for value in values[count:]])
    return Drift(chart, healthy, tuple(count + night for night in signals))
