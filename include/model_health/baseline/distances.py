"""How far one replay lies from another: per item, scored token and state, then one number per family.

Owns the distances and nothing of what they mean: `tolerance` says how far harmless changes reach. All of them are
zero for equal values and finite for finite observations; all but the KL divergence are symmetric. Reduced by the
maximum over tokens, because a fault may touch one token of a thousand, and a mean would drown it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from model_health.baseline.divergence import kl_bits, swing
from model_health.baseline.finite import first_non_finite
from model_health.baseline.observations import ItemObservation, ReplayObservation
from model_health.errors import CouldNotMeasure

Doubles = npt.NDArray[np.float64]
Family = Literal["logprob", "kl", "flips", "entropy", "sketch", "norm"]
FAMILIES: Final[tuple[Family, ...]] = get_args(Family)
"""Hypotheses are counted by family, not by token, layer or step: hundreds of numbers that move together are few
facts."""

LOWEST_LOGPROB: Final = -700.0
"""Stands for a probability of zero; exp(-700) is the last one that float64 can still tell from it."""


@dataclass(frozen=True)
class ItemDistances:
    """One item, T scored tokens, R sketched rows, S states; all float64.

    Args:
        logprob: [T] nats; |difference| of the scored token's log-probability.
        kl_bits: [T] bits; see `divergence.kl_bits`.
        swing: [T] nats; 0 where the most likely token stayed, else how far the two candidates moved against each other.
        entropy: [T] bits; |difference|.
        norm: [T, S]; |log of the ratio| of the norms.
        sketch: [R, S]; distance over the larger of the two lengths, 0 to 2.
    """

    item_id: str
    prompt_id: str
    logprob: Doubles
    kl_bits: Doubles
    swing: Doubles
    entropy: Doubles
    norm: Doubles
    sketch: Doubles

    @property
    def flipped(self) -> npt.NDArray[np.bool_]:
        """[T]; where the most likely token is another one. Its swing may be 0, where both were equally likely."""
        return ~np.isnan(self.swing)

    def of(self, family: Family) -> Doubles:
        """[T] or [R]; the family's number per row, the largest over states."""
        rows: dict[Family, Doubles] = {
            "logprob": self.logprob,
            "kl": self.kl_bits,
            "flips": np.nan_to_num(self.swing, nan=0.0),
            "entropy": self.entropy,
            "sketch": self.sketch.max(axis=1, initial=0.0),
            "norm": self.norm.max(axis=1, initial=0.0),
        }
        return rows[family]


def unpaired(old: ReplayObservation, new: ReplayObservation) -> str | None:
    """Why two observations hold no pairs of tokens; None where every token of one is paired with one of the other."""
    if old.state_names != new.state_names:
        return f"{len(old.state_names)} states against {len(new.state_names)}: the models differ in their layers"
    if [item.item_id for item in old.items] != [item.item_id for item in new.items]:
        return "they hold other items"
    for one, other in zip(old.items, new.items, strict=True):
        if not (
            np.array_equal(one.token_ids, other.token_ids)
            and np.array_equal(one.context_ids, other.context_ids)
            and np.array_equal(one.decoder_start, other.decoder_start)
            and np.array_equal(one.sketch_rows, other.sketch_rows)
            and one.sketches.shape == other.sketches.shape
        ):
            return f"{one.item_id} has other tokens"
    return None if old.items else "there is no item"


def item_distances(old: ItemObservation, new: ItemObservation) -> ItemDistances:
    """The distances of one item's two observations, which must be paired (`unpaired`)."""
    return ItemDistances(
        item_id=old.item_id,
        prompt_id=old.prompt_id,
        logprob=np.abs(_double(new.logprobs) - _double(old.logprobs)),
        kl_bits=kl_bits(old, new),
        swing=swing(old, new),
        entropy=np.abs(_double(new.entropy_bits) - _double(old.entropy_bits)),
        norm=_log_ratio(_double(old.norms), _double(new.norms)),
        sketch=_relative(_double(old.sketches), _double(new.sketches)),
    )


def distances(old: ReplayObservation, new: ReplayObservation) -> tuple[ItemDistances, ...]:
    """The distances of every item.

    Raises:
        CouldNotMeasure: the observations are not paired, or one holds NaN or infinities: that is no distance but a
            broken model, and must not become a number.
    """
    why = unpaired(old, new)
    if why is not None:
        raise CouldNotMeasure(f"two replays cannot be paired: {why}", hint="compare replays of one baseline's tokens")
    for observation, name in ((old, "the first"), (new, "the second")):
        place = first_non_finite(observation)
        if place is not None:
            raise CouldNotMeasure(f"{name} replay is not finite at {place}, so it has no distance from anything")
    return tuple(item_distances(one, other) for one, other in zip(old.items, new.items, strict=True))


def _double(values: npt.NDArray[np.float32]) -> Doubles:
    return np.maximum(values.astype(np.float64), LOWEST_LOGPROB) if values.ndim == 1 else values.astype(np.float64)


def _log_ratio(old: Doubles, new: Doubles) -> Doubles:
    tiny = np.finfo(np.float32).tiny
    return np.asarray(np.abs(np.log(np.maximum(new, tiny)) - np.log(np.maximum(old, tiny))))


def _relative(old: Doubles, new: Doubles) -> Doubles:
    apart = np.linalg.norm(new - old, axis=-1)
    length = np.maximum(np.linalg.norm(old, axis=-1), np.linalg.norm(new, axis=-1))
    return np.asarray(np.divide(apart, length, out=np.zeros_like(apart), where=length > 0.0))
