"""The alarm budget: how often a healthy model may page, and the level that leaves for one night's tests.

Owns the derivation. A budget of one false page per 90 nights and model is 1/90 a night. A part of it (`drift_share`)
goes to the EWMA charts, the rest to the tests of the night:

- One night's tests are screened together by Benjamini-Yekutieli, families x models, which holds under any dependence:
  the families of a night are reductions of one replay, and the models of a night share machines. While every model is
  healthy, the probability that it rejects anything *in the fleet* is at most its level.
- Where other models did fail, the threshold rises with each true rejection, to level / c(m) at most, with c(m) = 1 +
  1/2 + ... + 1/m. A healthy model with F families then pages with F * level / c(m) at most. The level is the budget's
  part, divided by F / c(m) where that exceeds one, so the promise holds whatever the others do.
- Confirmation over nights (k of n) is not used to buy a larger level: the same fault of noise tends to return each
  night, as the same configuration rounds in the same way.

A rank among n healthy runs has no p-value below 1 / (n + 1), so it can only inform; what pages is bits, tolerance,
golden text and flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

K = TypeVar("K")


@dataclass(frozen=True)
class AlarmBudget:
    """How the budget is spent.

    Args:
        nights: at most one false page per that many nights and model.
        drift_share: what part of it the drift charts may spend, 0 to 1 exclusive.
        families: hypotheses per model and night. models: tested in the same night.
        charts: EWMA charts per model.
    """

    nights: float = 90.0
    drift_share: float = 0.25
    families: int = 7
    models: int = 1
    charts: int = 1

    def __post_init__(self) -> None:
        if not (self.nights >= 1 and 0 < self.drift_share < 1 and min(self.families, self.models, self.charts) >= 1):
            raise ValueError("a budget needs at least one night, family, model and chart, and a share within 0 to 1")

    @property
    def level(self) -> float:
        """The level of one night's Benjamini-Yekutieli screening over all families and models."""
        spend = (1.0 - self.drift_share) / self.nights
        return spend * min(1.0, harmonic(self.families * self.models) / self.families)

    @property
    def run_length(self) -> float:
        """Nights between false alarms that each EWMA chart must have on average (its in-control ARL)."""
        return self.nights * self.charts / self.drift_share

    def allowed(self, nights: int) -> float:
        """False pages that the budget allows the fleet in so many nights."""
        return nights * self.models / self.nights


def harmonic(hypotheses: int) -> float:
    """c(m) of Benjamini and Yekutieli (2001): 1 + 1/2 + ... + 1/m."""
    return float(np.sum(1.0 / np.arange(1, hypotheses + 1)))


@dataclass(frozen=True)
class Screened:
    """One hypothesis after the screening. `adjusted` is the smallest level at which it would be rejected."""

    p: float
    adjusted: float
    rejected: bool


def screen(p_values: Mapping[K, float], *, level: float) -> dict[K, Screened]:
    """Benjamini-Yekutieli over all hypotheses of a night, keyed as given, such as by (model, family).

    Every hypothesis that was tested belongs in it, also the dull ones: leaving them out makes the others look rarer.
    """
    if not p_values:
        return {}
    from statsmodels.stats.multitest import multipletests

    rejected, adjusted, *_ = multipletests(list(p_values.values()), alpha=level, method="fdr_by")
    results = zip(p_values.items(), adjusted, rejected, strict=True)
    return {key: Screened(p, float(q), bool(out)) for (key, p), q, out in results}


def rank_p(value: float, healthy: tuple[float, ...]) -> float:
    """Share of healthy numbers at least as large, tonight's among them: never below 1 / (n + 1)."""
    return (1 + sum(other >= value for other in healthy)) / (1 + len(healthy))


def upper_bound(events: int, trials: int, *, confidence: float = 0.95) -> float:
    """The exact one-sided upper bound on a rate (Clopper and Pearson): 0 of 200 is at most 1.5 %."""
    from scipy.stats import beta

    return 1.0 if events >= trials else float(beta.ppf(confidence, events + 1, trials - events))
