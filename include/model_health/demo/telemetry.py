"""Made-up arrays of one prompt, as capture would give them: the same tokens each night, a little noise, and faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from model_health.demo.plan import DemoModel, Effect
from model_health.demo.texts import END, PROMPTS, VOCABULARY, CanaryText, tokens
from model_health.metrics.telemetry import (
    MAX_LAG,
    AttentionSeries,
    Float,
    HiddenSeries,
    LogitSeries,
    PromptAnalysis,
    PromptLayer,
    PromptTelemetry,
    SparseHead,
)

TOP: Final = 10
NOISE: Final = 0.012
"""Relative size of what differs from night to night."""
NAN_STEP: Final = 5
SPARSE: Final = 6
LOOP_TOKENS: Final = 40
_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Night:
    """One prompt of one model in one night."""

    model: DemoModel
    prompt: CanaryText
    effect: Effect
    loops: bool
    seed: int
    day: int

    @property
    def base(self) -> np.random.Generator:
        """The same numbers every night: what makes a model itself."""
        return np.random.default_rng([self.seed, number_of(self.model.name), PROMPTS.index(self.prompt)])

    @property
    def noise(self) -> np.random.Generator:
        """Numbers of this night."""
        return np.random.default_rng([self.seed, number_of(self.model.name), PROMPTS.index(self.prompt), self.day + 1])


def number_of(name: str) -> int:
    """A number for a name, the same in every process."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(name))


def generated(prompt: CanaryText, *, loops: bool) -> list[int]:
    """The tokens of an answer: whole and ended, or one that falls into a loop and is cut off."""
    answer = tokens(prompt.answer)
    if not loops:
        return [*answer, *tokens(END)]
    start, phrase = answer[:8], tokens(prompt.phrase)
    return (start + phrase * LOOP_TOKENS)[:LOOP_TOKENS]


def make(night: Night) -> PromptTelemetry:
    """The telemetry of one prompt."""
    made = generated(night.prompt, loops=night.loops)
    steps, layers = len(made), night.model.layers
    base, noise = night.base, night.noise
    asked = np.array(tokens(night.prompt.question), dtype=np.int64)
    ids = np.array(made, dtype=np.int64)
    bad = np.zeros((steps, layers), dtype=bool)
    if night.effect.nan_layer is not None:
        bad[NAN_STEP:, night.effect.nan_layer :] = True
    return PromptTelemetry(
        prompt_token_ids=asked,
        generated_token_ids=ids,
        logits=_logits(night, ids, base, noise, np.asarray(bad.any(axis=1))),
        hidden=_hidden(night, steps, layers, base, noise, bad),
        final_hidden=_hidden(night, steps, 1, base, noise, bad[:, -1:]),
        attention=tuple(_attention(night, layer, len(asked), steps, base, noise, bad) for layer in range(layers)),
        cross_attention=(),
        lag_cosine=_lags(night, ids, base),
        prompt=_prompt(night, len(asked), base, noise),
        encoder=None,
        stopped_by="length" if night.loops else "eos",
    )


