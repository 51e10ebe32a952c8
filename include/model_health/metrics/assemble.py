"""Turns what was recorded on the device into host telemetry: one block of transfers, then a slice per prompt.

Also says what was *not measured* and why: parts that were switched off, layers whose attention did not dispatch, and
everything rebuilt that did not agree with what the model computed itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from model_health.capture.events import AttentionKind, GenerationStart, StackName
from model_health.config.layers import LAYER_LEFT_OUT, STEP_LEFT_OUT
from model_health.errors import CaptureError
from model_health.metrics.host_arrays import Looked, hidden_cutter, host, logit_cutter, pass_block
from model_health.metrics.host_attention import HostAttention, prompt_layer_cutter, tolerance
from model_health.metrics.host_router import router_cutter, router_gaps
from model_health.metrics.recorder import HealthRecorder, Records
from model_health.metrics.telemetry import (
    MAX_LAG,
    BatchTelemetry,
    EncoderTelemetry,
    Float,
    NotMeasured,
    PromptAnalysis,
    PromptTelemetry,
)

SWITCHED_OFF = "switched off by the configuration"
NO_NEIGHBOURS = "it compares neighbours, and the configuration leaves layers out"
_HEAD_MISS, _LOW_PRECISION_HEAD_MISS = 1e-4, 2e-2
"""Relative miss of rebuilt logits that rounding explains: the model's own code makes them from the same states."""


def _ends(records: Records, generated: NDArray[np.int64]) -> list[tuple[int, str]]:
    """For each row how many tokens it generated, its end token included, and what stopped it."""
    eos = np.isin(generated, records.start.eos_token_ids)
    ends: list[tuple[int, str]] = []
    for row in eos:
        if row.any():
            ends.append((int(row.argmax()) + 1, "eos"))
        else:
            ends.append((len(row), "length" if len(row) >= records.start.max_new_tokens else "other"))
    return ends


def _off(pairs: Iterable[tuple[str, bool]]) -> list[NotMeasured]:
    return [NotMeasured(part, SWITCHED_OFF) for part, on in pairs if not on]


def assemble(recorder: HealthRecorder, probe_seconds: float = 0.0) -> BatchTelemetry:
    """Move everything that a finished recorder holds to the host and split it by prompt.

    Raises:
        CaptureError: the generation did not end, or steps and tokens do not match.
    """
    records = recorder.records
    start, switches, steps = records.start, records.switches, records.steps
    assert records.sequences is not None
    generated = records.sequences[:, records.given :].cpu().numpy().astype(np.int64)
    tokens = generated.shape[1]
    # where transformers looks for the end a step late, it runs one pass more and takes its token back
    judged = sum(len(block) for block in records.chosen_logits)
    if not 0 < tokens <= steps <= tokens + 1 or (switches.logits and judged != steps):
        raise CaptureError(f"{steps} forward passes do not match {tokens} generated tokens", hint="report this")
    prompt_ids, real = start.prompt_ids.cpu().numpy(), start.prompt_mask.cpu().numpy()
    encoder_layout = start.layout.encoder
    reading = StackName.DECODER if encoder_layout is None else StackName.ENCODER
    slots = HostAttention(records)
    seen = pass_block(records)
    decoder_blocks = records.hidden if encoder_layout is not None or seen is None else [seen, *records.hidden]
    refused = records.refused_states
    reads = switches.hidden and StackName.DECODER not in refused
    looked = {stack: Looked(start.chosen_of(stack), start.layer_count(stack)) for stack in StackName}
    decoded = replace(looked[StackName.DECODER], every=switches.every, step_count=steps)
    hidden = hidden_cutter(decoder_blocks, decoded) if reads and decoder_blocks else None
    encoder_hidden = (
        hidden_cutter([seen], looked[StackName.ENCODER])
        if encoder_layout is not None and seen is not None and switches.hidden
        else None
    )
    final = hidden_cutter(records.final)
    logits = logit_cutter(records) if switches.logits else None
    layers = prompt_layer_cutter(slots, reading, real, switches.sparse_threshold)
    turns = host(torch.stack(records.prompt_pass.transformations, 1)) if records.prompt_pass.transformations else None
    lags = host(torch.cat(records.lags)) if records.lags else None
    gaps, surprisals = _prompt_surprisals(records)
    gaps += _off(
        [
            ("logits", switches.logits),
            ("hidden", switches.hidden),
            ("attention", switches.attention),
            ("lag_similarity", switches.lag_similarity),
            ("router", switches.router),
        ]
    )
    routers = router_cutter(start, records.router, tokens)
    if switches.router:
        gaps += router_gaps(start, records.router)
    parts = {StackName.DECODER: "hidden", StackName.ENCODER: "encoder.hidden"}
    if switches.hidden:
        gaps += [NotMeasured(parts[stack], reason) for stack, reason in refused.items()]
    if switches.layer_transformations and switches.prompt_telemetry:
        if not start.chooses_all(reading):
            gaps.append(NotMeasured("layer_transformations", NO_NEIGHBOURS))
        elif reading in refused:
            gaps.append(NotMeasured("layer_transformations", refused[reading]))
    if switches.prompt_telemetry:
        gaps += _off(
            [
                ("basin_scores", switches.basin_scores),
                ("sparse_attention", switches.prompt_attention_sparse),
                ("layer_transformations", switches.layer_transformations),
            ]
        )
    else:
        gaps.append(NotMeasured("prompt_analysis", SWITCHED_OFF))
    if switches.attention:
        gaps += slots.gaps(StackName.DECODER, AttentionKind.SELF, start.layout.decoder, "attention")
        if encoder_layout is not None:
            gaps += slots.gaps(StackName.DECODER, AttentionKind.CROSS, start.layout.decoder, "cross_attention")
            gaps += slots.gaps(StackName.ENCODER, AttentionKind.SELF, encoder_layout, "encoder_attention")
    if (switches.basin_scores or switches.prompt_attention_sparse) and switches.prompt_telemetry:
        gaps += slots.gaps(reading, AttentionKind.SELF, encoder_layout or start.layout.decoder, "prompt_attention")

    gaps += _left_out(start, reads_prompt=switches.prompt_telemetry)

    prompts = []
    for row, (length, stopped_by) in enumerate(_ends(records, generated)):
        span = slice(0, length)
        analysis = PromptAnalysis(
            layers=layers(row),
            layer_transformations=np.zeros(0, np.float32) if turns is None else turns[row],
            prompt_surprisals_bits=surprisals(row),
        )
        encoder = None
        if encoder_hidden is not None:
            series = slots.series(reading, AttentionKind.SELF, row, slice(0, 1)) if switches.attention else ()
            encoder = EncoderTelemetry(encoder_hidden(row, slice(0, 1)), series)
        attends = switches.attention
        prompts.append(
            PromptTelemetry(
                prompt_token_ids=prompt_ids[row][real[row]].astype(np.int64),
                generated_token_ids=generated[row, :length],
                logits=logits(row, span) if logits else None,
                hidden=hidden(row, span) if hidden else None,
                final_hidden=final(row, span),
                attention=slots.series(StackName.DECODER, AttentionKind.SELF, row, span) if attends else (),
                cross_attention=slots.series(StackName.DECODER, AttentionKind.CROSS, row, span) if attends else (),
                lag_cosine=np.full((length, MAX_LAG), np.nan, np.float32) if lags is None else lags[span, row],
                prompt=analysis if switches.prompt_telemetry else None,
                encoder=encoder,
                not_measured=(*gaps, *_steps_left_out(length, switches.every)),
                routers=routers(row, length),
                stopped_by=stopped_by,
                every=switches.every,
            )
        )
    seconds = recorder.clock.seconds()
    return BatchTelemetry(
        prompts=tuple(prompts),
        time_to_first_token_seconds=seconds[0],
        step_seconds=np.asarray(seconds[1:tokens], dtype=np.float32),
        total_seconds=recorder.clock.total_seconds,
        probe_seconds=probe_seconds,
    )


