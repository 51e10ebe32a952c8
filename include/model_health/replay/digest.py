"""Digests over the bits of real tokens, fed row by row as states stream by.

On a CPU the bytes themselves are hashed. On an accelerator that would send every hidden state over the bus, so each
token is first reduced there to two 64-bit sums of its bits times odd weights, in integers, whose order of addition
cannot matter; these words are hashed. A change of one element always changes a sum (an odd weight times a difference
below 2^64 is not 0), and changes of many cancel in both with a chance of about 2^-64. The two ways give different
digests, marked by their first letter, which is right: bits of two kinds of device are not expected to agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

BYTES = 16
_SEED = 0x6D6F6465
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class RowDigests:
    """One running digest per item. `update` may come in pieces, in the order of tokens."""

    def __init__(self, items: int) -> None:
        self._hashes = [hashlib.sha256() for _ in range(items)]
        self._letter = b"\x00"

    def update(self, values: torch.Tensor, parts: Sequence[tuple[int, int, int, int]]) -> None:
        """Take pieces of `values` [B, Q, H]: (item, row, first, last) means values[row, first:last]."""
        on_device = values.device.type != "cpu"
        self._letter = b"\x01" if on_device else b"\x00"
        shown = words(values) if on_device else _bytes(values)
        for item, row, first, last in parts:
            self._hashes[item].update(shown[row, first:last].data)

    def hexdigests(self) -> tuple[str, ...]:
        """One digest per item: 00 or 01 (bytes, or words of a device), and 15 bytes, in hex."""
        return tuple((self._letter + one.digest()[: BYTES - 1]).hex() for one in self._hashes)


def _bytes(values: torch.Tensor) -> Any:
    return values.detach().contiguous().view(torch.uint8).numpy()


def words(values: torch.Tensor) -> Any:
    """[B, Q, H] -> [B, Q, 2] int64 on the host."""
    bits = values.detach().contiguous().view(_INTEGERS[values.element_size()]).to(torch.int64)
    weights = _weights(bits.shape[-1], values.device)
    return torch.stack([(bits * weight).sum(-1) for weight in weights], dim=-1).cpu().numpy()


@lru_cache(maxsize=16)
def _weights(width: int, device: torch.device) -> torch.Tensor:
    """[2, width] odd int64, the same on every device."""
    generator = torch.Generator().manual_seed(_SEED)
    drawn = torch.randint(-(2**62), 2**62, (2, width), generator=generator, dtype=torch.int64)
    return (drawn * 2 + 1).to(device)
