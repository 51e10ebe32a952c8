"""Joins the masks of several decode steps into one that a block of score rows can be hidden with.

Steps of a growing cache see one key more each (or several, where steps between them are left out), so a block's rows
must not see the keys that came after them. Those lie in the last few columns and are overwritten there; what the model
itself masks (padding, a window, a bias) is added, which is many times quicker than overwriting by a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from model_health.metrics.attention_rows import MASKED, apply_mask, visible_keys


@dataclass(frozen=True, slots=True)
class Row:
    """What is kept of one step beside its query: its mask and bias rows, and how many keys there were.

    `source` is the mask as the backend got it, one tensor for all layers of a kind: that is how layers share work.
    """

    source: torch.Tensor | None
    mask: torch.Tensor | None
    bias: torch.Tensor | None
    keys: int


@dataclass(frozen=True)
class BlockMask:
    """What N rows may see of S keys.

    added [B|1, H|1, N, S] float32 or None; later [1, 1, N, S'] bool or None marks those of the last S' keys that came
    after a row; allowed [B|1, H|1, N, S] bool or None is what else must be overwritten; visible [B|1, N] counts keys.
    """

    added: torch.Tensor | None
    later: torch.Tensor | None
    allowed: torch.Tensor | None
    visible: torch.Tensor


def hide(s: torch.Tensor, mask: BlockMask) -> torch.Tensor:
    """Mask scores [B, Hq, N, S] in place.

    Later keys are overwritten, not added to: they may be NaN, of which the earlier steps knew nothing.
    """
    s = apply_mask(apply_mask(s, mask.added), mask.allowed)
    if mask.later is not None:
        s[..., -mask.later.shape[-1] :].masked_fill_(mask.later, MASKED)
    return s


def block_mask(rows: list[Row], keys: int, device: torch.device) -> BlockMask:
    """The rows' masks as one, over `keys` keys.

    Masks that only hide become one that is added where keys grow, since what they hide is as old as the prompt; where
    all steps see one cache of full length they stay bool, since it holds what later steps wrote. Additive masks are
    kept as they are, since some models add numbers with them.
    """
    first = rows[0].keys
    grows = any(row.keys != first for row in rows)
    later = None
    if grows:
        column = torch.arange(first, keys, device=device)
        later = (column >= _lengths(rows, device)[:, None])[None, None]
    masks = [row.mask for row in rows if row.mask is not None]
    if not masks:
        visible = _lengths(rows, device) if grows else torch.full((len(rows),), first, device=device)
        return BlockMask(None, later, None, visible[None])
    seen = _widen([visible_keys(row.mask, row.keys, device) for row in rows], rows, keys, hidden=False)
    visible = seen[:, 0].sum(-1)
    plain = all(mask.dtype == torch.bool for mask in masks)
    if len(masks) == len(rows) and not plain:
        added = _widen([mask.float() for mask in masks if mask.dtype != torch.bool], rows, keys, hidden=MASKED)
        return BlockMask(added, later, None, visible)
    if len(masks) == len(rows) and any(mask.shape[1] > 1 for mask in masks):
        seen = _widen(masks, rows, keys, hidden=False)
    if not grows:
        return BlockMask(None, None, seen, visible)
    return BlockMask(torch.where(seen, 0.0, MASKED), later, None, visible)


def _widen(parts: list[torch.Tensor], rows: list[Row], keys: int, *, hidden: float) -> torch.Tensor:
    """Masks [B|1, H|1, 1, S'] side by side as [B|1, H|1, N, S], later keys hidden."""
    batch, heads = max(part.shape[0] for part in parts), max(part.shape[1] for part in parts)
    widened = [
        pad(part, (0, keys - row.keys), value=hidden).expand(batch, heads, 1, keys)
        for part, row in zip(parts, rows, strict=True)
    ]
    return torch.cat(widened, dim=2)


def _lengths(rows: list[Row], device: torch.device) -> torch.Tensor:
    """How many keys each row had, [N]; made on the device, because a copy of host numbers makes the host wait."""
    first = rows[0].keys
    stride = max(1, rows[1].keys - first) if len(rows) > 1 else 1
    if all(row.keys == first + stride * index for index, row in enumerate(rows)):
        return torch.arange(first, first + stride * len(rows), stride, device=device)
    return torch.tensor([row.keys for row in rows], device=device)
