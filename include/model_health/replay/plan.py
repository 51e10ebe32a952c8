"""What is put through a model by a replay: items as token ids, the order in which they share batches.

Owns how items become rows of a batch, padding included. Knows no model, no suite and no statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from model_health.baseline.key import PaddingSide
from model_health.baseline.observations import Ints, Kind

PADDING_RATIO = 1.5
FREE_WIDTH = 48
"""A sequence shares a batch with one up to 1.5 times its length; up to 48 tokens, whatever its own length."""


@dataclass(frozen=True)
class ReplayItem:
    """One sequence to replay.

    Args:
        item_id, prompt_id, kind, group: see `baseline.observations.ItemObservation`.
        context_ids: tokens before the first scored one, at least one (the encoder's input for an encoder-decoder).
        token_ids: the T scored tokens, at least one.
        decoder_start: what the decoder begins with (encoder-decoder only), at least one token there.
        reference_ids: [T, K] int32, the baseline's most likely tokens, or None where there is no baseline yet.
    """

    item_id: str
    prompt_id: str
    kind: Kind
    group: str
    context_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    decoder_start: tuple[int, ...] = ()
    reference_ids: Ints | None = None

    def __post_init__(self) -> None:
        if not self.token_ids or not self.context_ids:
            raise ValueError(f"{self.item_id} needs a context and a scored token")

    @property
    def fed(self) -> tuple[int, ...]:
        """What the decoder reads: everything but the last scored token, which nothing follows."""
        return (self.decoder_start or self.context_ids) + self.token_ids[:-1]

    @property
    def first(self) -> int:
        """The position in `fed` from which the first scored token is predicted."""
        return len(self.decoder_start or self.context_ids) - 1


@dataclass(frozen=True)
class Padded:
    """Rows of different lengths as a rectangle.

    ids, mask: [B, W] int64 on the device; mask is 1 for real tokens. offsets: where each row's first token is.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def width(self) -> int:
        """W."""
        return int(self.ids.shape[1])


def batches(items: Sequence[ReplayItem], batch_size: int) -> Iterator[tuple[int, ...]]:
    """Places of items that go through the model together, longest first, of similar length.

    The order follows from the items and the batch size alone, so that the same plan always gives the same batches.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    sizes = [(len(item.fed), len(item.context_ids) if item.decoder_start else 0) for item in items]
    order = sorted(range(len(items)), key=lambda at: (-sizes[at][0] - sizes[at][1], at))
    begin = 0
    for end in range(1, len(order) + 1):
        widest = sum(sizes[order[begin]])
        if (
            end == len(order)
            or end - begin == batch_size
            or widest > max(PADDING_RATIO * sum(sizes[order[end]]), FREE_WIDTH)
        ):
            yield tuple(order[begin:end])
            begin = end


def pad(rows: Sequence[Sequence[int]], side: PaddingSide, pad_id: int, device: torch.device) -> Padded:
    """Fill rows up to the longest of them."""
    width = max(len(row) for row in rows)
    offsets = tuple(width - len(row) if side == "left" else 0 for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for row, (tokens, offset) in enumerate(zip(rows, offsets, strict=True)):
        ids[row, offset : offset + len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
        mask[row, offset : offset + len(tokens)] = 1
    return Padded(ids.to(device), mask.to(device), offsets, tuple(len(row) for row in rows))
