"""Which prompts and tokens changed, side by side: where the new model would have said something else.

Owns the flip report and its JSON; `flips_markdown` draws it. A flip is a scored token whose most likely token is
another one. The text around it is the baseline's, since replay never leaves it. Where no token flipped, the report says
so: dividing all logits by 0.7 flips none, and costs a bit of surprisal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from model_health.baseline.divergence import swing
from model_health.baseline.observations import ItemObservation, ReplayObservation

BEFORE: Final = 12
"""Tokens of text that are shown before a flip."""
Decode = Callable[[Sequence[int]], str]
"""Token ids to text, as the tokenizer does it."""


@dataclass(frozen=True)
class Flip:
    """One token. `before` is the text that leads to it; `swing` in nats, see `divergence.swing`."""

    row: int
    before: str
    old_token: int
    old_text: str
    new_token: int
    new_text: str
    swing: float


@dataclass(frozen=True)
class ItemFlips:
    """One item. `flips` are the first in order, `flipped` counts all; `surprisal_bits` is new minus old, per token."""

    item_id: str
    prompt_id: str
    kind: str
    tokens: int
    flipped: int
    surprisal_bits: float
    flips: tuple[Flip, ...]


@dataclass(frozen=True)
class FlipReport:
    """All items with flips, those with most first; `items` and `tokens` count all that were compared."""

    items: int
    tokens: int
    flipped: int
    changed: tuple[ItemFlips, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "changed": [asdict(item) for item in self.changed]}


def flip_report(old: ReplayObservation, new: ReplayObservation, decode: Decode, *, shown: int = 5) -> FlipReport:
    """Compare two paired, finite observations; at most `shown` flips of an item are spelled out."""
    pairs = zip(old.items, new.items, strict=True)
    items = [_item(one, other, decode, shown) for one, other in pairs]
    changed = sorted((item for item in items if item.flipped), key=lambda item: (-item.flipped, item.item_id))
    return FlipReport(len(items), old.tokens, sum(item.flipped for item in items), tuple(changed))


def _item(old: ItemObservation, new: ItemObservation, decode: Decode, shown: int) -> ItemFlips:
    moved = swing(old, new)
    rows = np.flatnonzero(~np.isnan(moved))
    apart = new.surprisal_bits.astype(np.float64) - old.surprisal_bits.astype(np.float64)
    # An encoder-decoder's scored tokens continue what its decoder began with, not what its encoder read.
    lead = old.decoder_start.tolist() or old.context_ids.tolist()
    text, start = [*lead, *old.token_ids.tolist()], len(lead)
    flips = tuple(
        Flip(
            row=int(row),
            before=decode(text[max(0, start + int(row) - BEFORE) : start + int(row)]),
            old_token=int(old.argmax_ids[row]),
            old_text=decode([int(old.argmax_ids[row])]),
            new_token=int(new.argmax_ids[row]),
            new_text=decode([int(new.argmax_ids[row])]),
            swing=float(moved[row]),
        )
        for row in rows[:shown]
    )
    return ItemFlips(old.item_id, old.prompt_id, old.kind, old.tokens, int(rows.size), float(apart.mean()), flips)
