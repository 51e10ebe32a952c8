"""Moves recorded attention to the host, and decides which of it may be reported.

Rebuilt weights that do not reproduce what the backend returned are *not measured*, with the miss as the reason: a wrong
number is worse than none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from model_health.capture.events import AttentionKind, AttentionSlot, StackName
from model_health.capture.layout import StackLayout
from model_health.config.layers import LAYER_LEFT_OUT
from model_health.metrics.attention_prompt import PromptAttention, join_heads
from model_health.metrics.host_arrays import host
from model_health.metrics.recorder import Records
from model_health.metrics.telemetry import AttentionSeries, Float, Int, NotMeasured, PromptLayer, SparseHead

_TOLERANCE = {torch.float32: 2e-3, torch.float64: 2e-3}
_LOW_PRECISION_TOLERANCE = 8e-2
"""Relative miss of rebuilt attention output or logits that rounding explains; beyond it the value is not reported."""


def tolerance(records: Records) -> float:
    """The relative miss that rounding explains, by the dtype of the model's weights."""
    parameters = records.start.layout.decoder.module.parameters()
    dtype = next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)
    return _TOLERANCE.get(dtype, _LOW_PRECISION_TOLERANCE)


class HostAttention:
    """Host copies of the attention rows: for each slot [T, B, H] arrays, or the reason why there are none."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.rows: dict[AttentionSlot, tuple[Float, Float, Int]] = {}
        self.reasons: dict[AttentionSlot, str] = {}
        self.prompts: dict[AttentionSlot, PromptAttention] = {}
        self._every: int = records.switches.every
        limit = tolerance(records)
        for slot in sorted(dict.fromkeys([*records.prompt_attention, *records.rows.slots]), key=lambda one: one.part):
            self._take(slot, limit)
        for slot in [slot for slot in (*self.rows, *self.reasons) if slot.part]:
            self._join(slot)

    def _take(self, slot: AttentionSlot, limit: float) -> None:
        prompt = self.records.prompt_attention.get(slot)
        decoded = self.records.rows.slots.get(slot)
        misses = ([prompt.disagreement] if prompt is not None and prompt.disagreement is not None else []) + (
            decoded.disagreements if decoded else []
        )
        worst = float(host(torch.stack(misses)).max()) if misses else 0.0
        if worst > limit:
            self.reasons[slot] = (
                f"rebuilt attention weights miss the backend's output by {worst:.1e} (relative), more than {limit:g}"
            )
            return
        if decoded is not None and decoded.problem:
            self.reasons[slot] = decoded.problem
            return
        parts = [(prompt.entropy_nats[None], prompt.max_weight[None], prompt.visible_keys[None])] if prompt else []
        blocks = decoded.blocks if decoded else []
        parts += [(block.entropy_nats, block.max_weight, block.visible_keys) for block in blocks]
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        entropy, largest = host(columns[0]), host(columns[1])
        visible: Int = columns[2].cpu().numpy().astype(np.int64)
        steps = 1 if slot.stack is StackName.ENCODER else self.records.steps
        looked = len(range(0, steps, self._every))
        if len(visible) != looked and self.records.switches.attention:
            self.reasons[slot] = f"it ran in {len(visible)} of {looked} steps"
            return
        blind = (visible == 0)[..., None]  # a softmax over nothing would look like an even one over everything
        rows = np.where(blind, np.float32(np.nan), entropy), np.where(blind, np.float32(np.nan), largest), visible
        self.rows[slot] = self._spread(rows, steps) if self._every > 1 else rows
        if prompt is not None:
            self.prompts[slot] = prompt

    def _spread(self, rows: tuple[Float, Float, Int], steps: int) -> tuple[Float, Float, Int]:
        """The rows at their steps; steps that were left out see nothing."""
        entropy, largest = (np.full((steps, *table.shape[1:]), np.nan, np.float32) for table in rows[:2])
        visible = np.zeros((steps, *rows[2].shape[1:]), np.int64)
        for whole, table in ((entropy, rows[0]), (largest, rows[1])):
            whole[:: self._every][: len(table)] = table
        visible[:: self._every][: len(rows[2])] = rows[2]
        return entropy, largest, visible

    def _join(self, slot: AttentionSlot) -> None:
        """Give the heads of a layer's further attention module to its first; all of them are measured, or none."""
        first = replace(slot, part=0)
        rows, reason = self.rows.pop(slot, None), self.reasons.pop(slot, None)
        prompt = self.prompts.pop(slot, None)
        before, before_prompt = self.rows.pop(first, None), self.prompts.pop(first, None)
        if rows is None or before is None or not np.array_equal(rows[2], before[2]):
            self.reasons.setdefault(first, reason or "its attention modules do not see the same keys")
            return
        entropy, largest = (np.concatenate(pair, axis=-1) for pair in zip(before[:2], rows[:2], strict=True))
        self.rows[first] = (entropy, largest, before[2])
        if prompt is not None and before_prompt is not None:
            self.prompts[first] = join_heads(before_prompt, prompt)

    def series(self, stack: StackName, kind: AttentionKind, row: int, steps: slice) -> tuple[AttentionSeries, ...]:
        """One row's series of every measured layer, in layer order."""
        found = sorted((s for s in self.rows if s.stack is stack and s.kind is kind), key=lambda slot: slot.layer)
        count = max(steps.stop, 1)
        seen = None if self._every == 1 or stack is StackName.ENCODER else np.arange(count) % self._every == 0
        return tuple(
            AttentionSeries(slot.layer, entropy[steps, row], largest[steps, row], visible[steps, row], seen)
            for slot in found
            for entropy, largest, visible in [self.rows[slot]]
        )

    def gaps(self, stack: StackName, kind: AttentionKind, layout: StackLayout, part: str) -> list[NotMeasured]:
        """One entry for the whole stack where every chosen layer lacks it for one reason, else one for each of them."""
        reasons: dict[int, str] = {}
        chosen = self.records.start.chosen.get(stack, tuple(range(len(layout.layers))))
        if not chosen:
            return [NotMeasured(part, LAYER_LEFT_OUT)]
        for layer in chosen:
            module, slot = layout.layers[layer], AttentionSlot(stack, layer, kind)
            if slot in self.rows:
                continue
            name = type(module).__name__
            if kind is AttentionKind.CROSS and layout.has_cross_attention and not layout.has_cross_attention[layer]:
                silent = f"{name} has no cross attention of its own"
            elif layout.has_attention[layer]:
                silent = f"no attention weights were seen in {name}: it is linear, or blockwise, or did not run"
            else:
                silent = f"{name} has no attention"
            reasons[layer] = self.reasons.get(slot) or self.records.refused_attention.get(slot) or silent
        if len(reasons) == len(chosen) and len(set(reasons.values())) == 1:
            return [NotMeasured(part, reasons[chosen[0]])]
        return [NotMeasured(part, reason, layer=layer) for layer, reason in reasons.items()]


