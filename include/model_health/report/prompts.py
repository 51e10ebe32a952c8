"""Builds `prompt_analysis` from the telemetry. A list that would hold a non-finite value is empty, with a note."""

from __future__ import annotations

from itertools import islice

import numpy as np

from model_health.metrics.telemetry import PromptAnalysis as Captured
from model_health.metrics.telemetry import SparseHead
from model_health.report.nulls import Gap
from model_health.report.prompt import PromptAnalysis, PromptAttentionLayer, SparseAttentionHead
from model_health.report.series import Floats, first_bad, shortest

Note = tuple[Gap, str]


def build_prompt_analysis(captured: Captured, layer_count: int) -> tuple[PromptAnalysis, list[Note]]:
    """The analysis, and why its emptied parts are empty.

    Args:
        captured: prompt telemetry; layers without attention may be missing from it.
        layer_count: layers of the stack that read the prompt.
    """
    notes: list[Note] = []
    by_layer = {item.layer: item for item in captured.layers}
    decimals = _Decimals(captured)
    layers = []
    for index in range(max(layer_count, *(layer + 1 for layer in by_layer)) if by_layer else 0):
        item = by_layer.get(index)
        if item is None:
            notes.append((Gap("prompt_analysis.layers", None, index), "attention is not measured in this layer"))
            layers.append(PromptAttentionLayer())
            continue
        layers.append(
            PromptAttentionLayer(
                heads=tuple(_head(head, index, notes, decimals) for head in item.heads),
                basin_scores=_finite(
                    item.basin_scores, Gap("prompt_analysis.layers.basin_scores", None, index), notes, decimals
                ),
            )
        )
    return (
        PromptAnalysis(
            layers=tuple(layers),
            layer_transformations=_finite(
                captured.layer_transformations, Gap("prompt_analysis.layer_transformations"), notes, decimals
            ),
            prompt_surprisals=_finite(
                captured.prompt_surprisals_bits, Gap("prompt_analysis.prompt_surprisals"), notes, decimals
            ),
        ),
        notes,
    )


class _Decimals:
    """The shortest decimals of all arrays of a prompt, made at once: one for each of its many heads would cost more."""

    def __init__(self, captured: Captured) -> None:
        arrays = [captured.layer_transformations, captured.prompt_surprisals_bits]
        for item in captured.layers:
            arrays += [item.basin_scores, *(head.weights for head in item.heads)]
        flat = shortest(np.concatenate(arrays))
        self.finite = bool(np.isfinite(flat).all())
        """Whether every value is, so that nobody has to look at each array."""
        values = iter(flat.tolist())
        # by identity: the arrays outlive this object
        self._of: dict[int, tuple[float, ...]] = {id(array): tuple(islice(values, len(array))) for array in arrays}

    def of(self, values: Floats) -> tuple[float, ...]:
        """The decimals of one of the arrays."""
        return self._of[id(values)]


def _finite(values: Floats, gap: Gap, notes: list[Note], decimals: _Decimals) -> tuple[float, ...]:
    bad = None if decimals.finite else first_bad(values)
    if bad is None:
        return decimals.of(values)
    notes.append((gap, f"{bad[0]} of {len(values)} values are not finite, the first at place {bad[1]}"))
    return ()


def _head(head: SparseHead, layer: int, notes: list[Note], decimals: _Decimals) -> SparseAttentionHead:
    queries, keys, weights = head.query_indices, head.key_indices, decimals.of(head.weights)
    if not decimals.finite and not (keep := np.isfinite(head.weights)).all():
        notes.append((Gap("prompt_analysis.layers.heads", None, layer), "prompt attention weights are not finite"))
        queries, keys = queries[keep], keys[keep]
        weights = tuple(weight for weight, good in zip(weights, keep.tolist(), strict=True) if good)
    return SparseAttentionHead(query_indices=tuple(queries.tolist()), key_indices=tuple(keys.tolist()), weights=weights)
