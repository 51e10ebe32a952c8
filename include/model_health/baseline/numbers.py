"""One comparison reduced to a few numbers: one per family, one per state, and the paired surprisals of golden text.

Owns the reduction. A maximum over tokens says whether anything moved; a mean per state says where it began, since the
mean of float32 sketches placed 71 of 73 single-layer faults, and named no wrong layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from model_health.baseline.distances import FAMILIES, Doubles, Family, ItemDistances, distances
from model_health.baseline.observations import ReplayObservation


@dataclass(frozen=True)
class Worst:
    """Where a family's number comes from: an item and its row t among the scored tokens."""

    item_id: str
    row: int


@dataclass(frozen=True)
class Numbers:
    """A comparison in numbers. S states, C clusters (prompts) with golden text.

    Args:
        families: the largest distance over all items and tokens, by family (units: `ItemDistances`).
        worst: where each family's number lies; rows of "sketch" count scored tokens as well.
        states: [S]; mean sketch distance over all sketched rows.
        flips: tokens whose most likely token is another one. tokens: of how many.
        mean_logprob: nats; mean |difference|.
        golden: bits per token, by cluster in the order of the suite: mean surprisal of its golden tokens, new minus
            old. Positive is worse.
    """

    families: Mapping[Family, float]
    worst: Mapping[Family, Worst]
    states: tuple[float, ...]
    flips: int
    tokens: int
    mean_logprob: float
    golden: Mapping[str, float]

    @cached_property
    def golden_mean(self) -> float:
        """Bits per token, mean over clusters; 0 without golden text."""
        return float(np.mean(list(self.golden.values()))) if self.golden else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "families": dict(self.families),
            "worst": {family: {"item": worst.item_id, "row": worst.row} for family, worst in self.worst.items()},
            "states": list(self.states),
            "flips": self.flips,
            "tokens": self.tokens,
            "mean_logprob": self.mean_logprob,
            "golden": dict(self.golden),
        }


def measure(old: ReplayObservation, new: ReplayObservation) -> Numbers:
    """Reduce a pair of observations. Raises `CouldNotMeasure` where `distances` does."""
    items = distances(old, new)
    families: dict[Family, float] = {}
    worst: dict[Family, Worst] = {}
    for family in FAMILIES:
        families[family], worst[family] = _largest(family, items, old)
    sketched = np.concatenate([item.sketch for item in items])
    logprobs = np.concatenate([item.logprob for item in items])
    return Numbers(
        families=families,
        worst=worst,
        states=tuple(float(value) for value in sketched.mean(axis=0)) if len(sketched) else (0.0,) * sketched.shape[1],
        flips=int(sum(item.flipped.sum() for item in items)),
        tokens=int(logprobs.size),
        mean_logprob=float(logprobs.mean()),
        golden=golden_differences(old, new),
    )


def golden_differences(old: ReplayObservation, new: ReplayObservation) -> dict[str, float]:
    """Bits per token by cluster: a prompt's golden tokens are one measurement, because they are not independent."""
    clusters: dict[str, list[Doubles]] = {}
    for one, other in zip(old.of_kind("golden"), new.of_kind("golden"), strict=True):
        apart = other.surprisal_bits.astype(np.float64) - one.surprisal_bits.astype(np.float64)
        clusters.setdefault(one.prompt_id, []).append(apart)
    return {prompt: float(np.concatenate(parts).mean()) for prompt, parts in clusters.items()}


def _largest(family: Family, items: Sequence[ItemDistances], old: ReplayObservation) -> tuple[float, Worst]:
    best, place = -1.0, Worst(items[0].item_id, 0)
    for distance, item in zip(items, old.items, strict=True):
        rows = distance.of(family)
        if rows.size and float(rows.max()) > best:
            row = int(rows.argmax())
            best = float(rows[row])
            place = Worst(item.item_id, int(item.sketch_rows[row]) if family == "sketch" else row)
    return max(best, 0.0), place
