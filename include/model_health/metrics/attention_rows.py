"""Attention weights of chosen query rows, rebuilt from queries and keys, and their entropy.

The production backend (sdpa, flash) returns no weights. For a handful of query rows they cost little to rebuild:
s = scaling * q k^T (+ position bias, softcap, mask), p = softmax(s). Whether the rebuilt weights are the ones that
the backend used is not assumed: `disagreement` multiplies them with the values and compares with the backend's output.
"""

from __future__ import annotations

import torch

from model_health.capture.events import AttentionCall
from model_health.metrics.scratch import Scratch

MASKED = -3.0e38
"""Finite score of a masked key: exp gives 0, and 0 * MASKED is 0."""


def scores(call: AttentionCall, query: torch.Tensor, keys: int, scratch: Scratch | None = None) -> torch.Tensor:
    """Scaled, soft-capped scores of query rows [B, Hq, N, D] against the first `keys` keys -> [B, Hq, N, S] float32.

    Grouped-query heads share a key head: query head h reads key head h // (Hq / Hk). No bias, no mask. The result lies
    in `scratch`, if one is given.
    """
    batch, heads, rows, width = query.shape
    key_heads = call.key.shape[1]
    # in float32, as the fused kernels accumulate: float16 scores overflow, bfloat16 ones are off by a tenth at 30
    grouped = query.float().reshape(batch * key_heads, heads // key_heads * rows, width)
    key = call.key[:, :, :keys].float().reshape(batch * key_heads, keys, width)
    out = (scratch or Scratch()).take("scores", (*grouped.shape[:2], keys), query.device)
    out.baddbmm_(grouped, key.transpose(1, 2), beta=0, alpha=call.scaling)
    s = out.view(batch, heads, rows, keys)
    if call.softcap is not None:
        s = s.div_(call.softcap).tanh_().mul_(call.softcap)
    return s


def apply_mask(s: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mask scores [B, Hq, N, S] with a bool (True: visible) or additive mask that broadcasts to them."""
    if mask is None:
        return s
    if mask.dtype == torch.bool:
        return s.masked_fill_(~mask, MASKED)
    # additive masks hold the lowest number of the model's dtype, which in bfloat16 is lower than float32 can add to
    return s.add_(mask.float()).clamp_min_(MASKED)


def softmax_rows(
    s: torch.Tensor, sinks: torch.Tensor | None, scratch: Scratch | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights, entropy in nats and largest weight of score rows [B, Hq, N, S] -> [B, Hq, N, S], [B, Hq, N], [B, Hq, N].

    H = -sum p log p = lse * sum p - sum p s. With attention sinks (a learned extra logit per head, [Hq]) the weights of
    the real keys sum to less than 1, and the entropy is over the real keys, as the model sees them. Without sinks the
    weights lie in `scratch`, if one is given. The scores are used up.
    """
    if sinks is None:
        p = (scratch or Scratch()).take("weights", tuple(s.shape), s.device)
        torch.softmax(s, dim=-1, out=p)
        largest = p.amax(-1)
        lse = s.amax(-1) - largest.log()
        entropy = lse - s.mul_(p).sum(-1)
    else:
        extra = sinks.float().reshape(1, -1, 1, 1).expand(*s.shape[:-1], 1)
        p = torch.softmax(torch.cat((s, extra), dim=-1), dim=-1)[..., :-1]
        largest = p.amax(-1)
        lse = torch.logaddexp(torch.logsumexp(s, -1), extra[..., 0])
        entropy = lse * p.sum(-1) - torch.linalg.vecdot(p, s)
    return p, entropy.clamp_min(0.0), largest


def row_entropy(weights: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of weight rows [..., S] that a backend returned, [...]; 0 log 0 is 0."""
    entropy: torch.Tensor = torch.special.entr(weights.float()).sum(-1)
    return entropy


def disagreement(call: AttentionCall, p: torch.Tensor) -> torch.Tensor:
    """How far rebuilt weights of the newest row miss the backend's output: a scalar, relative to its largest value.

    p [B, Hq, N, S], its last row being the newest query; compared with call.output[:, -1]. Heads whose weights or whose
    output are not finite are left out: those report themselves (a fused kernel may well turn a query of NaN into an
    output of zeros). So are queries that see no key (padding in a window of padding), where backends differ. Finite
    weights that make no finite output where the backend has one are an infinite miss.
    """
    batch, heads, _, keys = p.shape
    key_heads = call.value.shape[1]
    row = p[:, :, -1].reshape(batch, key_heads, heads // key_heads, keys)
    rebuilt = (row @ call.value[:, :, :keys].float()).reshape(batch, heads, -1)
    actual = call.output[:, -1].float().reshape(batch, heads, -1)
    sound = torch.isfinite(p[:, :, -1]).all(-1, keepdim=True)
    comparable = sound & torch.isfinite(actual).all(-1, keepdim=True)
    mask = visible_mask(call, call.query.shape[2] - 1, 1, keys)
    if mask is not None:
        comparable = comparable & visible_keys(mask, keys, p.device)[:, :, 0].any(-1, keepdim=True)
    largest = torch.where(comparable, actual, 0.0).abs().amax().clamp_min(1e-12)
    miss = torch.where(comparable, rebuilt - actual, 0.0).abs().amax() / largest
    return torch.where(torch.isnan(miss), torch.inf, miss)


def visible_keys(mask: torch.Tensor | None, keys: int, device: torch.device) -> torch.Tensor:
    """Which of `keys` keys the rows of a mask may see, in any head: [B|1, 1, N|1, S] bool.

    An additive mask hides a key with a hugely negative number.
    """
    if mask is None:
        return torch.ones(1, 1, 1, keys, dtype=torch.bool, device=device)
    seen = mask if mask.dtype == torch.bool else mask > 0.5 * torch.finfo(mask.dtype).min
    return seen if seen.shape[1] == 1 else seen.any(1, keepdim=True)


def visible_mask(call: AttentionCall, first: int, rows: int, keys: int) -> torch.Tensor | None:
    """What query rows first .. first + rows - 1 of this call may see of its first `keys` keys.

    Returns None (everything), a bool or an additive mask that broadcasts to [B, Hq, rows, keys]. Without a mask of the
    model, a causal call with several queries sees keys up to its own position, as the backends align it; a flash
    backend gets its padding as [B, S] and its window as an argument.
    """
    mask = call.mask
    queries, total = call.query.shape[2], call.key.shape[2]
    if mask is not None and mask.dim() == 4:
        return mask[:, :, first : first + rows, :keys]
    if mask is None and queries == 1 and call.sliding_window is None:
        return None
    device = call.query.device
    column = torch.arange(keys, device=device)
    # backends without a mask line the queries up with the last keys, or with the first where the cache is longer
    offset = total - queries if mask is not None or queries == 1 else 0
    position = torch.arange(first, first + rows, device=device)[:, None] + offset
    allowed: torch.Tensor | None = None
    if call.is_causal and queries > 1:
        allowed = column <= position
    if call.sliding_window is not None and call.is_causal:
        inside = column > position - call.sliding_window
        allowed = inside if allowed is None else allowed & inside
    if allowed is not None:
        allowed = allowed[None, None]
    if mask is not None:
        padding = mask[:, None, None, :keys].bool()
        allowed = padding if allowed is None else allowed & padding
    return allowed
