"""Builds the per-layer summaries of a trace from the telemetry's arrays, all at once. T steps, L layers, H heads.

A statistic over non-finite input is null. Counts of collapsed and focused heads cover rows with at least 2 visible
keys; attention that was not measured has null counts.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, repeat

import numpy as np

from model_health.metrics.telemetry import AttentionSeries, HiddenSeries
from model_health.report.bulk import build_rows
from model_health.report.extension import ReportThresholds
from model_health.report.series import blanked, nullable
from model_health.report.steps import AttentionSummary, HiddenSummary, LayerSummary, TensorAnomalies

NO_ATTENTION = AttentionSummary()
NO_HIDDEN = HiddenSummary()
ANOMALIES = tuple(TensorAnomalies(has_nan=nan, has_inf=inf) for nan in (False, True) for inf in (False, True))
"""Every value there is, at `2 * has_nan + has_inf`."""


def build_layers(
    steps: int,
    count: int,
    hidden: HiddenSeries | None,
    attention: tuple[AttentionSeries, ...],
    cross: tuple[AttentionSeries, ...],
    thresholds: ReportThresholds,
    *,
    has_cross: bool,
) -> list[tuple[LayerSummary, ...]]:
    """Summaries of every layer at every step: `steps` tuples of `count`.

    Args:
        steps: T, 1 for an encoder.
        count: L.
        hidden: arrays [T, L], or None where not captured.
        attention: series of the layers whose self-attention was measured.
        cross: the same for cross-attention.
        thresholds: of the head counts.
        has_cross: whether layers have cross-attention at all (an unmeasured one is then present, and null).
    """
    no_cross = [None] * (steps * count)
    rows = build_rows(
        LayerSummary,
        {
            "layer_index": list(range(count)) * steps,
            "hidden_summary": _hidden_rows(steps, count, hidden),
            "attention_summary": _attention_rows(steps, count, attention, thresholds),
            "cross_attention": _attention_rows(steps, count, cross, thresholds) if has_cross else no_cross,
            "anomalies": _anomalies(steps, count, hidden, (*attention, *cross)),
        },
    )
    return [tuple(rows[step * count : (step + 1) * count]) for step in range(steps)]


def _hidden_rows(steps: int, count: int, hidden: HiddenSeries | None) -> list[HiddenSummary]:
    """One row per step and layer."""
    if hidden is None:
        return [NO_HIDDEN] * (steps * count)
    bad = hidden.nan | hidden.inf
    values = np.stack((hidden.mean, hidden.std, hidden.l2_norm, hidden.max_abs)).astype(np.float32)
    values[:, bad] = np.nan
    columns = dict(
        zip(("mean", "std", "l2_norm_mean", "max_abs"), nullable(values.reshape(4, steps * count)), strict=True)
    )
    if hidden.sketch.shape[-1]:
        usable = (np.isfinite(hidden.sketch).all(axis=-1) & ~bad).reshape(-1)
        sketches = nullable(hidden.sketch.reshape(len(usable), hidden.sketch.shape[-1]))
        columns["sketch"] = [tuple(one) if good else () for one, good in zip(sketches, usable.tolist(), strict=True)]
    return build_rows(HiddenSummary, columns)


def _attention_rows(
    steps: int, count: int, series: tuple[AttentionSeries, ...], thresholds: ReportThresholds
) -> list[AttentionSummary]:
    """One row per step and layer."""
    groups: dict[tuple[int, ...], list[AttentionSeries]] = defaultdict(list)
    for one in series:
        groups[one.entropy_nats.shape].append(one)
    by_layer: dict[int, list[AttentionSummary]] = {}
    for alike in groups.values():
        if alike[0].entropy_nats.shape[1]:
            rows = _summaries(alike, thresholds)
            by_layer |= {one.layer: rows[place * steps : (place + 1) * steps] for place, one in enumerate(alike)}
    layers = (by_layer.get(layer, repeat(NO_ATTENTION, steps)) for layer in range(count))
    return list(chain.from_iterable(zip(*layers, strict=True)))


def _summaries(series: list[AttentionSeries], thresholds: ReportThresholds) -> list[AttentionSummary]:
    """Rows of layers with one number of heads, a layer's steps together."""
    entropy = np.concatenate([one.entropy_nats for one in series])
    weight = np.concatenate([one.max_weight for one in series])
    countable = np.concatenate([one.visible_keys for one in series]) >= 2
    heads = entropy.shape[1]
    finite_entropy = np.asarray(np.isfinite(entropy).all(axis=1))
    finite_weight = np.asarray(np.isfinite(weight).all(axis=1))
    with np.errstate(invalid="ignore", over="ignore"):
        mean = entropy.mean(axis=1, dtype=np.float64)
        values = np.stack(
            (mean, entropy.min(axis=1), entropy.max(axis=1), weight.max(axis=1), weight.min(axis=1)), dtype=np.float32
        )
    values[:3, ~finite_entropy] = np.nan
    values[3:, ~finite_weight] = np.nan
    names = ("entropy_mean", "entropy_min", "entropy_max", "concentration_max", "concentration_min")
    # NaN compares false, so rows that hold one are left out of the counts, never counted as healthy.
    collapsed = np.count_nonzero(entropy < thresholds.collapse_entropy_nats, axis=1)
    focused = np.count_nonzero(weight > thresholds.focused_max_weight, axis=1)
    return build_rows(
        AttentionSummary,
        {
            **dict(zip(names, nullable(values), strict=True)),
            "collapsed_head_count": blanked(collapsed, countable & finite_entropy),
            "focused_head_count": blanked(focused, countable & finite_weight),
            "collapsed_head_rate": blanked(collapsed / heads, countable & finite_entropy),
        },
    )


def _anomalies(
    steps: int, count: int, hidden: HiddenSeries | None, attention: tuple[AttentionSeries, ...]
) -> list[TensorAnomalies | None]:
    """Whether hidden state or attention held NaN or Inf; None where the hidden state was not looked at."""
    if hidden is None:
        return [None] * (steps * count)
    inf = np.array(hidden.inf, dtype=bool)
    for series in attention:
        infinite = np.isinf(series.entropy_nats) | np.isinf(series.max_weight)
        inf[:, series.layer] |= infinite.any(axis=1)
    kinds = (2 * hidden.nan.astype(np.int8) + inf).reshape(-1).tolist()
    if hidden.seen is None:
        return [ANOMALIES[kind] for kind in kinds]
    seen = hidden.seen.reshape(-1).tolist()
    return [ANOMALIES[kind] if looked else None for kind, looked in zip(kinds, seen, strict=True)]
