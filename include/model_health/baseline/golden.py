"""Is the model worse? Surprisal on text written by people, paired by prompt, against a margin that is allowed.

Owns that decision: *worse*, *not worse* or undecided with what would decide it. Worse needs a sign-flip test of "the
mean difference exceeds the margin" to reach the level. Not worse needs the interval's upper end to stay within the
margin: no evidence of harm is no evidence of none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from model_health.baseline.permutation import MeanEffect, clusters_needed, fewest_clusters, mean_effect, sign_flip
from model_health.config.regression import RegressionStatistics

FEWEST_FOR_NONE: Final = 3
"""Clusters below which an interval excludes nothing: of two, the deviation is a guess."""
SHOWN: Final = 5


@dataclass(frozen=True)
class Harm:
    """What golden text says. Bits per token; positive is worse.

    Args:
        effect: None without golden text.
        margin: what is allowed: the policy's, or the tolerance of what changed where that is larger.
        level: of the test. p: of "the mean difference is at most the margin"; 1 without golden text.
        worse, not_worse: at most one is True; neither: undecided.
        needed: clusters that would decide, if the effect is what it seems; None where nothing would: the effect lies
            on the margin, or it is decided.
        worst: the clusters that got worse most, worst first.
    """

    effect: MeanEffect | None
    margin: float
    level: float
    p: float
    worse: bool
    not_worse: bool
    needed: int | None
    worst: tuple[tuple[str, float], ...]

    @property
    def undecided(self) -> bool:
        """Whether harm could neither be shown nor excluded."""
        return not (self.worse or self.not_worse)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is infinite (the interval of one cluster) is null."""
        effect = None
        if self.effect is not None:
            values = vars(self.effect)
            effect = {name: None if abs(value) == float("inf") else value for name, value in values.items()}
        return {**vars(self), "effect": effect, "worst": [[prompt, bits] for prompt, bits in self.worst]}

    def __str__(self) -> str:
        if self.effect is None:
            return f"no golden text; {self.needed} prompts with it would decide"
        size = f"golden text {self.effect.mean:+.4f} bits per token [{self.effect.low:+.4f}, {self.effect.high:+.4f}]"
        size += f" on {self.effect.clusters} prompts, {self.margin:.4g} allowed"
        if not self.undecided:
            return size
        more = "no number of prompts decides an effect on the margin" if self.needed is None else ""
        return f"{size}; {more or f'{self.needed} prompts would decide'}"


def judge_harm(golden: Mapping[str, float], statistics: RegressionStatistics, *, level: float, margin: float) -> Harm:
    """Judge golden differences by cluster (bits per token, new minus old)."""
    fewest = fewest_clusters(level)
    if not golden:
        return Harm(None, margin, level, 1.0, worse=False, not_worse=False, needed=fewest, worst=())
    values = list(golden.values())
    effect = mean_effect(values, confidence=statistics.confidence, level=level, power=statistics.power)
    p = sign_flip(values, margin=margin)
    worse = p <= level and effect.mean > margin
    not_worse = not worse and effect.clusters >= FEWEST_FOR_NONE and effect.high <= margin
    needed = None
    if not worse and not not_worse:
        needed = clusters_needed(effect.mean - margin, effect.sd, level=level, power=statistics.power)
        needed = None if needed is None else max(needed, effect.clusters + 1)
    worst = sorted(((prompt, bits) for prompt, bits in golden.items() if bits > 0.0), key=lambda pair: -pair[1])
    return Harm(effect, margin, level, p, worse, not_worse, needed, tuple(worst[:SHOWN]))
