"""What differs between two baselines of a model: a table for people, not a judgement.

Owns the plain facts (keys, bits, flips, distances). Whether a difference matters is for the statistics to say.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model_health.baseline.artefact import Baseline
from model_health.baseline.key import Axis, changed_axes, comparable
from model_health.baseline.observations import ItemObservation, ReplayObservation, first_difference


@dataclass(frozen=True)
class ItemDifference:
    """One item that is not bit-equal in both.

    first_state: the first state whose bits differ, "logits" where only these do.
    flips: tokens whose most likely one is another; tokens: of how many.
    largest_logprob_difference: nats, null where a log-probability is not finite.
    surprisal_bits_difference: mean over tokens, new minus old; positive is worse.
    """

    item_id: str
    kind: str
    first_state: str
    flips: int
    tokens: int
    largest_logprob_difference: float | None
    surprisal_bits_difference: float | None


@dataclass(frozen=True)
class Difference:
    """Two baselines, old and new. `items` is None where they are not comparable, `why` then says so."""

    old: str
    new: str
    axes: tuple[Axis, ...]
    why: str | None
    items: tuple[ItemDifference, ...] | None
    compared: int

    @property
    def identical(self) -> bool:
        """Whether both hold the same bits."""
        return self.items == ()

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {**asdict(self), "comparable": self.items is not None, "identical": self.identical}


def difference(old: Baseline, new: Baseline) -> Difference:
    """What differs between two baselines."""
    axes = changed_axes(old.observation.key, new.observation.key)
    why = not_comparable(old.observation, new.observation)
    found = None if why is not None else tuple(_differences(old.observation, new.observation))
    return Difference(old.reference, new.reference, axes, why, found, len(old.observation.items))


def not_comparable(old: ReplayObservation, new: ReplayObservation) -> str | None:
    """Why two observations hold no pairs of tokens; None where they do."""
    if not comparable(old.key, new.key):
        axes = [axis for axis in changed_axes(old.key, new.key) if axis in ("suite", "tokenizer", "sketch")]
        return f"another {' and '.join(axes)}"
    if old.state_names != new.state_names:
        return f"{len(old.state_names)} and {len(new.state_names)} states: another architecture"
    if [_tokens(item) for item in old.items] != [_tokens(item) for item in new.items]:
        return "other tokens were replayed"
    return None


def _tokens(item: ItemObservation) -> tuple[str, bytes, bytes]:
    return item.item_id, item.context_ids.tobytes(), item.token_ids.tobytes()


def _differences(old: ReplayObservation, new: ReplayObservation) -> list[ItemDifference]:
    found = []
    for one, other in zip(old.items, new.items, strict=True):
        place = first_difference(one, other)
        if place is None:
            continue
        distance = other.logprobs.astype(np.float64) - one.logprobs
        finite = bool(np.isfinite(distance).all())
        bits = other.surprisal_bits.astype(np.float64) - one.surprisal_bits
        found.append(
            ItemDifference(
                item_id=one.item_id,
                kind=one.kind,
                first_state=(*old.state_names, "logits")[place],
                flips=int((one.argmax_ids != other.argmax_ids).sum()),
                tokens=one.tokens,
                largest_logprob_difference=float(np.abs(distance).max()) if finite else None,
                surprisal_bits_difference=float(bits.mean()) if finite else None,
            )
        )
    return found
