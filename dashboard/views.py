"""A report as the page of a prompt needs it: light parts as they are, the long timeline as arrays. Pure.

A report of 1,024 tokens and 32 layers holds tens of thousands of small objects; what is kept here is a few megabytes of
arrays, and no object per cell. Axes: T steps (0 is the prefill), L layers. NaN is *not measured* or not finite; `why`
says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_health.report.extension import HealthExtension
from model_health.report.facts import GeneratedText, ModelInfo, PromptText, RunConfig, TraceWarning
from model_health.report.nulls import Gap, Reasons
from model_health.report.prompt import PromptAnalysis
from model_health.report.steps import AttentionSummary, LayerSummary
from model_health.report.trace import Trace
from model_health.report.units import nats_to_bits

Floats = NDArray[np.float64]
Candidates = tuple[tuple[str, float], ...]
"""The most likely tokens of a step, with their probabilities."""

LOGITS = "timeline.logits_summary"
HIDDEN = "timeline.layers.hidden_summary"
ATTENTION = "timeline.layers.attention_summary"
CROSS = "timeline.layers.cross_attention"


@dataclass(frozen=True)
class LayerMetric:
    """A number that every layer has at every step.

    `part` is its field in the report; `worst` says which value of several stands for them where a heatmap has fewer
    cells than the report; `log` asks for a logarithmic scale.
    """

    name: str
    title: str
    unit: str
    part: str
    worst: str
    log: bool = False

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def axis(self) -> str:
        """As short as an axis needs it, with the unit."""
        return (
            self.heading.replace(" of the hidden state", "")
            .replace(" in the hidden state", "")
            .replace(", mean over heads", "")
        )


LAYER_METRICS = (
    LayerMetric("l2", "L2 norm of the hidden state", "", f"{HIDDEN}.l2_norm_mean", "largest", log=True),
    LayerMetric("max_abs", "Largest magnitude in the hidden state", "", f"{HIDDEN}.max_abs", "largest", log=True),
    LayerMetric("entropy", "Attention entropy, mean over heads", "bits", f"{ATTENTION}.entropy_mean", "smallest"),
    LayerMetric("weight", "Largest attention weight of any head", "", f"{ATTENTION}.concentration_max", "largest"),
    LayerMetric("collapsed", "Collapsed heads", "% of heads", f"{ATTENTION}.collapsed_head_count", "largest"),
    LayerMetric("cross", "Cross-attention entropy, mean over heads", "bits", f"{CROSS}.entropy_mean", "smallest"),
)


@dataclass(frozen=True)
class Steps:
    """One entry per generated token. Entropy and surprisal in bits, margin and mass are probabilities, all [T]."""

    texts: tuple[str, ...]
    ids: tuple[int, ...]
    entropy: Floats
    surprisal: Floats
    margin: Floats
    mass: Floats
    final_norm: Floats
    candidates: tuple[Candidates, ...]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class PromptView:
    """One report.

    `layers` holds [L, T] by the name of a metric; `bad` [L, T] is where a NaN or Inf was seen. `encoder` holds [L] by
    the same names, of an encoder's layers; empty without one.
    """

    trace_id: str
    created_at: datetime
    model: ModelInfo
    config: RunConfig
    prompt: PromptText
    generated: GeneratedText
    warnings: tuple[TraceWarning, ...]
    ours: HealthExtension
    analysis: PromptAnalysis | None
    steps: Steps
    layers: dict[str, Floats]
    bad: NDArray[np.bool_]
    encoder: dict[str, Floats]
    reasons: Reasons

    @property
    def layer_count(self) -> int:
        """Decoder layers in the report."""
        return int(self.bad.shape[0])

    def why(self, part: str, step: int | None = None, layer: int | None = None) -> str | None:
        """Why a field is null, or None where no entry says."""
        return self.reasons.find(Gap(part, step, layer))

    def why_none(self, part: str) -> str:
        """Why a whole part has no value: its own reason, or the first for some of it."""
        whole = self.why(part)
        if whole is not None:
            return whole
        for entry in self.ours.not_measured:
            if entry.part.startswith(part) or part.startswith(f"{entry.part}."):
                return entry.reason
        return "no token was generated" if not len(self.steps) else "the report does not say"


def view_of(trace: Trace) -> PromptView:
    """The view of a report."""
    timeline = trace.timeline
    rows = [step.layers for step in timeline]
    count = max((layer.layer_index + 1 for step in rows for layer in step), default=0)
    heads = trace.model.num_attention_heads
    bad = np.zeros((count, len(rows)), dtype=bool)
    for step, layers in enumerate(rows):
        for layer in layers:
            seen = layer.anomalies
            bad[layer.layer_index, step] = seen is not None and (seen.has_nan or seen.has_inf)
    logits = [step.logits_summary for step in timeline]
    norms = trace.model_health.final_hidden_l2_norm
    encoder = [trace.encoder_layers] if trace.encoder_layers else []
    return PromptView(
        trace_id=trace.trace_id,
        created_at=trace.created_at_utc,
        model=trace.model,
        config=trace.run_config,
        prompt=trace.prompt,
        generated=trace.generated,
        warnings=trace.warnings,
        ours=trace.model_health,
        analysis=trace.prompt_analysis,
        steps=Steps(
            texts=tuple(step.token.token_text for step in timeline),
            ids=tuple(step.token.token_id for step in timeline),
            entropy=numbers(one.entropy for one in logits),
            surprisal=numbers(one.surprisal for one in logits),
            margin=numbers(one.top1_top2_margin for one in logits),
            mass=numbers(one.voter_agreement if one.topk_mass is None else one.topk_mass for one in logits),
            final_norm=numbers(norms) if norms else np.full(len(rows), np.nan),
            candidates=tuple(tuple((top.token_text, top.prob) for top in one.topk) for one in logits),
        ),
        layers=_matrices(rows, count, heads),
        bad=bad,
        encoder={
            name: matrix[:, 0]
            for name, matrix in _matrices(encoder, len(encoder[0]) if encoder else 0, heads).items()
            if encoder and np.isfinite(matrix).any()
        },
        reasons=Reasons(trace.model_health.not_measured),
    )


def numbers(values: Any) -> Floats:
    """Numbers or None as an array, NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def measured(view: PromptView) -> list[LayerMetric]:
    """The metrics of layers that have any value, and always the norm, so that there is something to say of it."""
    found = [one for one in LAYER_METRICS if np.isfinite(view.layers[one.name]).any()]
    return found or [LAYER_METRICS[0]]


