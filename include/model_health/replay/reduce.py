"""What is kept of the states of one batch: norms, sketches, digests, counts of non-finite values.

States come one at a time and are let go at once; what is kept is a few numbers per scored token and state. A pass in
pieces (a KV cache) gives each state several times, for later and later tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from model_health.baseline.observations import Floats, Ints
from model_health.metrics.hidden import projection
from model_health.replay.digest import RowDigests
from model_health.replay.plan import Padded

MAX_SKETCHED = 16
"""Rows of an item of which sketches are kept, evenly spread: all of them would make a baseline 12 MB instead of 5."""


@lru_cache(maxsize=8)
def _projection(width: int, dimensions: int, seed: int, device: torch.device) -> torch.Tensor:
    return projection(width, dimensions, seed, device).double()


def sketched_rows(tokens: int) -> Ints:
    """Which of T scored rows have a sketch: at most `MAX_SKETCHED`, the first and the last among them."""
    return np.unique(np.linspace(0, tokens - 1, min(tokens, MAX_SKETCHED)).round()).astype(np.int32)


@dataclass(frozen=True)
class Sight:
    """Where the states of one stack are looked at: per item of the batch the positions [T], and which are sketched."""

    padded: Padded
    positions: tuple[Ints, ...]
    sketched: tuple[Ints, ...]


class StackReducer:
    """Reduces the states of one stack for one batch.

    Args:
        sight: where to look.
        states: number of states.
        dimensions, seed: of the sketch.
    """

    def __init__(self, sight: Sight, states: int, *, dimensions: int, seed: int) -> None:
        self._sight, self._dimensions, self._seed = sight, dimensions, seed
        device = sight.padded.ids.device
        items = range(len(sight.positions))
        row = np.concatenate([np.full(len(sight.positions[item]), item) for item in items])
        column = np.concatenate([sight.positions[item] + sight.padded.offsets[item] for item in items])
        starts = np.cumsum([0, *(len(positions) for positions in sight.positions)])
        self._starts = starts
        kept = np.concatenate([sight.sketched[item] + starts[item] for item in items])
        self._row, self._column = torch.from_numpy(row).to(device), torch.from_numpy(column).to(device)
        self._kept = torch.from_numpy(kept).to(device)
        self._norms = torch.full((len(row), states), torch.nan, dtype=torch.float32, device=device)
        self._sketches = torch.full((len(kept), states, dimensions), torch.nan, dtype=torch.float32, device=device)
        self._bad = torch.zeros((len(items), states), dtype=torch.int64, device=device)
        self._digests = [RowDigests(len(items)) for _ in range(states)]

    def scored(self, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scored rows whose position lies in first .. last - 1: their places [n], batch rows [n] and columns [n]."""
        inside = (self._column >= first) & (self._column < last)
        place = torch.nonzero(inside)[:, 0]
        return place, self._row[place], self._column[place] - first

    def take(self, index: int, state: torch.Tensor, first: int) -> None:
        """Take state `index`, [B, Q, H], of the positions from `first` on."""
        last = first + state.shape[1]
        place, row, column = self.scored(first, last)
        x = state[row, column].float()
        # in float64: the square of a finite float32 may be infinite
        self._norms[place, index] = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64).float()
        chosen = torch.isin(self._kept, place)
        local = torch.searchsorted(place, self._kept[chosen])
        matrix = _projection(state.shape[-1], self._dimensions, self._seed, state.device)
        # in float64 too: in float32 the product's own rounding depends on how many rows it has
        self._sketches[chosen, index] = (x[local].double() @ matrix).float()
        parts = self._parts(first, last)
        if not bool(torch.isfinite(state.sum())):
            for item, begin, end in ((item, begin, end) for item, _, begin, end in parts):
                self._bad[item, index] += (~torch.isfinite(state[item, begin:end])).sum()
        self._digests[index].update(state, parts)

    def _parts(self, first: int, last: int) -> list[tuple[int, int, int, int]]:
        """The real tokens of each item between two columns: (item, row, begin, end), counted from the first."""
        padded, parts = self._sight.padded, []
        for item, (offset, length) in enumerate(zip(padded.offsets, padded.lengths, strict=True)):
            begin, end = max(offset, first), min(offset + length, last)
            if begin < end:
                parts.append((item, item, begin - first, end - first))
        return parts

    def norms(self) -> list[Floats]:
        """Per item [T, S]."""
        host = self._norms.cpu().numpy()
        return [host[begin:end] for begin, end in zip(self._starts, self._starts[1:], strict=False)]

    def sketches(self) -> list[Floats]:
        """Per item [R, S, D]."""
        host = self._sketches.cpu().numpy()
        ends = np.cumsum([len(rows) for rows in self._sight.sketched])
        return np.split(host, ends[:-1])

    def non_finite(self) -> Ints:
        """[items, S]."""
        return self._bad.cpu().numpy().astype(np.int32)

    def digests(self) -> list[tuple[str, ...]]:
        """Per item [S]."""
        return list(zip(*(one.hexdigests() for one in self._digests), strict=True))


def joined(parts: Sequence[Floats], axis: int) -> Floats:
    """What two stacks saw of one item, one behind the other along the axis of states."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)