def _logits(
    night: Night,
    ids: npt.NDArray[np.int64],
    base: np.random.Generator,
    noise: np.random.Generator,
    bad: npt.NDArray[np.bool_],
) -> LogitSeries:
    steps = len(ids)
    sharpness = base.uniform(1.6, 4.2, size=(steps, 1)) * (2.2 / night.model.entropy)
    if night.loops:
        sharpness[12:] *= 2.5  # a loop is sure of itself
    raw = base.normal(size=(steps, VOCABULARY)) * sharpness + noise.normal(size=(steps, VOCABULARY)) * NOISE
    best = raw.argmax(axis=1)
    rows = np.arange(steps)
    raw[rows, best], raw[rows, ids] = raw[rows, ids].copy(), raw[rows, best].copy()
    probs = np.exp(raw - raw.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    order = np.argsort(-probs, axis=1, kind="stable")[:, :TOP]
    top = np.take_along_axis(probs, order, axis=1)
    entropy = -(probs * np.log2(np.maximum(probs, 1e-300))).sum(axis=1) * night.effect.entropy
    series = {
        "entropy_bits": np.minimum(entropy, np.log2(VOCABULARY) - 0.01),
        "top1_top2_margin": top[:, 0] - top[:, 1],
        "topk_mass": np.minimum(top.sum(axis=1), 1.0),
        "surprisal_bits": -np.log2(top[:, 0]) * night.effect.entropy,
    }
    arrays = {name: _holes(values, bad) for name, values in series.items()}
    return LogitSeries(
        **arrays, topk_token_ids=order, topk_probs=_holes(top, bad), nan=bad, inf=np.zeros(steps, dtype=bool)
    )


def _hidden(
    night: Night,
    steps: int,
    layers: int,
    base: np.random.Generator,
    noise: np.random.Generator,
    bad: npt.NDArray[np.bool_],
) -> HiddenSeries:
    depth = 9.0 * (1.0 + 0.22 * np.arange(layers)) * np.sqrt(night.model.hidden / 256)
    norm = depth * base.uniform(0.92, 1.08, size=(steps, layers)) * night.effect.norm
    norm *= 1.0 + NOISE * noise.normal(size=(steps, layers))
    return HiddenSeries(
        mean=_holes(base.normal(scale=0.01, size=(steps, layers)), bad),
        std=_holes(norm / np.sqrt(night.model.hidden), bad),
        l2_norm=_holes(norm, bad),
        max_abs=_holes(norm * base.uniform(0.3, 0.5, size=(steps, layers)), bad),
        nan=bad,
        inf=np.zeros_like(bad),
        sketch=np.zeros((steps, layers, 0), dtype=np.float32),
    )


def _attention(
    night: Night,
    layer: int,
    prompt_tokens: int,
    steps: int,
    base: np.random.Generator,
    noise: np.random.Generator,
    bad: npt.NDArray[np.bool_],
) -> AttentionSeries:
    heads = night.model.heads
    keys = prompt_tokens + np.arange(steps)
    share = base.uniform(0.25, 0.7, size=(1, heads)) * base.uniform(0.9, 1.1, size=(steps, heads))
    share = np.clip(share * night.effect.attention * (1.0 + NOISE * noise.normal(size=(steps, heads))), 0.05, 0.98)
    if layer == 2:
        share[:, 0] = 0.015  # most models have a head that looks at one token
    # A block's attention is computed before its output: in the first bad block it is still finite.
    broken = np.zeros(steps, dtype=bool) if layer == 0 else bad[:, layer - 1]
    return AttentionSeries(
        layer=layer,
        entropy_nats=_holes(share * np.log(keys)[:, None], broken),
        max_weight=_holes(np.clip(1.0 - share, 0.02, 0.999), broken),
        visible_keys=keys.astype(np.int64),
    )


def _lags(night: Night, ids: npt.NDArray[np.int64], base: np.random.Generator) -> Float:
    steps = len(ids)
    lags = np.full((steps, MAX_LAG), np.nan, dtype=np.float32)
    period = len(tokens(night.prompt.phrase))
    for step in range(1, steps):
        reach = min(step, MAX_LAG)
        lags[step, :reach] = base.uniform(0.2, 0.6, size=reach)
        if night.loops and step >= 8 + period:
            lags[step, period - 1 : reach : period] = 0.995
    return lags


def _prompt(night: Night, count: int, base: np.random.Generator, noise: np.random.Generator) -> PromptAnalysis:
    layers, heads = night.model.layers, night.model.heads

    def head() -> SparseHead:
        places = base.integers(0, count, size=(2, SPARSE))
        weights = np.sort(base.uniform(0.1, 0.9, size=SPARSE))[::-1]
        return SparseHead(places.max(axis=0), places.min(axis=0), weights.astype(np.float32))

    depth = np.linspace(0.9, 0.4, layers)
    return PromptAnalysis(
        layers=tuple(
            PromptLayer(
                layer,
                tuple(head() for _ in range(heads)),
                (depth[layer] * base.uniform(0.7, 1.1, size=heads)).astype(np.float32),
            )
            for layer in range(layers)
        ),
        layer_transformations=(base.uniform(0.02, 0.12, layers - 1)).astype(np.float32),
        prompt_surprisals_bits=(base.gamma(2.0, 2.0, count - 1) * (1 + NOISE * noise.normal(size=count - 1))).astype(
            np.float32
        ),
    )


def _holes(values: _Array, bad: npt.NDArray[np.bool_]) -> Float:
    out = values.astype(np.float32)
    out[bad] = np.nan
    return out
