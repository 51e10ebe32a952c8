"""A simulated year: recorded healthy noise, night after night, through the whole decision. How many pages are false?

Owns the simulation. Each model learns its floors from one random half of the recorded comparisons, and its nights are
drawn from the other half, so that no night is judged by a floor that it made itself. Golden text is resampled by
prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_health.baseline.answers import budget_of
from model_health.baseline.budget import upper_bound
from model_health.baseline.distances import FAMILIES
from model_health.baseline.floors import floor_of
from model_health.baseline.nightly import drift, screen_night
from model_health.baseline.numbers import Numbers
from model_health.baseline.permutation import sign_flip
from model_health.baseline.tolerance import Tolerance
from model_health.config.regression import RegressionStatistics
from model_health.errors import CouldNotMeasure

FEWEST: int = 8
"""Recorded comparisons: with fewer, half of them is no noise to learn from."""


@dataclass(frozen=True)
class Year:
    """What a simulated year came to.

    Args:
        nights, models: its size. allowed: false pages that the alarm budget allows.
        beyond, degraded, drifted: pages by cause, as (model, night).
        upper: exact upper 95 % bound (Clopper-Pearson) on the rate of false pages per model and night.
        delays: with a drift put in, nights from its start to the first drift page, by model; None where unseen.
    """

    nights: int
    models: int
    allowed: float
    beyond: tuple[tuple[int, int], ...]
    degraded: tuple[tuple[int, int], ...]
    drifted: tuple[tuple[int, int], ...]
    upper: float
    delays: tuple[int | None, ...]

    @property
    def pages(self) -> int:
        """Model-nights with a page; several causes in one night are one page."""
        return len({*self.beyond, *self.degraded, *self.drifted})


def simulate_year(
    recorded: Sequence[Numbers],
    statistics: RegressionStatistics,
    *,
    dtype: str = "float32",
    nights: int = 365,
    models: int = 20,
    seed: int = 0,
    shift: float = 0.0,
    shift_night: int | None = None,
) -> Year:
    """Run the year.

    Args:
        recorded: healthy comparisons with a baseline, of one kind of change or of several.
        statistics: figures of the policy.
        dtype: of the weights.
        nights: per model.
        models: in the fleet; they share one screening per night.
        seed: of all draws.
        shift: healthy standard deviations by which the drift series of every model is moved from `shift_night` on.
        shift_night: None for a year without drift; after the charts' `history_nights`.

    Raises:
        CouldNotMeasure: fewer than `FEWEST` comparisons.
    """
    if len(recorded) < FEWEST:
        why = f"a year is simulated from at least {FEWEST} recorded comparisons, not {len(recorded)}"
        raise CouldNotMeasure(why, hint="record more healthy replays")
    generator = np.random.default_rng(seed)
    budget = budget_of(statistics, models=models)
    golden = np.array([list(numbers.golden.values()) for numbers in recorded])
    beyond: list[tuple[int, int]] = []
    drifted: list[tuple[int, int]] = []
    delays: list[int | None] = []
    suspects: dict[int, dict[int, float]] = {}
    for model in range(models):
        order = generator.permutation(len(recorded))
        learned, pool = order[: len(order) // 2], order[len(order) // 2 :]
        floor = floor_of((), [recorded[index] for index in learned])
        limits = Tolerance(dtype=dtype, floors=(floor,)).limits(())
        outside = {int(i): _outside(recorded[i], limits.beyond(recorded[i]), limits.states) for i in pool}
        drawn = generator.choice(pool, size=nights)
        beyond += [(model, night) for night, index in enumerate(drawn) if outside[int(index)]]
        clusters = _resampled(golden[drawn], generator)
        series = clusters.mean(axis=1)
        margin = max(statistics.golden_margin_bits, limits.golden_bits)
        for night in np.flatnonzero(series > margin):
            suspects.setdefault(int(night), {})[model] = sign_flip(clusters[night].tolist(), margin=margin)
        if shift_night is not None:
            series[shift_night:] += shift * float(series[:shift_night].std(ddof=1))
        found = drift(series.tolist(), budget, statistics)
        signals = () if found is None else found.nights
        drifted += [(model, night) for night in signals]
        delays.append(None if shift_night is None else _delay(signals, shift_night))
    degraded = _degraded(suspects, models, budget.level)
    pages = len({*beyond, *degraded, *drifted})
    return Year(
        nights=nights,
        models=models,
        allowed=budget.allowed(nights),
        beyond=tuple(beyond),
        degraded=tuple(degraded),
        drifted=tuple(drifted),
        upper=upper_bound(pages, nights * models),
        delays=tuple(delays),
    )


def _outside(numbers: Numbers, beyond: Sequence[str], states: Sequence[float]) -> bool:
    return bool(beyond) or any(value > limit for value, limit in zip(numbers.states, states, strict=True))


def _resampled(golden: npt.NDArray[np.float64], generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """[nights, C] from [nights, C]: in each night as many prompts, drawn with replacement."""
    columns = generator.integers(0, golden.shape[1], size=golden.shape)
    return np.take_along_axis(golden, columns, axis=1)


def _degraded(suspects: dict[int, dict[int, float]], models: int, level: float) -> list[tuple[int, int]]:
    """Nights on which golden text is worse and survives the screening; every other hypothesis of them has p = 1."""
    pages = []
    for night, p_by_model in suspects.items():
        p_values = {str(model): dict.fromkeys(("golden", *FAMILIES), 1.0) for model in range(models)}
        for model, p in p_by_model.items():
            p_values[str(model)]["golden"] = p
        done = screen_night(p_values, level=level)
        pages += [(model, night) for model in p_by_model if done[str(model)]["golden"].rejected]
    return pages


def _delay(signals: Sequence[int], start: int) -> int | None:
    return next((night - start + 1 for night in signals if night >= start), None)
