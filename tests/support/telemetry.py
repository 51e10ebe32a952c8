"""Made-up telemetry of one prompt: a plain factory, a Hypothesis strategy, and the facts and findings that go with it.

`make_telemetry()` is a healthy causal model; every size can be set, and every part left out. `telemetries()` draws any
telemetry at all: parts missing, NaN and Inf anywhere, single steps, single keys, encoders.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import strategies as st

from model_health.metrics.findings import FLAG_NAMES, HealthFindings, LoopFinding, NonFiniteFinding
from model_health.metrics.telemetry import (
    MAX_LAG,
    AttentionSeries,
    EncoderTelemetry,
    HiddenSeries,
    LogitSeries,
    NotMeasured,
    PromptAnalysis,
    PromptLayer,
    PromptTelemetry,
    RouterSeries,
    SparseHead,
)
from model_health.report.extension import SuiteIdentity
from model_health.report.facts import ModelInfo, RunConfig
from model_health.report.inputs import ReportFacts

VOCABULARY = 100


def decode(token: int) -> str:
    """Text of a made-up token."""
    return f" t{token}"


def make_logits(steps: int, rng: np.random.Generator, vocabulary: int = VOCABULARY) -> LogitSeries:
    """A consistent distribution per step."""
    raw = rng.normal(size=(steps, vocabulary)).astype(np.float32) * 3
    probs = np.exp(raw - raw.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    order = np.argsort(-probs, axis=1)[:, :10]
    top = np.take_along_axis(probs, order, axis=1).astype(np.float32)
    return LogitSeries(
        entropy_bits=-(probs * np.log2(probs)).sum(axis=1).astype(np.float32),
        top1_top2_margin=top[:, 0] - top[:, 1],
        topk_mass=np.minimum(top.sum(axis=1), np.float32(1)),
        surprisal_bits=-np.log2(top[:, 0]),
        topk_token_ids=order.astype(np.int64),
        topk_probs=top,
        nan=np.zeros(steps, dtype=bool),
        inf=np.zeros(steps, dtype=bool),
    )


def make_hidden(steps: int, layers: int, rng: np.random.Generator, sketch: int = 0) -> HiddenSeries:
    """Plausible block outputs: norms grow with depth."""
    norm = (10 + np.arange(layers) + rng.random((steps, layers))).astype(np.float32)
    return HiddenSeries(
        mean=rng.normal(scale=0.01, size=(steps, layers)).astype(np.float32),
        std=norm / 8,
        l2_norm=norm,
        max_abs=norm / 2,
        nan=np.zeros((steps, layers), dtype=bool),
        inf=np.zeros((steps, layers), dtype=bool),
        sketch=rng.normal(size=(steps, layers, sketch)).astype(np.float32),
    )


def make_attention(
    steps: int, layer: int, heads: int, first_keys: int, rng: np.random.Generator, *, grows: bool = True
) -> AttentionSeries:
    """Rows over `first_keys` keys and one more per step (or always as many, as in cross-attention)."""
    keys = first_keys + (np.arange(steps) if grows else np.zeros(steps)).astype(np.int64)
    share = (0.3 + 0.4 * rng.random((steps, heads))).astype(np.float32)
    return AttentionSeries(
        layer=layer,
        entropy_nats=share * np.log(np.maximum(keys, 1))[:, None].astype(np.float32),
        max_weight=np.where(keys[:, None] == 1, np.float32(1), 1 - share).astype(np.float32),
        visible_keys=keys,
    )


def make_prompt_analysis(tokens: int, layers: int, heads: int, rng: np.random.Generator) -> PromptAnalysis:
    """A few sparse entries per head."""
    head = SparseHead(
        query_indices=np.array([tokens - 1], dtype=np.int64),
        key_indices=np.array([0], dtype=np.int64),
        weights=np.array([0.5], dtype=np.float32),
    )
    return PromptAnalysis(
        layers=tuple(
            PromptLayer(layer=i, heads=(head,) * heads, basin_scores=rng.random(heads).astype(np.float32))
            for i in range(layers)
        ),
        layer_transformations=rng.random(max(layers - 1, 0)).astype(np.float32) / 10,
        prompt_surprisals_bits=rng.random(max(tokens - 1, 0)).astype(np.float32) * 8,
    )


def make_router(steps: int, layer: int, rng: np.random.Generator, experts: int = 4) -> RouterSeries:
    """A router with capacity that chooses two experts a token and dropped one assignment."""
    return RouterSeries(
        stack="decoder",
        layer=layer,
        module="mlp.router",
        experts=experts,
        experts_per_token=2,
        entropy_bits=(1 + rng.random(steps)).astype(np.float32),
        recorded=np.ones(steps, dtype=bool),
        load=rng.integers(0, 9, experts) + np.arange(experts),
        unread=0,
        dropped=1,
        no_load=None,
        no_drops=None,
    )


def make_telemetry(
    *,
    steps: int = 6,
    layers: int = 3,
    heads: int = 2,
    prompt_tokens: int = 5,
    sketch: int = 0,
    encoder: bool = False,
    seed: int = 0,
    **replaced: Any,
) -> PromptTelemetry:
    """A healthy prompt.

    Args:
        steps: generated tokens.
        layers: decoder (and encoder) blocks.
        heads: per layer.
        prompt_tokens: of the prompt.
        sketch: dimensions of the hidden-state sketch.
        encoder: an encoder-decoder model, with cross-attention.
        seed: of everything random.
        **replaced: fields of PromptTelemetry to set instead.
    """
    rng = np.random.default_rng(seed)
    analysis = make_prompt_analysis(prompt_tokens, layers, heads, rng)
    if encoder:
        analysis = dataclasses.replace(analysis, prompt_surprisals_bits=np.zeros(0, dtype=np.float32))
    lag = np.full((steps, MAX_LAG), np.nan, dtype=np.float32)
    for step in range(1, steps):
        lag[step, : min(step, MAX_LAG)] = 0.5
    first_keys = 1 if encoder else prompt_tokens
    telemetry = PromptTelemetry(
        prompt_token_ids=np.arange(prompt_tokens, dtype=np.int64),
        generated_token_ids=rng.integers(0, VOCABULARY, size=steps),
        logits=make_logits(steps, rng),
        hidden=make_hidden(steps, layers, rng, sketch),
        final_hidden=make_hidden(steps, 1, rng),
        attention=tuple(make_attention(steps, i, heads, first_keys, rng) for i in range(layers)),
        cross_attention=tuple(
            make_attention(steps, i, heads, prompt_tokens, rng, grows=False) for i in range(layers if encoder else 0)
        ),
        lag_cosine=lag,
        prompt=analysis,
        encoder=EncoderTelemetry(
            hidden=make_hidden(1, layers, rng, sketch),
            attention=tuple(make_attention(1, i, heads, prompt_tokens, rng) for i in range(layers)),
        )
        if encoder
        else None,
    )
    replaced.setdefault("routers", tuple(make_router(steps, i, rng) for i in range(layers)))
    return dataclasses.replace(telemetry, **replaced)


def make_findings(**replaced: Any) -> HealthFindings:
    """Findings of a healthy prompt, with some of them replaced."""
    healthy: dict[str, Any] = {
        "flags": frozenset(),
        "nan_detected": False,
        "inf_detected": False,
        "attention_collapse_detected": False,
        "high_entropy_steps": 0,
        "repetition_loop_detected": False,
        "mid_layer_anomaly_detected": False,
    }
    return HealthFindings(**{**healthy, **replaced})


def make_facts(**replaced: Any) -> ReportFacts:
    """Facts of a made-up run, with some of them replaced."""
    facts: dict[str, Any] = {
        "run_id": "manual__2026-01-02",
        "model_name": "tiny",
        "prompt_id": "facts-01",
        "suite": SuiteIdentity(name="small", version="1", digest="sha256:" + "0" * 64),
        "group": "facts",
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "model": ModelInfo(
            hf_id="tiny/llama",
            architecture="LlamaForCausalLM",
            num_layers=3,
            hidden_size=8,
            num_attention_heads=2,
            tokenizer_hf_id="tiny/llama",
            dtype="float32",
            device="cpu",
        ),
        "run_config": RunConfig(seed=0, device_requested="auto", max_new_tokens=16),
        "prompt_text": "What is the capital of France?",
        "output_text": " Paris.",
        "elapsed_seconds": 1.5,
        "time_to_first_token_seconds": 0.2,
        "time_per_output_token_seconds": 0.05,
    }
    return ReportFacts(**{**facts, **replaced})


SPOILERS = (np.nan, np.inf, -np.inf)


def _spoil(draw: st.DrawFn, values: np.ndarray, rate: float) -> np.ndarray:
    """The array with NaN and Inf at drawn places (few, many or all of them)."""
    if rate == 0 or values.size == 0:
        return values
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    spoiled = values.copy()
    hit = rng.random(values.shape) < rate
    spoiled[hit] = rng.choice(np.array(SPOILERS, dtype=np.float32), size=int(hit.sum()))
    return spoiled


def _spoil_fields(draw: st.DrawFn, part: Any, rate: float) -> Any:
    """A dataclass whose float arrays are spoiled, and whose nan/inf marks are drawn."""
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            changes[item.name] = _spoil(draw, value, rate)
        elif isinstance(value, np.ndarray) and value.dtype == bool and rate:
            changes[item.name] = np.random.default_rng(draw(st.integers(0, 99))).random(value.shape) < rate
    return dataclasses.replace(part, **changes)


@st.composite
def telemetries(draw: st.DrawFn) -> PromptTelemetry:
    """Any telemetry: sizes, missing parts, non-finite values, reasons of capture's own."""
    rate = draw(st.sampled_from([0.0, 0.0, 0.1, 0.6, 1.0]))
    layers = draw(st.integers(1, 4))
    base = make_telemetry(
        steps=draw(st.integers(0, 5)),
        layers=layers,
        heads=draw(st.integers(1, 3)),
        prompt_tokens=draw(st.integers(1, 5)),
        sketch=draw(st.sampled_from([0, 2])),
        encoder=draw(st.booleans()),
        seed=draw(st.integers(0, 9)),
    )
    kept = draw(st.sets(st.integers(0, layers - 1)))
    changes: dict[str, Any] = {
        "attention": tuple(_spoil_fields(draw, s, rate) for s in base.attention if s.layer in kept),
        "cross_attention": tuple(_spoil_fields(draw, s, rate) for s in base.cross_attention if s.layer in kept),
        "not_measured": tuple(
            NotMeasured(part=part, reason="said by capture", layer=draw(st.sampled_from([None, 0])))
            for part in draw(st.lists(st.sampled_from(["attention", "layers.0.attention", "logits", "odd"])))
        ),
        "stopped_by": draw(st.sampled_from(["eos", "length", "other"])),
    }
    routers = [_spoil_fields(draw, s, rate) for s in base.routers if s.layer in kept]
    if draw(st.booleans()):
        silent = {"load": None, "dropped": None, "no_load": "made up", "no_drops": "made up"}
        routers = [dataclasses.replace(series, **silent) for series in routers]
    changes["routers"] = tuple(routers)
    for name in ("logits", "hidden", "final_hidden"):
        changes[name] = _spoil_fields(draw, getattr(base, name), rate) if draw(st.booleans()) else None
    if base.prompt is not None:
        changes["prompt"] = draw(st.sampled_from([None, _spoiled_prompt(draw, base.prompt, rate, kept)]))
    if base.encoder is not None:
        changes["encoder"] = EncoderTelemetry(
            hidden=_spoil_fields(draw, base.encoder.hidden, rate),
            attention=tuple(_spoil_fields(draw, s, rate) for s in base.encoder.attention if s.layer in kept),
        )
    return dataclasses.replace(base, **changes)