def prompt_layer_cutter(
    slots: HostAttention, stack: StackName, real: NDArray[np.bool_], threshold: float
) -> Callable[[int], tuple[PromptLayer, ...]]:
    """A function that gives one row's prompt attention, with indices into its real tokens."""
    found = sorted((slot for slot in slots.prompts if slot.stack is stack), key=lambda slot: slot.layer)
    tables = []
    for slot in found:
        prompt = slots.prompts[slot]
        weights = None if prompt.top_weights is None else host(prompt.top_weights)
        index = None if prompt.top_index is None else prompt.top_index.cpu().numpy()
        basin = None if prompt.basin is None else host(prompt.basin)
        tables.append((slot.layer, prompt.keys, weights, index, basin))
    position = np.cumsum(real, axis=1) - 1

    def cut(row: int) -> tuple[PromptLayer, ...]:
        layers = []
        for layer, keys, weights, index, basin in tables:
            heads: list[SparseHead] = []
            if weights is not None and index is not None:
                for w, i in zip(weights[row], index[row], strict=True):
                    # NaN weights fail the comparison and are dropped here; the row statistics report them
                    keep = w > threshold
                    heads.append(SparseHead(position[row][i[keep] // keys], position[row][i[keep] % keys], w[keep]))
            layers.append(PromptLayer(layer, tuple(heads), np.zeros(0, np.float32) if basin is None else basin[row]))
        return tuple(layers)

    return cut
