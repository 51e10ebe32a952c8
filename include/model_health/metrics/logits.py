"""Reduces the raw next-token logits of one step to a few numbers per row, on their device.

Formulas (p = softmax(z) over the full vocabulary, in float32, z the model's raw logits before any temperature,
penalty or filter, z1 the largest of them):
- entropy_bits = -sum p log2 p = (-ln p(1) - sum p (z - z1)) / ln 2
- top1_top2_margin = p(1) - p(2); topk_mass = sum of the k largest p
- surprisal_bits of token t = (z1 - z_t - ln p(1)) / ln 2
Everything is relative to z1, so that a constant added to all logits changes nothing. A -inf that a model masks on
purpose has p = 0 and adds 0. NaN, +inf or a row of nothing but -inf is marked and makes the statistics NaN here, which
the report turns into null with the reason: never into a number.

A decode step pays for what needs its whole vocabulary; the rest is derived once, from all steps together. Two passes
over working memory that is used again cost a third of the same with fresh tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from model_health.metrics.scratch import Scratch

_LN2 = math.log(2.0)
_BLOCK = 64
"""Width of the blocks that the top-k looks at first; 64 was the quickest of 32 to 512 for 32k to 50k tokens."""
_FLOOR = -3.0e38
"""Finite stand-in for -inf: 0 * _FLOOR is 0 where 0 * -inf would be NaN."""


@dataclass(frozen=True)
class LogitStatistics:
    """What is left of the logits of one step ([B, ...]) or, stacked, of many ([T, B, ...]).

    topk_logits, topk_token_ids and topk_probs [..., k], most likely first; expected_gap [...] is sum p (z - z1).
    """

    topk_logits: torch.Tensor
    topk_token_ids: torch.Tensor
    topk_probs: torch.Tensor
    expected_gap: torch.Tensor

    @classmethod
    def join(cls, blocks: Sequence[LogitStatistics]) -> LogitStatistics:
        """Blocks of steps as one, along their first axis."""
        return cls(
            torch.cat([block.topk_logits for block in blocks]),
            torch.cat([block.topk_token_ids for block in blocks]),
            torch.cat([block.topk_probs for block in blocks]),
            torch.cat([block.expected_gap for block in blocks]),
        )

    @property
    def entropy_bits(self) -> torch.Tensor:
        """Entropy of the distribution, [...]."""
        entropy = (-self.topk_probs[..., 0].log() - self.expected_gap) / _LN2
        return entropy.clamp_min(0.0)  # rounding can leave -1e-7; clamp keeps NaN

    @property
    def nan(self) -> torch.Tensor:
        """Whether any logit is NaN, [...]: the top-k counts a NaN as the largest value."""
        return torch.isnan(self.topk_logits[..., 0])

    @property
    def inf(self) -> torch.Tensor:
        """Whether any logit is +inf or all are -inf, [...] (+inf goes unseen beside k or more NaN)."""
        return torch.isposinf(self.topk_logits).any(-1) | torch.isneginf(self.topk_logits[..., 0])

    def surprisal_bits(self, chosen: torch.Tensor) -> torch.Tensor:
        """-log2 p of tokens whose raw logits are `chosen` [...]; inf for a token that the model masks."""
        return (self.topk_logits[..., 0] - chosen - self.topk_probs[..., 0].log()) / _LN2


def blocked_topk(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of the last axis, [..., N] -> values and indices [..., k], largest first.

    The k largest elements lie in the k blocks with the largest maxima, so a small top-k over block maxima and one over
    the k winning blocks replace one over everything. Equal to `torch.topk` except in the order of ties; a NaN counts
    as the largest value, as it does there.
    """
    n = values.shape[-1]
    k = min(k, n)
    blocks = n // _BLOCK
    if blocks <= 4 * k:
        result = values.topk(k, dim=-1)
        return result.values, result.indices
    lead = values.shape[:-1]
    head = values[..., : blocks * _BLOCK].reshape(*lead, blocks, _BLOCK)
    chosen = head.amax(-1).topk(k, dim=-1).indices
    picked = head.gather(-2, chosen[..., None].expand(*lead, k, _BLOCK)).reshape(*lead, k * _BLOCK)
    if blocks * _BLOCK < n:  # what is left over is one more block, a short one
        picked = torch.cat((picked, values[..., blocks * _BLOCK :]), dim=-1)
        chosen = torch.nn.functional.pad(chosen, (0, 1), value=blocks)
    best = picked.topk(k, dim=-1)
    index = chosen.gather(-1, best.indices // _BLOCK) * _BLOCK + best.indices % _BLOCK
    return best.values, index


def logit_statistics(logits: torch.Tensor, k: int, scratch: Scratch | None = None) -> LogitStatistics:
    """Statistics of raw logits [..., V]; `k` entries (at least 2, at most V) are kept for mass, margin and top tokens.

    With `scratch` the two intermediate tensors of the logits' size are taken from there.
    """
    scratch = scratch or Scratch()
    z = logits.float()
    top, ids = blocked_topk(z, max(k, 2))
    gaps = scratch.take("gaps", tuple(z.shape), z.device)
    torch.sub(z, top[..., :1], out=gaps).clamp_min_(_FLOOR)  # NaN and +inf become NaN; a row of -inf too (-inf - -inf)
    p = scratch.take("probabilities", tuple(z.shape), z.device)
    torch.softmax(gaps, dim=-1, out=p)
    probs = p.gather(-1, ids)
    return LogitStatistics(top, ids, probs, p.mul_(gaps).sum(-1))
