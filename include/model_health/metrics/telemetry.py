"""What one captured prompt is reduced to: host arrays, no tensors, no text.

This is the contract between the side that needs torch (capture, metrics, runner) and the side that
must not load it (report, store, sinks, dashboard). Arrays are NumPy float32 unless said otherwise.
Layers and steps that the configuration leaves out keep their place, and `seen` says which they are.
Axes: T generated tokens, L layers of a stack, H attention heads, P prompt tokens, K top-k entries, D sketch
dimensions. NaN in an array means *not measured* or not finite; `not_measured` and the `nan`/`inf` arrays say which.
Step 0 is the prefill: the forward pass over the prompt that yields the first generated token.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

MAX_LAG = 32
"""Longest lag, in tokens, at which final hidden states are compared for loops."""


@dataclass(frozen=True)
class NotMeasured:
    """Why a part of the telemetry holds no value.

    `part` is a path of report fields with an optional layer, such as `attention`, `layers.3.attention`,
    `prompt_surprisals` or `timeline.logits`; `step` is set when only that step is missing.
    """

    part: str
    reason: str
    layer: int | None = None
    step: int | None = None


@dataclass(frozen=True)
class LogitSeries:
    """Statistics of the model's own next-token distribution (raw logits), one row per generated token.

    entropy_bits, top1_top2_margin, topk_mass, surprisal_bits: [T]. Probabilities are in [0, 1].
    topk_token_ids [T, K] int64 and topk_probs [T, K], most likely first. nan, inf: [T] bool (an -inf that a model
    masks on purpose is not counted).
    """

    entropy_bits: Float
    top1_top2_margin: Float
    topk_mass: Float
    surprisal_bits: Float
    topk_token_ids: Int
    topk_probs: Float
    nan: Bool
    inf: Bool


@dataclass(frozen=True)
class HiddenSeries:
    """Statistics of a stack's block outputs. Every array is [T, L]; sketch is [T, L, D] (D may be 0).

    A decode step describes the newest token; the prefill describes the mean over the prompt's real tokens (padding
    never counts), except max_abs, which is the mean over tokens of each token's largest magnitude. `seen` [T, L] is
    False where the configuration leaves a layer or step out: nothing is known there (NaN, and neither nan nor inf);
    None where nothing is left out.
    """

    mean: Float
    std: Float
    l2_norm: Float
    max_abs: Float
    nan: Bool
    inf: Bool
    sketch: Float
    seen: Bool | None = None


@dataclass(frozen=True)
class AttentionSeries:
    """Statistics of the newest query row of every head in one layer, or the reason why there are none.

    entropy_nats, max_weight: [T, H]. visible_keys: [T] int64, the number of keys that the row may see. seen: [T], False
    at steps that the configuration leaves out (NaN, and no visible key); None where it leaves out none.
    """

    layer: int
    entropy_nats: Float
    max_weight: Float
    visible_keys: Int
    seen: Bool | None = None


@dataclass(frozen=True)
class SparseHead:
    """The largest prompt attention weights of one head: parallel arrays, largest first, indices into real tokens."""

    query_indices: Int
    key_indices: Int
    weights: Float


@dataclass(frozen=True)
class PromptLayer:
    """Prompt attention of one layer: sparse heads (may be empty) and a basin score per head ([H], may be empty)."""

    layer: int
    heads: tuple[SparseHead, ...]
    basin_scores: Float


@dataclass(frozen=True)
class PromptAnalysis:
    """Prompt telemetry from `generate`'s own prefill (or the encoder's pass).

    layer_transformations: [L - 1], 1 - cosine of consecutive block outputs, mean over real prompt tokens.
    prompt_surprisals_bits: [P - 1], empty for encoder-decoder models and where not measured.
    """

    layers: tuple[PromptLayer, ...]
    layer_transformations: Float
    prompt_surprisals_bits: Float


@dataclass(frozen=True)
class EncoderTelemetry:
    """The encoder's pass over the prompt: `hidden` has T = 1; attention rows are means over real queries."""

    hidden: HiddenSeries
    attention: tuple[AttentionSeries, ...]


@dataclass(frozen=True)
class RouterSeries:
    """One router of a mixture of experts, over the prompt and the generation.

    entropy_bits, recorded: [T] (T = 1 in an encoder); entropy over all experts, at a pass over the prompt the mean over
    its real tokens; NaN where the logits were not finite, or where `recorded` says that the step was not looked at.
    load: [E] int64, how often each expert was chosen by real tokens of the prompt and of the generation; `dropped`
    choices had no room and are not among them, nor `unread` ones, made of logits that were not finite. None has its
    reason in `no_load` or `no_drops`.
    """

    stack: str
    layer: int
    module: str
    experts: int
    experts_per_token: int | None
    entropy_bits: Float
    recorded: Bool
    load: Int | None
    unread: int
    dropped: int | None
    no_load: str | None
    no_drops: str | None


@dataclass(frozen=True)
class PromptTelemetry:
    """Everything that capture knows of one prompt of one batch.

    generated_token_ids ends with the end-of-sequence token if the model produced one; what a batch appends after it
    (padding) is not part of any array here. `lag_cosine` is [T, MAX_LAG]: column k - 1 holds the cosine between the
    final hidden state of step t and of step t - k, NaN where t < k.
    """

    prompt_token_ids: Int
    generated_token_ids: Int
    logits: LogitSeries | None
    hidden: HiddenSeries | None
    final_hidden: HiddenSeries | None
    attention: tuple[AttentionSeries, ...]
    cross_attention: tuple[AttentionSeries, ...]
    lag_cosine: Float
    prompt: PromptAnalysis | None
    encoder: EncoderTelemetry | None
    not_measured: tuple[NotMeasured, ...] = ()
    routers: tuple[RouterSeries, ...] = ()
    stopped_by: str = "eos"
    """`eos`, `length` (the token limit) or `other` (a stop string or criterion of the user)."""
    every: int = 1
    """Layers were looked at on the prefill and on every so-manieth decode step."""


@dataclass(frozen=True)
class BatchTelemetry:
    """One `generate` call: its prompts in order, and how long its forward passes took.

    time_to_first_token_seconds runs from the call of `generate` to the end of the prefill; step_seconds [T - 1] is the
    time from one forward's end to the next. Both belong to the batch, which its prompts share.
    """

    prompts: tuple[PromptTelemetry, ...]
    time_to_first_token_seconds: float
    step_seconds: Float
    total_seconds: float
    probe_seconds: float = 0.0
    """Host time spent inside the probes (a lower bound of their cost: device work runs on)."""
    extra: dict[str, float] = field(default_factory=dict)
