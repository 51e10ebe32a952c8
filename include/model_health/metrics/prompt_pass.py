"""Reduces `generate`'s own prefill (or the encoder's pass) to prompt telemetry, as it streams by.

Each block output is reduced when it appears: statistics averaged over real tokens, and the cosine with the block before
it, for which one earlier state is held at a time. Prompt surprisals need logits at every prompt position, which
`generate` does not compute: the model's own code makes them in chunks (see `capture.head`), and those of the last
position are compared with the logits that it did compute, to prove it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from model_health.capture.head import ApplyHead
from model_health.metrics.hidden import hidden_statistics, masked_mean, non_finite, on

_HEAD_ELEMENTS = 1 << 22
"""Logits computed at once for prompt surprisals (16 MB in float32)."""


@dataclass
class StackPass:
    """One pass over a prompt, per layer: statistics [B, 4], non-finite [B, 2], transformations [B] (from layer 1)."""

    real: torch.Tensor
    all_real: bool
    want_transformations: bool
    statistics: list[torch.Tensor] = field(default_factory=list)
    bad: list[torch.Tensor] = field(default_factory=list)
    transformations: list[torch.Tensor] = field(default_factory=list)
    sketches: list[torch.Tensor] = field(default_factory=list)
    _previous: tuple[torch.Tensor, torch.Tensor] | None = None

    def add(self, state: torch.Tensor, projection: torch.Tensor | None) -> None:
        """Take the output of the next block, [B, S, H]; where layers lie on several devices, results are gathered."""
        home = self.real.device
        mask = None if self.all_real else on(state.device, self.real)
        table = hidden_statistics(state)
        self.statistics.append(on(home, masked_mean(table, mask)))
        marks = non_finite(state, table)
        self.bad.append(on(home, (marks if mask is None else marks & mask[..., None]).any(1)))
        if projection is not None:
            # projected first: the mean commutes, and masking [B, S, D] copies less than masking [B, S, H]
            self.sketches.append(on(home, masked_mean(state.float() @ on(state.device, projection), mask)))
        if self.want_transformations:
            x, norm = state.float(), table[..., 2]
            if self._previous is not None:
                before, before_norm = (on(x.device, kept) for kept in self._previous)
                cosine = torch.linalg.vecdot(x, before) / (norm * before_norm).clamp_min(1e-12)
                self.transformations.append(1.0 - on(home, masked_mean(cosine, mask)))
            self._previous = (x, norm)

    def drop(self) -> None:
        """Forget everything read so far."""
        for table in (self.statistics, self.bad, self.transformations, self.sketches):
            table.clear()
        self._previous = None

    def release(self) -> None:
        """Let go of the last block's state: the pass is over."""
        self._previous = None


@dataclass
class PromptSurprisal:
    """Surprisal in bits of each prompt token after the first, [B, P - 1], and rebuilt logits of the newest [B, V].

    What is not finite tells why: NaN for NaN among the position's logits, -inf for +inf among them, and +inf for a
    token that the model masks on purpose.
    """

    bits: torch.Tensor
    newest: torch.Tensor

    def disagreement(self, actual: torch.Tensor) -> torch.Tensor:
        """How far the rebuilt logits miss the model's [B, V]: a scalar, relative to their largest finite magnitude.

        Where the model's are not finite nothing is compared; NaN of ours elsewhere is an infinite miss.
        """
        actual = on(self.newest.device, actual)
        finite = torch.where(torch.isfinite(actual), actual, 0.0).float()
        rebuilt = torch.where(torch.isfinite(actual), self.newest, 0.0).float()
        miss = (rebuilt - finite).abs().amax() / finite.abs().amax().clamp_min(1e-12)
        return torch.where(torch.isnan(miss), torch.inf, miss)


def prompt_surprisal(apply: ApplyHead, ids: torch.Tensor) -> PromptSurprisal | None:
    """Surprisals of a prompt [B, P], from its logits at a few positions at a time.

    None where the model makes its logits of something else than its final states.
    """
    batch, length = ids.shape
    last_logits = apply(length - 1, length)
    if last_logits.dim() != 3 or last_logits.shape[:2] != (batch, 1):
        return None
    newest = last_logits[:, -1]
    chunk = max(1, _HEAD_ELEMENTS // (batch * newest.shape[-1]))
    parts: list[torch.Tensor] = []
    for first in range(0, length - 1, chunk):
        last = min(length - 1, first + chunk)
        z = apply(first, last).float()
        chosen = z.gather(-1, on(z.device, ids)[:, first + 1 : last + 1, None])[..., 0]
        lse = torch.logsumexp(z, dim=-1)
        # +inf among the logits must not pass for a token that the model masks, which alone has a surprisal of +inf
        parts.append(torch.where(torch.isposinf(lse), -torch.inf, lse - chosen) / math.log(2.0))
    bits = torch.cat(parts, dim=1) if parts else newest.new_zeros(batch, 0, dtype=torch.float32)
    return PromptSurprisal(bits, newest)
