"""Builds the timeline of a trace: tokens, their texts, the logit summaries, and the layers of each step."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from model_health.metrics.telemetry import Bool, LogitSeries, PromptTelemetry
from model_health.report.bulk import build_rows
from model_health.report.series import nullable, shortest
from model_health.report.steps import LayerSummary, LogitsSummary, TimelineStep, TokenInfo, TopToken

SURROGATE = re.compile("[\ud800-\udfff]")

Decode = Callable[[int], str]
"""Text of one token id."""


def clean(text: str) -> str:
    """The text without lone surrogates, which no UTF-8 file can hold."""
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)


def build_timeline(
    telemetry: PromptTelemetry, layers: list[tuple[LayerSummary, ...]], decode: Decode, top: int
) -> tuple[TimelineStep, ...]:
    """One step per generated token.

    Args:
        telemetry: of the prompt.
        layers: one tuple per step.
        decode: text of one token id; asked once per id.
        top: how many of the most likely tokens a step names.
    """
    texts: dict[int, str] = {}

    def text_of(token: int) -> str:
        if token not in texts:
            texts[token] = clean(decode(token))
        return texts[token]

    tokens: list[int] = telemetry.generated_token_ids.tolist()
    count, first = len(tokens), len(telemetry.prompt_token_ids)
    said = build_rows(TokenInfo, {"token_id": tokens, "token_text": [text_of(token) for token in tokens]})
    logits = [LogitsSummary()] * count if telemetry.logits is None else _logits(telemetry.logits, text_of, top)
    numbers = list(range(first, first + count))
    columns: dict[str, Sequence[object]] = {
        "step_index": numbers,
        "token": said,
        "logits_summary": logits,
        "layers": layers,
    }
    return tuple(build_rows(TimelineStep, columns))


def _logits(series: LogitSeries, text_of: Decode, top: int) -> list[LogitsSummary]:
    bad = series.nan | series.inf
    with np.errstate(over="ignore"):
        # 2^-inf is 0, a number: an entropy that is not finite has no effective vocabulary either.
        effective = np.where(np.isfinite(series.entropy_bits), np.exp2(series.entropy_bits), np.float32(np.nan))
    columns = np.stack(
        (series.entropy_bits, series.top1_top2_margin, series.topk_mass, series.surprisal_bits, effective)
    )
    entropy, margin, mass, surprisal, perplexity = nullable(np.where(bad, np.float32(np.nan), columns))
    return build_rows(
        LogitsSummary,
        {
            "entropy": entropy,
            "top1_top2_margin": margin,
            "topk": _top_tokens(series, bad, text_of, top),
            "top_k_margin": margin,
            "voter_agreement": mass,
            "topk_mass": mass,
            "perplexity": perplexity,
            "surprisal": surprisal,
        },
    )


def _top_tokens(series: LogitSeries, bad: Bool, text_of: Decode, top: int) -> list[tuple[TopToken, ...]]:
    """The most likely tokens of each step; none where the step's numbers are not finite."""
    ids, probs = series.topk_token_ids[:, :top], series.topk_probs[:, :top]
    usable = np.isfinite(probs).all(axis=1) & ~bad
    tokens: list[int] = ids[usable].reshape(-1).tolist()
    texts = [text_of(token) for token in tokens]
    rows = build_rows(
        TopToken, {"token_id": tokens, "token_text": texts, "prob": shortest(probs[usable]).reshape(-1).tolist()}
    )
    found, width = iter(rows), ids.shape[1]
    return [tuple(islice(found, width)) if good else () for good in usable.tolist()]
