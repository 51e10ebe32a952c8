"""Copies what each decode step leaves behind into one buffer, until a block of steps is full.

Copies, not references: a tensor of the model's that outlives its step moves every later allocation to another place,
which costs more than the copy, and CUDA graphs write over theirs.
"""

from __future__ import annotations

import torch

from model_health.metrics.scratch import Scratch


class StepBuffer:
    """Up to `capacity` tensors of one shape, in float32, in working memory; `filled` of them are there."""

    def __init__(self, name: str, scratch: Scratch) -> None:
        self.filled = 0
        self._name, self._scratch = name, scratch
        self._rows: list[torch.Tensor] = []
        self._whole: torch.Tensor | None = None

    def add(self, tensor: torch.Tensor, capacity: int, home: torch.device) -> None:
        """Copy `tensor` behind those that are there; the first one decides on shape, capacity and device."""
        if self.filled == 0 and (len(self._rows) < capacity or self._rows[0].shape != tensor.shape):
            self._whole = self._scratch.take(self._name, (capacity, *tensor.shape), home)
            self._rows = list(self._whole.unbind())
        self._rows[self.filled].copy_(tensor, non_blocking=True)
        self.filled += 1

    def take(self) -> torch.Tensor:
        """All that is there, [filled, ...], valid until the next `add`; the buffer is empty then."""
        assert self._whole is not None
        filled, self.filled = self.filled, 0
        return self._whole[:filled]

    def clear(self) -> None:
        """Forget what is there."""
        self.filled = 0

    def release(self) -> None:
        """Forget what is there and let the memory go, which `Scratch.release` alone would not: rows look into it."""
        self.filled, self._rows, self._whole = 0, [], None