def _left_out(start: GenerationStart, *, reads_prompt: bool) -> list[NotMeasured]:
    """One entry for each layer that was not chosen; a second for its attention over the prompt."""
    gaps: list[NotMeasured] = []
    for stack, part in ((StackName.DECODER, "layers"), (StackName.ENCODER, "encoder")):
        chosen = start.chosen_of(stack)
        missing = [layer for layer in range(start.layer_count(stack)) if layer not in chosen]
        gaps += [NotMeasured(part, LAYER_LEFT_OUT, layer) for layer in missing]
        if reads_prompt and (stack is StackName.ENCODER) == start.is_encoder_decoder:
            gaps += [NotMeasured("prompt_attention", LAYER_LEFT_OUT, layer) for layer in missing]
    return gaps


def _steps_left_out(tokens: int, every: int) -> list[NotMeasured]:
    return [NotMeasured("layers", STEP_LEFT_OUT, step=step) for step in range(tokens) if step % every]


def _prompt_surprisals(records: Records) -> tuple[list[NotMeasured], Callable[[int], Float]]:
    """Per-row prompt surprisals over real tokens, or why there are none."""
    nothing = np.zeros(0, np.float32)
    part = "prompt_surprisals"
    start = records.start
    if not records.switches.prompt_surprisals:
        gaps = [NotMeasured(part, SWITCHED_OFF)] if records.switches.prompt_telemetry else []
        return gaps, lambda row: nothing
    if start.is_encoder_decoder:
        return [NotMeasured(part, "an encoder-decoder model does not predict its prompt")], lambda row: nothing
    if records.prompt_surprisal is None or records.head_disagreement is None:
        return [NotMeasured(part, "the logits of its prompt cannot be made from its final states")], lambda row: nothing
    miss = float(host(records.head_disagreement))
    if miss > (_HEAD_MISS if tolerance(records) < _LOW_PRECISION_HEAD_MISS else _LOW_PRECISION_HEAD_MISS):
        reason = f"logits rebuilt from the final state miss the model's own by {miss:.1e} (relative)"
        return [NotMeasured(part, reason)], lambda row: nothing
    bits, real = host(records.prompt_surprisal.bits), start.prompt_mask.cpu().numpy()
    return [], lambda row: bits[row][real[row, 1:] & real[row, :-1]]
