"""Collects decode steps and reduces their attention rows in blocks: one product for several steps.

A decode step leaves behind a copy of its query row, its mask and the newest key tensor, which the cache holds anyway.
Every few steps the rows of a layer are multiplied with its newest keys at once, so that the cost is one small product
per layer and block instead of several kernels per layer and step. That is exact while a cache only appends; where it
slides (or where a backend returns its weights) each step is reduced by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from model_health.capture.events import AttentionCall, AttentionSlot
from model_health.metrics.attention_masks import BlockMask, Row, block_mask, hide
from model_health.metrics.attention_rows import disagreement, row_entropy, scores, softmax_rows, visible_mask
from model_health.metrics.scratch import Scratch

_CHECKED_BLOCKS = 1
"""Blocks per slot whose last row is compared with the backend's output (the prefill is compared as well)."""


@dataclass
class RowBlock:
    """Reduced rows of consecutive steps: entropy_nats and max_weight [N, B, Hq], visible_keys [N, B]."""

    first_step: int
    entropy_nats: torch.Tensor
    max_weight: torch.Tensor
    visible_keys: torch.Tensor


@dataclass
class SlotRows:
    """All blocks of one attention slot, and how far each checked row missed the backend's output (scalars)."""

    blocks: list[RowBlock] = field(default_factory=list)
    disagreements: list[torch.Tensor] = field(default_factory=list)
    next_step: int = 0
    problem: str | None = None


@dataclass
class _Pending:
    """Rows of one slot: their queries [B, Hq, capacity, D], of which as many are filled as there are rows."""

    first_step: int
    newest: AttentionCall
    queries: torch.Tensor
    rows: list[Row] = field(default_factory=list)


class DecodeRows:
    """Attention rows of every slot of a generation; `slots[slot]` fills as blocks are reduced."""

    def __init__(self, scratch: Scratch | None = None, every: int = 1) -> None:
        """Steps that `every` does not divide are left out: no slot has rows of them."""
        self._every = every
        self.slots: dict[AttentionSlot, SlotRows] = {}
        self._pending: dict[AttentionSlot, _Pending] = {}
        self._masks: dict[tuple[int, ...], BlockMask] = {}
        self._kept: list[torch.Tensor | None] = []
        self._scratch = scratch or Scratch()

    def add(self, step: int, call: AttentionCall, capacity: int) -> None:
        """Take the newest query row of a call made at `step`; at most `capacity` steps come between two flushes."""
        slot = self.slots.get(call.slot)
        if slot is None:
            slot = self.slots[call.slot] = SlotRows(next_step=step)
        if step != slot.next_step:
            slot.problem = f"it ran {'twice in a' if step < slot.next_step else 'not in every'} step"
            return
        slot.next_step = step + self._every
        several, keys = call.query.shape[2] > 1, call.key.shape[2]
        bias = None if call.position_bias is None else call.position_bias[:, :, -1:]
        mask = visible_mask(call, call.query.shape[2] - 1, 1, keys)
        row = Row(call.mask, mask, bias, keys)
        pending = self._pending.get(call.slot)
        if several or call.weights is not None or not call.append_only:
            # several queries (no cache, or a decoder's own prompt): kept rows would pin all of them
            if pending is not None:
                self._reduce(slot, self._pending.pop(call.slot), share=True)
            self._reduce(slot, _Pending(step, call, call.query[:, :, -1:], [row]), share=False)
            return
        if pending is None:
            batch, heads, _, width = call.query.shape
            queries = self._scratch.take(str(call.slot), (batch, heads, capacity, width), call.query.device)
            pending = self._pending[call.slot] = _Pending(step, call, queries)
        pending.newest = call  # only the newest call is kept: older ones would pin the keys of every step
        count = len(pending.rows)
        pending.queries[:, :, count : count + 1].copy_(call.query)
        pending.rows.append(row)

    def refuse(self, slot: AttentionSlot, problem: str) -> None:
        """Say that what this slot yields must not be reported, and why."""
        self.slots.setdefault(slot, SlotRows(next_step=1)).problem = problem

    def flush(self) -> None:
        """Reduce everything that waits."""
        for slot, pending in self._pending.items():
            self._reduce(self.slots[slot], pending, share=True)
        self._pending.clear()
        self._masks.clear()
        self._kept.clear()

    def _reduce(self, slot: SlotRows, pending: _Pending, *, share: bool) -> None:
        newest, rows = pending.newest, pending.rows
        keys = newest.key.shape[2]
        mask = self._mask(rows, keys, newest.key.device, share)
        if newest.weights is not None:
            p = newest.weights[:, :, -1:]
            entropy, largest = row_entropy(p), p.float().amax(-1)
        else:
            s = scores(newest, pending.queries[:, :, : len(rows)], keys, self._scratch)
            for index, row in enumerate(rows):
                if row.bias is not None:
                    s[:, :, index : index + 1, : row.keys].add_(row.bias.float())
            p, entropy, largest = softmax_rows(hide(s, mask), newest.sinks, self._scratch)
            if len(slot.disagreements) < _CHECKED_BLOCKS:
                slot.disagreements.append(disagreement(newest, p))
        slot.blocks.append(
            RowBlock(
                pending.first_step,
                entropy.permute(2, 0, 1),
                largest.permute(2, 0, 1),
                mask.visible.expand(newest.query.shape[0], -1).transpose(0, 1),
            )
        )

    def _mask(self, rows: list[Row], keys: int, device: torch.device, share: bool) -> BlockMask:
        """The rows' masks as one; kept by their identity until the flush, where layers can share it."""
        if not share:
            return block_mask(rows, keys, device)
        cache_key = tuple(number for row in rows for number in (id(row.source), row.keys))
        result = self._masks.get(cache_key)
        if result is None:
            result = self._masks[cache_key] = block_mask(rows, keys, device)
            # `_kept` holds the masks until the flush, so that no other tensor can take their identity
            self._kept += [row.source for row in rows]
        return result
