"""Collects the logits of decode steps and reduces them in blocks, together with the tokens that were chosen from them.

A small batch pays for kernels, not for numbers: sixteen steps reduced at once cost little more than one. A large batch
pays for memory: its steps are reduced one by one.
"""

from __future__ import annotations

import torch

from model_health.metrics.logits import LogitStatistics, logit_statistics
from model_health.metrics.scratch import Scratch
from model_health.metrics.step_buffer import StepBuffer

_BLOCK_STEPS = 16
_BLOCK_ELEMENTS = 1 << 20
"""A block ends after 16 steps, or when its logits reach 4 MB in float32."""


class LogitSteps:
    """Statistics of every step, [N, B, ...] per block, and the raw logit of the token chosen after it, [N, B]."""

    def __init__(self, k: int, scratch: Scratch) -> None:
        self.blocks: list[LogitStatistics] = []
        self.chosen: list[torch.Tensor] = []
        self._k = k
        self._scratch = scratch
        self._logits = StepBuffer("logits", scratch)
        self._tokens: list[torch.Tensor] = []
        self._capacity = 1

    def add(self, logits: torch.Tensor) -> None:
        """Take the newest raw logits, [B, V]."""
        self._capacity = min(_BLOCK_STEPS, max(1, _BLOCK_ELEMENTS // logits.numel()))
        self._logits.add(logits, self._capacity, logits.device)

    def choose(self, tokens: torch.Tensor) -> None:
        """Say which tokens [B, 1] were chosen from the newest logits; without logits that wait nothing happens."""
        if len(self._tokens) < self._logits.filled:
            self._tokens.append(tokens)
            if self._logits.filled >= self._capacity:
                self.flush()

    def flush(self) -> None:
        """Reduce what waits."""
        if not self._tokens:
            return
        z = self._logits.take()
        tokens = torch.stack(self._tokens).to(z.device)
        self.chosen.append(z.gather(-1, tokens)[..., 0])
        self.blocks.append(logit_statistics(z, self._k, self._scratch))
        self._tokens.clear()

    def release(self) -> None:
        """Let the working memory go; the blocks stay."""
        self._logits.release()
