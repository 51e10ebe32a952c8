"""Collects the logits of decode steps and reduces them in blocks, together with the tokens that were chosen from them.

A small batch pays for kernels, not for numbers: sixteen steps reduced at once cost little more than one. A large batch
pays for memory: its steps are reduced one by one, while their logits are still in the processor's cache.
"""

from __future__ import annotations

import torch

from model_health.metrics.hidden import compact, on
from model_health.metrics.logits import LogitStatistics, logit_statistics
from model_health.metrics.scratch import Scratch

_BLOCK_STEPS = 16
_BLOCK_ELEMENTS = 1 << 20
"""A block ends after 16 steps, or when its logits reach 4 MB in float32."""


class LogitSteps:
    """Statistics of every step, [N, B, ...] per block, and the raw logit of the token chosen after it, [N, B]."""

    def __init__(self, k: int, scratch: Scratch) -> None:
        self.blocks: list[LogitStatistics] = []
        self.chosen: list[torch.Tensor] = []
        self._k = k
        self._logits: list[torch.Tensor] = []
        self._tokens: list[torch.Tensor] = []
        self._scratch = scratch

    def add(self, logits: torch.Tensor) -> None:
        """Take the newest raw logits, [B, V]."""
        self._logits.append(compact(logits))

    def choose(self, tokens: torch.Tensor) -> None:
        """Say which tokens [B, 1] were chosen from the newest logits; without logits that wait nothing happens."""
        if len(self._tokens) == len(self._logits):
            return
        self._tokens.append(tokens)
        newest = self._logits[-1]
        if len(self._logits) >= min(_BLOCK_STEPS, max(1, _BLOCK_ELEMENTS // newest.numel())):
            self.flush()

    def flush(self) -> None:
        """Reduce what waits."""
        if not self._logits:
            return
        z = self._logits[0][None] if len(self._logits) == 1 else torch.stack(self._logits)
        tokens = torch.stack([on(z.device, one) for one in self._tokens])
        self.blocks.append(logit_statistics(z, self._k, self._scratch))
        self.chosen.append(z.gather(-1, tokens)[..., 0].float())
        self._logits.clear()
        self._tokens.clear()
