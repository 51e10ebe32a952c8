"""EWMA control charts for slow drift: their design (run lengths by a Markov chain) and their use on a series.

Owns both. z_t = lambda x_t + (1 - lambda) z_(t-1), z_0 = 0, on values standardised by a healthy mean and deviation; the
chart signals where |z_t| > L sqrt(lambda / (2 - lambda)). Run lengths follow Brook and Evans (1972): z is cut into
cells, and the chain's absorption is solved exactly. Held to the tables of Lucas and Saccucci (Technometrics 32, 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import erf, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

CELLS: Final = 151
"""Odd, so that z = 0 is the middle of a cell. At 151 the tabulated run lengths are met to the last digit printed."""
LAMBDA: Final = 0.2

_erf = np.vectorize(erf, otypes=[np.float64])


@dataclass(frozen=True)
class EwmaChart:
    """A design. `weight` is lambda (0 < lambda <= 1; 1 is a Shewhart chart), `width` is L in asymptotic deviations."""

    weight: float
    width: float

    @property
    def limit(self) -> float:
        """|z| beyond which the chart signals, in standard deviations of one value."""
        return self.width * sqrt(self.weight / (2.0 - self.weight))

    def run_length(self, shift: float = 0.0) -> float:
        """Mean nights until a signal when every value is shifted by so many standard deviations; 0: false alarms."""
        transition = self._transition(shift)
        lengths = np.linalg.solve(np.eye(CELLS) - transition, np.ones(CELLS))
        return float(lengths[CELLS // 2])

    def delay(self, shift: float, *, quantile: float = 0.5) -> int:
        """Nights within which a shift is found with that probability; the median by default. Raises ValueError at 0."""
        if shift == 0.0 or not 0.0 < quantile < 1.0:
            raise ValueError("a delay needs a shift, and a quantile within 0 to 1")
        transition = self._transition(shift)
        alive = np.zeros(CELLS)
        alive[CELLS // 2] = 1.0
        nights = 0
        while 1.0 - alive.sum() < quantile:
            alive = alive @ transition
            nights += 1
        return nights

    def path(self, values: Sequence[float]) -> npt.NDArray[np.float64]:
        """[n]; z after each standardised value."""
        z, out = 0.0, np.empty(len(values))
        for index, value in enumerate(values):
            z = self.weight * float(value) + (1.0 - self.weight) * z
            out[index] = z
        return out

    def signals(self, values: Sequence[float]) -> list[int]:
        """The nights (from 0) on which the chart signals; after each it starts again at zero."""
        z, out = 0.0, []
        for index, value in enumerate(values):
            if not np.isfinite(value):
                raise ValueError("a chart takes finite values: leave out nights that were not measured")
            z = self.weight * float(value) + (1.0 - self.weight) * z
            if abs(z) > self.limit:
                out.append(index)
                z = 0.0
        return out

    def _transition(self, shift: float) -> npt.NDArray[np.float64]:
        """[cells, cells]; probability of moving from the middle of one cell into another while staying inside."""
        edges = np.linspace(-self.limit, self.limit, CELLS + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        needed = (edges[None, :] - (1.0 - self.weight) * middles[:, None]) / self.weight - shift
        return np.asarray(np.diff(0.5 * (1.0 + _erf(needed / sqrt(2.0))), axis=1))


@lru_cache(maxsize=64)
def chart_for(run_length: float, weight: float = LAMBDA) -> EwmaChart:
    """The chart whose false alarms are `run_length` nights apart on average (more than 2)."""
    if not run_length > 2.0:
        raise ValueError("a run length must exceed two nights")
    low, high = 0.01, 6.0
    for _ in range(40):
        middle = (low + high) / 2
        if EwmaChart(weight, middle).run_length() < run_length:
            low = middle
        else:
            high = middle
    return EwmaChart(weight, high)


@dataclass(frozen=True)
class Standard:
    """What a healthy series is like: its mean and standard deviation, from n values."""

    mean: float
    sd: float
    values: int

    def of(self, value: float) -> float:
        """A value in healthy standard deviations."""
        return (value - self.mean) / self.sd


def standard(healthy: Sequence[float], *, fewest: int = 20) -> Standard | None:
    """Mean and deviation of a healthy series; None where it is too short, or constant, so that no chart applies.

    A constant series (the same configuration gives the same bits every night) needs none: any change is seen at once.
    """
    values = np.asarray(healthy, dtype=np.float64)
    if values.size < fewest or not np.isfinite(values).all():
        return None
    sd = float(values.std(ddof=1))
    return Standard(float(values.mean()), sd, int(values.size)) if sd > 0.0 else None
