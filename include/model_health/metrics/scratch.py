"""Working memory that is used again: large intermediate tensors are cut out of buffers that only grow.

A fresh tensor of a few megabytes costs more to allocate than to fill: the system hands out its pages one fault at a
time. Results must never lie in here: the next caller that takes the same name writes over them.
"""

from __future__ import annotations

import math

import torch


class Scratch:
    """Named float32 buffers, one per name and device; at most as large as the largest request."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.device], torch.Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
        """An uninitialised contiguous float32 tensor of this shape; valid until `name` is taken again."""
        size = math.prod(shape)
        buffer = self._buffers.get((name, device))
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[name, device] = torch.empty(size, dtype=torch.float32, device=device)
        return buffer[:size].view(shape)

    def release(self) -> None:
        """Give the memory back; what was taken stays valid for who still holds it."""
        self._buffers.clear()
