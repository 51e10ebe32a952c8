"""Judges one architecture: a tiny model of it, watched, against everything that transformers itself returns.

`examine` builds the model, generates plainly (what fails there is the architecture's own limit), generates naively with
everything kept, generates under capture with preset `full`, and compares every number. It answers with an `Outcome` and
its reason; it does not know how many architectures there are, nor where the answer is written.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers import logging as transformers_logging

from model_health.capture.layout import ModelLayout, find_layout
from model_health.capture.routers import NO_ROUTER
from model_health.config.measure import PRESETS
from model_health.metrics.recording import record
from model_health.metrics.telemetry import NotMeasured, PromptTelemetry
from support.naive import run_naive
from support.parity import check_batch
from support.recordings import report_of
from support.router_reference import check_router_entropies, router_logits_of
from support.shrink import build_small
from support.shrink_table import NOT_RUNNABLE, VOCABULARY

LENGTHS = (23, 7, 14)
"""Real tokens of the prompts of the batch: longer and shorter than the tiny models' windows."""
NEW_TOKENS = 10
SETTINGS: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "do_sample": False}

_BY_NATURE = {"prompt_surprisals": "an encoder-decoder model does not predict its prompt"}
_NAMED_PARTS = {
    "attention": "attention",
    "cross_attention": "cross attention",
    "encoder_attention": "encoder attention",
    "prompt_attention": "prompt attention",
    "prompt_surprisals": "prompt surprisals",
    "hidden": "hidden states",
    "router": "routers",
    "model_health.router.layers": "routers",
    "model_health.router.encoder_layers": "encoder routers",
}


class Outcome(StrEnum):
    """How an architecture fares; `WRONG` is the one that may not occur."""

    FULL = "full"
    PARTIAL = "partial"
    NOT_RUNNABLE = "not runnable"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """The outcome for one architecture, the reason for anything but `full`, and what is measured of its routers."""

    outcome: Outcome
    reason: str = ""
    routers: str = ""


def prompts(encoder_decoder: bool, *, padded: bool = True) -> dict[str, torch.Tensor]:
    """Random prompts, padded on the left (on the right for an encoder), or of one length."""
    generator = torch.Generator().manual_seed(7)
    width = max(LENGTHS)
    ids = torch.randint(12, VOCABULARY, (len(LENGTHS), width), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate(LENGTHS if padded else ()):
        hidden = slice(length, None) if encoder_decoder else slice(0, width - length)
        mask[row, hidden] = 0
        ids[row, hidden] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _told(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}").strip()
    return text if len(text) <= 160 else text[:157] + "..."


def summary(gaps: tuple[NotMeasured, ...], layers: int) -> str:
    """The gaps of a prompt in one line: equal reasons of several layers are told once, with their count."""
    grouped = Counter(
        (gap.part, gap.reason, gap.layer is None)
        for gap in gaps
        if gap.reason not in (_BY_NATURE.get(gap.part), NO_ROUTER)
    )
    told: dict[str, list[str]] = {}
    for (part, reason, everywhere), count in grouped.items():
        name = _NAMED_PARTS.get(part, part)
        told.setdefault(reason, []).append(name if everywhere else f"{name} of {count} in {layers} layers")
    return "; ".join(f"{' and '.join(names)}: {reason}" for reason, names in told.items())


def examine(model_type: str, mapping: str) -> Finding:
    """Judge one architecture, by its key in transformers' auto mapping (`causal` or `seq2seq`)."""
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()
    if model_type in NOT_RUNNABLE:
        return Finding(Outcome.NOT_RUNNABLE, NOT_RUNNABLE[model_type])
    try:
        model = build_small(model_type, mapping)
        model.generate(**prompts(bool(model.config.is_encoder_decoder)), **SETTINGS)
    except Exception as error:  # noqa: BLE001 - whatever fails before we take part is the architecture's own limit
        return Finding(Outcome.NOT_RUNNABLE, _told(error))
    try:
        return judge(model, build_small(model_type, mapping, attn_implementation="eager"))
    except Exception as error:  # noqa: BLE001 - an exception of ours is as wrong as a number
        return Finding(Outcome.WRONG, _told(error))


def judge(model: PreTrainedModel, eager: PreTrainedModel) -> Finding:
    """Hold one model against the reference that its eager twin gives.

    Raises:
        AssertionError: a number differs.
    """
    both = bool(model.config.is_encoder_decoder)
    layout = find_layout(model)
    if not any(layout.decoder.has_attention):  # such models do not even take the question for weights
        telemetry = _compare(model, None, prompts(both))
        assert telemetry is not None
        assert not telemetry.attention
        return _finding(telemetry, layout)
    telemetry = _compare(model, eager, prompts(both))
    if telemetry is None:
        # Eager attention of this architecture gives other logits for padded rows: attention is held where none is.
        _compare(model, None, prompts(both))
        telemetry = _compare(model, eager, prompts(both, padded=False))
        assert telemetry is not None, "there is no reference: eager attention gives other logits"
    return _finding(telemetry, layout)


def _finding(telemetry: PromptTelemetry, layout: ModelLayout) -> Finding:
    reason = summary(telemetry.not_measured, len(layout.decoder.layers))
    return Finding(Outcome.PARTIAL if reason else Outcome.FULL, reason, routers_of(telemetry))


def routers_of(telemetry: PromptTelemetry) -> str:
    """What is measured of the routers of a mixture of experts; nothing where there are none."""
    if not telemetry.routers:
        return ""
    loads = [series.load is not None for series in telemetry.routers]
    parts = ["entropy", "load" if all(loads) else "load of some" if any(loads) else ""]
    parts.append("drops" if any(series.dropped is not None for series in telemetry.routers) else "")
    return ", ".join(part for part in parts if part)


def _compare(
    model: PreTrainedModel, eager: PreTrainedModel | None, inputs: dict[str, torch.Tensor]
) -> PromptTelemetry | None:
    """A prompt of a batch in which every number agrees; None if the eager twin is no reference for the batch."""
    plain = model.generate(**inputs, **SETTINGS, return_dict_in_generate=True, output_logits=True)
    twin = eager if eager is not None else model
    reference = run_naive(twin, find_layout(twin), inputs, eager=eager is not None, **SETTINGS)
    if not all(_close(a, b) for a, b in zip(plain.logits, reference.logits, strict=True)):
        assert eager is not None, "generate gives other logits when it returns hidden states"
        return None
    with record(model, PRESETS["full"]) as recording:
        sequences = model.generate(**inputs, **SETTINGS)
    telemetry = recording.telemetry()
    assert torch.equal(sequences, plain.sequences), "the probes changed what was generated"
    assert torch.equal(sequences, reference.sequences), "the reference generated other tokens"
    check_batch(telemetry, reference, inputs, NEW_TOKENS, attention=eager is not None)
    if telemetry.prompts[0].routers:
        spied = router_logits_of(model, inputs, SETTINGS)
        check_router_entropies(telemetry, spied, inputs)
    for prompt in telemetry.prompts:
        report_of(prompt)  # a report refuses a null without a reason
    return telemetry.prompts[0]


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    finite = torch.isfinite(one) & torch.isfinite(other)
    scale = float(one[finite].abs().amax()) + 1e-6
    return bool((one[finite] - other[finite]).abs().amax() < 1e-4 * scale)
