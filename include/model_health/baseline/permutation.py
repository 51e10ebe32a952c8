"""Tests of paired differences: is a mean difference above (below) a margin, and how many pairs would tell.

Owns the sign-flip permutation test (cluster = prompt, never the token: tokens of one text are not independent), its
interval, the smallest effect that it can show, and the number of clusters that would decide. Own code, since scipy's
draws take ten microseconds each where an exact count of 2^36 takes milliseconds; its results are held to scipy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log2, sqrt
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

EXACT: Final = 36
"""Up to so many clusters all 2^n flips are counted: the sums of either half are sorted and matched."""
RESAMPLES: Final = 1 << 17
"""Flips that are drawn beyond that. So many, because one p-value among 120 must reach 1e-5 to survive a screening."""
SEED: Final = 0
"""Fixed: the same pairs have the same p-value on every machine and every night."""

Side = Literal["greater", "less"]


@dataclass(frozen=True)
class MeanEffect:
    """A mean of paired differences, with its uncertainty. Units are those of the differences.

    Args:
        clusters: how many differences.
        mean: of the differences. sd: their standard deviation (n - 1); 0 for one.
        low, high: two-sided t interval at `confidence`; infinite for one cluster.
        detectable: the smallest true mean above the margin that a one-sided test at `level` finds with `power`.
    """

    clusters: int
    mean: float
    sd: float
    low: float
    high: float
    detectable: float


def sign_flip(differences: Sequence[float], *, margin: float = 0.0, side: Side = "greater") -> float:
    """One-sided p-value of the hypothesis that the mean difference is at most (at least) `margin`.

    Under it, differences from the margin are as likely with either sign. Exact up to `EXACT` clusters, beyond that
    (1 + hits) / (1 + `RESAMPLES`), which is valid for any number of draws. Returns 1 without differences.
    """
    values = _finite(differences) - margin
    if values.size == 0:
        return 1.0
    values = values if side == "greater" else -values
    sizes = np.abs(values)
    # Sums that differ by rounding alone count as equal, which can only raise the p-value.
    least = float(values.sum()) - 1e-12 * float(sizes.sum())
    if values.size <= EXACT:
        return _count_exact(sizes, least) / 2.0**values.size
    generator = np.random.default_rng(SEED)
    hits, chunk = 0, 1 << 12
    for _ in range(RESAMPLES // chunk):
        signs = generator.integers(0, 2, size=(chunk, values.size), dtype=np.int8)
        hits += int(np.count_nonzero((2.0 * signs - 1.0) @ sizes >= least))
    return (1 + hits) / (1 + RESAMPLES)


def mean_effect(differences: Sequence[float], *, confidence: float, level: float, power: float) -> MeanEffect:
    """The mean with its interval and what could have been found. Raises ValueError without differences."""
    from scipy.stats import t

    values = _finite(differences)
    if values.size == 0:
        raise ValueError("a mean effect needs at least one difference")
    n, mean = int(values.size), float(values.mean())
    if n == 1:
        return MeanEffect(n, mean, 0.0, -inf, inf, inf)
    sd = float(values.std(ddof=1))
    half = float(t.ppf(0.5 + confidence / 2, n - 1)) * sd / sqrt(n)
    reach = float(t.ppf(1 - level, n - 1) + t.ppf(power, n - 1)) * sd / sqrt(n)
    # Fewer clusters than the test needs find nothing, however large.
    detectable = reach if n >= fewest_clusters(level) else inf
    return MeanEffect(n, mean, sd, mean - half, mean + half, detectable)


def fewest_clusters(level: float) -> int:
    """With fewer pairs no sign-flip test can reach `level`: the smallest p-value of n pairs is 2^-n."""
    return max(1, ceil(-log2(level) - 1e-12))


def clusters_needed(effect: float, sd: float, *, level: float, power: float) -> int | None:
    """Clusters with which a true mean of `effect` beyond the margin is found; None for no effect: nothing decides it.

    The normal approximation of the one-sided t test with Guenther's correction (z^2 / 2), rounded up, and never fewer
    than the permutation test needs.
    """
    from scipy.stats import norm

    if effect == 0.0:
        return None
    z_level, z_power = float(norm.ppf(1 - level)), float(norm.ppf(power))
    needed = ((z_level + z_power) * sd / abs(effect)) ** 2 + z_level**2 / 2
    return max(fewest_clusters(level), ceil(min(needed, 1e9)))


def _count_exact(sizes: npt.NDArray[np.float64], least: float) -> int:
    """How many of all sign patterns have a sum of at least `least`: for each sum of one half, a search in the other."""
    half = sizes.size // 2
    one, other = np.sort(_signed_sums(sizes[:half])), _signed_sums(sizes[half:])
    return int((one.size - np.searchsorted(one, least - other, side="left")).sum())


def _signed_sums(sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums - size, sums + size])
    return sums


def _finite(differences: Sequence[float]) -> npt.NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a difference is not finite: that is a broken model, not a large effect")
    return values
