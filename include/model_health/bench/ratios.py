"""Paired ratios with their intervals. Knows neither models nor bars.

A ratio is watched over plain within one round; what is reported is the median over rounds, with the percentile interval
of a bootstrap over rounds (seeded, so the same runs give the same interval).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from model_health.bench.records import Block, Clock, Kind, Peak, Phase, Run

RESAMPLES = 4000
CONFIDENCE = 0.95
_SEED = 17


@dataclass(frozen=True)
class Estimate:
    """A median with its interval; `count` is how many rounds it rests on."""

    median: float
    low: float
    high: float
    count: int

    @property
    def width(self) -> float:
        """How far apart the bounds are."""
        return self.high - self.low


def estimate(values: Sequence[float]) -> Estimate | None:
    """The median of `values` and the bootstrap interval of that median; None for no values."""
    if not values:
        return None
    data = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(_SEED).integers(0, len(data), size=(RESAMPLES, len(data)))
    medians = np.median(data[draws], axis=1)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(medians, [tail, 1.0 - tail])
    return Estimate(float(np.median(data)), float(low), float(high), len(data))


def paired(blocks: Iterable[Block], kind: Kind, phase: Phase, clock: Clock) -> list[float]:
    """Watched / plain of every round of every block that ran both."""
    ratios = []
    for block in blocks:
        for runs in by_round(block.runs).values():
            if kind in runs and "plain" in runs:
                plain = runs["plain"].seconds(phase, clock)
                if plain > 0:
                    ratios.append(runs[kind].seconds(phase, clock) / plain)
    return ratios


def by_round(runs: Iterable[Run]) -> dict[int, dict[Kind, Run]]:
    """The runs of one block: round -> kind -> run."""
    found: dict[int, dict[Kind, Run]] = defaultdict(dict)
    for run in runs:
        found[run.round][run.kind] = run
    return dict(found)


def probe_share(blocks: Iterable[Block], kind: Kind) -> list[float]:
    """What the probes timed themselves, over the wall time of the rest of the call: a lower bound, for comparison."""
    return [
        run.probe_seconds / (run.generate.wall - run.probe_seconds)
        for block in blocks
        for run in block.runs
        if run.kind == kind and run.probe_seconds is not None and run.generate.wall > run.probe_seconds
    ]


def seconds(blocks: Iterable[Block], kind: Kind, phase: Phase, clock: Clock) -> list[float]:
    """Seconds of one phase, run by run."""
    return [run.seconds(phase, clock) for block in blocks for run in block.runs if run.kind == kind]


def peak_ratios(blocks: Iterable[Block], kind: Kind) -> list[float]:
    """Peak memory over that of the plain run of the same block and turn."""
    ratios = []
    for block in blocks:
        ratios += [
            watched.peak_bytes / plain.peak_bytes
            for plain, watched in zip(_peaks(block, "plain"), _peaks(block, kind), strict=False)
        ]
    return ratios


def _peaks(block: Block, kind: Kind) -> list[Peak]:
    return [peak for peak in block.peaks if peak.kind == kind]