def _spoiled_prompt(draw: st.DrawFn, analysis: PromptAnalysis, rate: float, kept: set[int]) -> PromptAnalysis:
    spoiled: PromptAnalysis = _spoil_fields(draw, analysis, rate)
    return dataclasses.replace(
        spoiled,
        layers=tuple(
            dataclasses.replace(
                _spoil_fields(draw, layer, rate), heads=tuple(_spoil_fields(draw, head, rate) for head in layer.heads)
            )
            for layer in analysis.layers
            if layer.layer in kept
        ),
    )


@st.composite
def findings(draw: st.DrawFn) -> HealthFindings:
    """Any findings: flags raised, clear or undetermined, with loops and first non-finite values."""
    changes: dict[str, Any] = {}
    undetermined: dict[str, str] = {}
    for name in FLAG_NAMES:
        values = st.integers(0, 9) if name == "high_entropy_steps" else st.booleans()
        changes[name] = draw(st.none() | values)
        if changes[name] is None:
            undetermined[name] = "what it needs was not captured"
    loop = st.builds(
        LoopFinding,
        period=st.integers(1, 9),
        start_step=st.integers(0, 9),
        length=st.integers(2, 40),
        witness=st.sampled_from(["tokens", "hidden"]),
    )
    sighting = st.builds(
        NonFiniteFinding,
        where=st.sampled_from(["logits", "hidden", "attention", "prompt"]),
        kind=st.sampled_from(["nan", "inf"]),
        step=st.none() | st.integers(0, 9),
        layer=st.none() | st.integers(0, 9),
    )
    return make_findings(
        **changes,
        undetermined=undetermined,
        flags=frozenset(name for name in FLAG_NAMES if changes[name]),
        loops=tuple(draw(st.lists(loop, max_size=3))),
        non_finite=tuple(draw(st.lists(sighting, max_size=3))),
    )
