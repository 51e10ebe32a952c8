"""Where along the depth, and on which prompts, a replay lies apart: what a person looks at after the verdict.

Owns two tables that travel with a comparison, and their JSON: one row per state with its limit, one row per prompt with
its interval. Decides nothing: `answers` does. A prompt's interval speaks of that text alone, and is too narrow where
its tokens hang together, so it must never replace the test over prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model_health.baseline.answers import limits_of
from model_health.baseline.distances import Doubles, item_distances
from model_health.baseline.key import changed_axes
from model_health.baseline.numbers import Numbers
from model_health.baseline.observations import ItemObservation, Kind, ReplayObservation
from model_health.baseline.permutation import mean_effect
from model_health.baseline.tolerance import TOLERATED, Tolerance


@dataclass(frozen=True)
class StateDistance:
    """One state.

    Args:
        name: of `ReplayObservation.state_names`.
        mean: mean distance of the sketches over all sketched tokens, relative to their length (0 to 2).
        largest: the largest one.
        limit: up to where a mean is harmless; 0 where the same bits are expected; None where nobody recorded what is.
    """

    name: str
    mean: float
    largest: float
    limit: float | None


@dataclass(frozen=True)
class PromptEffect:
    """One prompt's scored tokens of one kind.

    Args:
        prompt_id, kind: whose.
        tokens, flipped: how many were scored, and have another most likely token.
        surprisal_bits: mean of new minus old, bits per token; positive is worse.
        low, high: its t interval over these tokens at the policy's confidence; None for a single token.
    """

    prompt_id: str
    kind: Kind
    tokens: int
    flipped: int
    surprisal_bits: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Profile:
    """Both tables: states in the order of computation, prompts in the order of the suite. `confidence`: of intervals.

    `why_unlimited` says why states have no limit; None where they have.
    """

    states: tuple[StateDistance, ...]
    prompts: tuple[PromptEffect, ...]
    confidence: float
    why_unlimited: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "states": [asdict(state) for state in self.states],
            "prompts": [asdict(prompt) for prompt in self.prompts],
        }


def profile_of(
    old: ReplayObservation, new: ReplayObservation, numbers: Numbers, tolerance: Tolerance, *, confidence: float
) -> Profile:
    """The profile of two paired, finite observations.

    Args:
        old: the baseline's.
        new: the one that was compared.
        numbers: of that comparison.
        tolerance: stored with the baseline.
        confidence: of the prompts' intervals.
    """
    names = old.state_names
    harmless = tuple(axis for axis in changed_axes(old.key, new.key) if axis in TOLERATED)
    limits, unrecorded = limits_of(tolerance, old, harmless)
    bounds: Sequence[float | None] = [None] * len(names) if limits is None else limits.states
    why = None
    if not harmless and (limits is None or tolerance.repeats_bits):
        bounds = [0.0] * len(names)
    elif limits is None:
        why = f"no healthy replay under another {', '.join(unrecorded) or 'dtype'} is recorded with this baseline"
    sketches = [item_distances(one, other).sketch for one, other in zip(old.items, new.items, strict=True)]
    largest = np.max([sketch.max(axis=0, initial=0.0) for sketch in sketches], axis=0)
    states = zip(names, numbers.states, largest, bounds, strict=True)
    return Profile(
        states=tuple(StateDistance(name, mean, float(most), limit) for name, mean, most, limit in states),
        prompts=_effects(old, new, confidence),
        confidence=confidence,
        why_unlimited=why,
    )


def _effects(old: ReplayObservation, new: ReplayObservation, confidence: float) -> tuple[PromptEffect, ...]:
    parts: dict[tuple[str, Kind], list[tuple[ItemObservation, ItemObservation]]] = {}
    for one, other in zip(old.items, new.items, strict=True):
        parts.setdefault((one.prompt_id, one.kind), []).append((one, other))
    return tuple(_effect(prompt, kind, pairs, confidence) for (prompt, kind), pairs in parts.items())


def _effect(
    prompt_id: str, kind: Kind, pairs: Sequence[tuple[ItemObservation, ItemObservation]], confidence: float
) -> PromptEffect:
    apart: Doubles = np.concatenate(
        [other.surprisal_bits.astype(np.float64) - one.surprisal_bits.astype(np.float64) for one, other in pairs]
    )
    # Level and power speak of what could have been found, which is not asked of one prompt.
    effect = mean_effect(apart.tolist(), confidence=confidence, level=0.05, power=0.8)
    single = effect.clusters == 1
    return PromptEffect(
        prompt_id=prompt_id,
        kind=kind,
        tokens=effect.clusters,
        flipped=sum(int((one.argmax_ids != other.argmax_ids).sum()) for one, other in pairs),
        surprisal_bits=effect.mean,
        low=None if single else effect.low,
        high=None if single else effect.high,
    )
