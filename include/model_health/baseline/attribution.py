"""Where a change begins: the first state, and the first token, that left what the baseline saw.

Owns the naming, and when not to name. Under the same key the first digest that differs is the place: 86 of 86
single-layer faults were placed so, down to one last bit. Otherwise it is the first state whose mean sketch distance
leaves its own limit, if all states before it are clearly within theirs: one in the grey between the floor and the limit
may be where a small fault began, and a wrong name costs more than none. Nor is a state named that left its limit in one
text alone: a fault of weights touches all texts, but one of a single token, in a block before, reaches the tokens that
have a sketch only through the attention of the next.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from model_health.baseline.distances import item_distances
from model_health.baseline.numbers import Numbers
from model_health.baseline.observations import ReplayObservation, first_difference
from model_health.baseline.tolerance import FACTOR, Limits

GREY: Final = 3.0 / FACTOR
"""Of the limit, so three times the floor: more than any recorded healthy pair had, less than what counts as beyond."""
HEAD: Final = "head"
"""All hidden states agree and the logits do not: the head, or what processes the logits."""


@dataclass(frozen=True)
class Place:
    """Where a change begins.

    Args:
        state: of `ReplayObservation.state_names`, or `head`; None where naming one would be a guess.
        how: "bits" (a digest differs), "band" (a limit is exceeded), or "unnamed".
        item_id, row, token_id: the first scored token at which it shows, in the order of items; None where none does
            (the context alone, or too small for a sketch).
        reason: one clause.
    """

    state: str | None
    how: str
    item_id: str | None
    row: int | None
    token_id: int | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        where = self.state or "unnamed"
        return where if self.item_id is None else f"{where}, first at {self.item_id}, scored token {self.row}"


def place_by_bits(old: ReplayObservation, new: ReplayObservation) -> Place | None:
    """The earliest state of any item whose digest differs; None where all bits are equal. They must be paired."""
    firsts = [first_difference(one, other) for one, other in zip(old.items, new.items, strict=True)]
    differing = [first for first in firsts if first is not None]
    if not differing:
        return None
    state = min(differing)
    name = old.state_names[state] if state < len(old.state_names) else HEAD
    item, row, token = _first_row(old, new, state, 0.0)
    item = old.items[firsts.index(state)].item_id if item is None else item
    items = sum(first == state for first in firsts)
    return Place(name, "bits", item, row, token, f"the first bits that differ, in {items} of {len(firsts)} items")


def place_by_band(old: ReplayObservation, new: ReplayObservation, numbers: Numbers, limits: Limits) -> Place | None:
    """The first state outside its limit; None where nothing at all is beyond tolerance. The observations are paired."""
    ratios = [value / limit for value, limit in zip(numbers.states, limits.states, strict=True)]
    beyond = [index for index, ratio in enumerate(ratios) if ratio > 1.0]
    names = old.state_names
    if beyond:
        first = beyond[0]
        item, row, token = _first_row(old, new, first, limits.states[first])
        grey = [names[index] for index, ratio in enumerate(ratios[:first]) if ratio > GREY]
        if grey:
            why = f"{names[first]} is the first beyond its limit, but {grey[0]} lies between its floor and its limit"
            return Place(None, "unnamed", item, row, token, why)
        alone = None if names[first].endswith("embedding") else _only_item(old, new, first, limits.states[first])
        if alone is not None:
            why = (
                f"{names[first]} is the first beyond its limit, but in {alone} alone: a token without a sketch may have"
            )
            return Place(None, "unnamed", item, row, token, f"{why} brought it there from a block before")
        return Place(names[first], "band", item, row, token, f"{ratios[first] * FACTOR:.3g} times its own floor")
    families = limits.beyond(numbers)
    if not families:
        return None
    quiet = max(ratios, default=0.0) <= GREY and not {"sketch", "norm"} & set(families)
    worst = numbers.worst[families[0]]
    token = int(old.by_id[worst.item_id].token_ids[worst.row])
    if quiet:
        why = "every hidden state is within its band and the logits are not"
        return Place(HEAD, "band", worst.item_id, worst.row, token, why)
    why = f"beyond tolerance in {', '.join(families)}, but in no state's mean"
    return Place(None, "unnamed", worst.item_id, worst.row, token, why)


def _only_item(old: ReplayObservation, new: ReplayObservation, state: int, limit: float) -> str | None:
    """The only item that a state's limit is exceeded in, by the item's mean, while all others look healthy there."""
    means = {
        one.item_id: float(item_distances(one, other).sketch[:, state].mean())
        for one, other in zip(old.items, new.items, strict=True)
        if len(one.sketch_rows)
    }
    touched = [item for item, mean in means.items() if mean > GREY * limit]
    return touched[0] if len(touched) == 1 < len(means) else None


def _first_row(
    old: ReplayObservation, new: ReplayObservation, state: int, limit: float
) -> tuple[str | None, int | None, int | None]:
    """Item, scored row and token of the first distance above `limit` at a state, or in the logits behind all states."""
    for one, other in zip(old.items, new.items, strict=True):
        apart = item_distances(one, other)
        if state < len(old.state_names):
            hits = one.sketch_rows[apart.sketch[:, state] > limit]
        else:
            hits = (apart.logprob > limit).nonzero()[0].astype(np.int32)
        if len(hits):
            return one.item_id, int(hits[0]), int(one.token_ids[hits[0]])
    return None, None, None