def first_bad(view: PromptView) -> tuple[int, int] | None:
    """The first step, and in it the first layer, at which a hidden state or attention was not finite."""
    steps = np.flatnonzero(faulty_steps(view))
    if not steps.size:
        return None
    step = int(steps[0])
    return step, int(np.flatnonzero(view.bad[:, step])[0])


def faulty_steps(view: PromptView) -> NDArray[np.bool_]:
    """Steps [T] at which some layer was not finite."""
    return np.asarray(view.bad.any(axis=0), dtype=bool) if view.bad.size else np.zeros(len(view.steps), dtype=bool)


def high_entropy(view: PromptView) -> NDArray[np.bool_]:
    """Steps above the report's own threshold of high entropy; none where it has no threshold."""
    limits = view.ours.thresholds
    if limits is None:
        return np.zeros(len(view.steps), dtype=bool)
    with np.errstate(invalid="ignore"):
        return np.asarray(view.steps.entropy > limits.high_entropy_bits)


def _matrices(rows: Sequence[Sequence[LayerSummary]], count: int, heads: int) -> dict[str, Floats]:
    readers: dict[str, Callable[[LayerSummary], float | None]] = {
        "l2": lambda layer: layer.hidden_summary.l2_norm_mean,
        "max_abs": lambda layer: layer.hidden_summary.max_abs,
        "entropy": lambda layer: _bits(layer.attention_summary),
        "weight": lambda layer: layer.attention_summary.concentration_max,
        "collapsed": lambda layer: _collapsed(layer.attention_summary, heads),
        "cross": lambda layer: None if layer.cross_attention is None else _bits(layer.cross_attention),
    }
    found = {name: np.full((count, len(rows)), np.nan) for name in readers}
    for name, read in readers.items():
        matrix = found[name]
        for step, layers in enumerate(rows):
            for layer in layers:
                value = read(layer)
                if value is not None:
                    matrix[layer.layer_index, step] = value
    return found


def _bits(summary: AttentionSummary) -> float | None:
    return None if summary.entropy_mean is None else nats_to_bits(summary.entropy_mean)


def _collapsed(summary: AttentionSummary, heads: int) -> float | None:
    if summary.collapsed_head_rate is not None:
        return 100.0 * summary.collapsed_head_rate
    count = summary.collapsed_head_count
    return 100.0 * count / heads if count is not None and heads else None
