"""Where a replay first holds NaN or an infinity. Owns that search; a monitor that lets one through sees nothing.

Hidden states count, not only logits: a norm at the end turns an overflow into ordinary, often uniform logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_health.baseline.observations import ItemObservation, ReplayObservation


@dataclass(frozen=True)
class NonFinite:
    """The first state in the order of computation that is not finite, and an item and scored token where it shows.

    `state` is "logits" where all states are finite. `row` and `token_id` are None where only the context shows it.
    """

    state: str
    item_id: str
    row: int | None
    token_id: int | None

    def __str__(self) -> str:
        token = "" if self.row is None else f", scored token {self.row}"
        return f"{self.state} of {self.item_id}{token}"


def first_non_finite(observation: ReplayObservation) -> NonFinite | None:
    """Of all items the one whose earliest non-finite state comes first; None where everything is finite."""
    found = [(_state(item), index) for index, item in enumerate(observation.items)]
    states = [(state, index) for state, index in found if state is not None]
    if not states:
        return None
    state, index = min(states)
    item = observation.items[index]
    names = observation.state_names
    row = _row(item, state)
    token = None if row is None else int(item.token_ids[row])
    return NonFinite(names[state] if state < len(names) else "logits", item.item_id, row, token)


def _state(item: ItemObservation) -> int | None:
    """The first non-finite state of one item; the number of states for the logits and what was made of them."""
    bad = item.non_finite.astype(np.int64) + (~np.isfinite(item.norms)).sum(axis=0)
    bad = bad + (~np.isfinite(item.sketches)).sum(axis=(0, 2))
    if bad.any():
        return int(np.flatnonzero(bad)[0])
    return None if item.logits_non_finite == 0 and not _bad_logits(item).any() else int(bad.size)


def _row(item: ItemObservation, state: int) -> int | None:
    bad = ~np.isfinite(item.norms[:, state]) if state < item.norms.shape[1] else _bad_logits(item)
    rows = np.flatnonzero(bad)
    return int(rows[0]) if rows.size else None


def _bad_logits(item: ItemObservation) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """[T]; a log-probability of -inf among the top tokens is a token that is masked on purpose, all else is wrong."""
    bad = ~np.isfinite(item.logprobs) | ~np.isfinite(item.entropy_bits)
    for table in (item.top_logprobs, item.reference_logprobs):
        if table is not None:
            bad = bad | (np.isnan(table) | (table == np.inf)).any(axis=1)
    return np.asarray(bad)
