"""Builds the report of one prompt from host arrays: telemetry, findings and facts in, a legal `Trace` out.

Owns what goes where. Computes no health flag and no loop (`metrics` does), and never sees a tensor, so nothing
transient can reach the report.
"""

from __future__ import annotations

import math

import numpy as np

from model_health.errors import CaptureError
from model_health.metrics.findings import FLAG_NAMES, HealthFindings
from model_health.metrics.telemetry import HiddenSeries, PromptTelemetry
from model_health.report.compact import Axes, compact
from model_health.report.extension import (
    HealthExtension,
    Loop,
    NonFinite,
    NotMeasured,
    ReportThresholds,
    Timing,
)
from model_health.report.facts import GeneratedText, PromptText, TraceSummary
from model_health.report.inputs import DEFAULT_THRESHOLDS, ReportFacts, trace_id_of
from model_health.report.layers import build_layers
from model_health.report.nulls import Gap, Reasons, gaps_in
from model_health.report.parts import entry_of
from model_health.report.prompt import HealthFlags, PromptAnalysis
from model_health.report.prompts import Note, build_prompt_analysis
from model_health.report.reasons import Explainer
from model_health.report.router_build import STACKS, build_router
from model_health.report.series import finite_or_none, nullable
from model_health.report.steps import LayerSummary
from model_health.report.timeline import Decode, build_timeline, clean
from model_health.report.trace import FoundGaps, Trace
from model_health.report.units import nats_to_bits


def build_report(
    telemetry: PromptTelemetry,
    findings: HealthFindings,
    facts: ReportFacts,
    decode: Decode,
    thresholds: ReportThresholds = DEFAULT_THRESHOLDS,
) -> Trace:
    """The report of one prompt.

    Args:
        telemetry: arrays of one prompt; NaN in them becomes null with a reason.
        findings: flags, loops and first non-finite values of the same prompt.
        facts: everything that capture does not measure.
        decode: text of one token id.
        thresholds: of the collapsed and focused head counts (and, for the record, of high entropy).

    Raises:
        CaptureError: arrays of the telemetry contradict each other in length.
    """
    _check(telemetry, facts)
    steps = len(telemetry.generated_token_ids)
    count = _layer_count(telemetry, facts)
    layers = build_layers(
        steps,
        count,
        telemetry.hidden,
        telemetry.attention,
        telemetry.cross_attention,
        thresholds,
        has_cross=telemetry.encoder is not None or bool(telemetry.cross_attention),
    )
    encoder_layers = _encoder_layers(telemetry, thresholds)
    analysis, notes = _analysis(telemetry, len(encoder_layers) if encoder_layers is not None else count)
    notes += _emptied(telemetry) + [
        (Gap(f"model_health.flags.{name}"), reason)
        for name, reason in sorted(findings.undetermined.items())
        if name not in FLAG_NAMES
    ]
    parts: dict[str, object] = {
        "timeline": build_timeline(telemetry, layers, decode, facts.run_config.summaries.logits.topk),
        "summary": _summary(telemetry, facts),
        "encoder_layers": encoder_layers,
        "prompt_analysis": analysis,
        "health_flags": _flags(findings),
        "model_health": _extension(telemetry, findings, facts, thresholds, count),
    }
    said = tuple(dict.fromkeys(entry_of(missing) for missing in telemetry.not_measured))
    known = Reasons(said)
    explainer = Explainer(telemetry, findings, known)
    gaps = tuple(gaps_in(Trace, parts))
    notes += [(gap, explainer.why(gap)) for gap in gaps]
    routers = [
        tuple(dict.fromkeys(series.layer for series in telemetry.routers if series.stack == stack)) for stack in STACKS
    ]
    axes = Axes(
        steps, tuple(range(count)), len(encoder_layers or ()), len(analysis.layers) if analysis else 0, *routers
    )
    found = compact(Trace, [(gap, reason) for gap, reason in notes if known.find(gap) is None], axes)
    return _assemble(facts, telemetry, parts, (*said, *found), FoundGaps(gaps))


def _assemble(
    facts: ReportFacts,
    telemetry: PromptTelemetry,
    parts: dict[str, object],
    entries: tuple[NotMeasured, ...],
    found: FoundGaps,
) -> Trace:
    prompt, generated = telemetry.prompt_token_ids.tolist(), telemetry.generated_token_ids.tolist()
    extension = parts["model_health"]
    assert isinstance(extension, HealthExtension)
    return Trace.model_validate(
        {
            **parts,
            "trace_id": trace_id_of(facts.run_id, facts.model_name, facts.prompt_id),
            "created_at_utc": facts.created_at,
            "model": facts.model,
            "run_config": facts.run_config,
            "prompt": PromptText(text=clean(facts.prompt_text), token_ids=tuple(prompt), num_tokens=len(prompt)),
            "generated": GeneratedText(
                output_text=clean(facts.output_text), token_ids=tuple(generated), num_tokens=len(generated)
            ),
            "warnings": facts.warnings,
            "model_health": extension.model_copy(update={"not_measured": entries}),
        },
        context=found,
    )


def _check(telemetry: PromptTelemetry, facts: ReportFacts) -> None:
    steps = len(telemetry.generated_token_ids)
    lengths: dict[str, int] = {}
    if telemetry.logits is not None:
        lengths["logits"] = len(telemetry.logits.entropy_bits)
    if telemetry.hidden is not None:
        lengths["hidden"] = len(telemetry.hidden.mean)
    if telemetry.final_hidden is not None:
        lengths["final_hidden"] = len(telemetry.final_hidden.mean)
    for series in (*telemetry.attention, *telemetry.cross_attention):
        lengths[f"attention of layer {series.layer}"] = len(series.visible_keys)
    wrong = {name: length for name, length in lengths.items() if length != steps}
    if wrong:
        name, length = next(iter(wrong.items()))
        raise CaptureError(f"{name} has {length} steps, but {steps} tokens were generated", subject=facts.prompt_id)


def _layer_count(telemetry: PromptTelemetry, facts: ReportFacts) -> int:
    attended = max((series.layer + 1 for series in (*telemetry.attention, *telemetry.cross_attention)), default=0)
    if telemetry.hidden is None:
        return max(facts.model.num_layers, attended)
    count = int(telemetry.hidden.mean.shape[1])
    if attended > count:
        reason = f"attention of layer {attended - 1}, but the hidden states have {count} layers"
        raise CaptureError(reason, subject=facts.prompt_id)
    return count


def _encoder_layers(telemetry: PromptTelemetry, thresholds: ReportThresholds) -> tuple[LayerSummary, ...] | None:
    encoder = telemetry.encoder
    if encoder is None:
        return None
    count = encoder.hidden.mean.shape[1]
    return build_layers(1, count, encoder.hidden, encoder.attention, (), thresholds, has_cross=False)[0]


def _analysis(telemetry: PromptTelemetry, layer_count: int) -> tuple[PromptAnalysis | None, list[Note]]:
    if telemetry.prompt is None:
        return None, []
    return build_prompt_analysis(telemetry.prompt, layer_count)


def _emptied(telemetry: PromptTelemetry) -> list[Note]:
    """Notes for lists that the summaries left empty because a value in them was not finite."""
    notes: list[Note] = []
    if telemetry.logits is not None:
        series = telemetry.logits
        bad = series.nan | series.inf | ~np.isfinite(series.topk_probs).all(axis=1)
        notes += [
            (Gap("timeline.logits_summary.topk", int(step)), "the step's probabilities are not finite")
            for step in np.flatnonzero(bad)
        ]
    if telemetry.hidden is not None and telemetry.hidden.sketch.shape[-1]:
        notes += _sketches(telemetry.hidden)
    if telemetry.final_hidden is None:
        notes.append((Gap("model_health.final_hidden_l2_norm"), "the final hidden state was not captured"))
    return notes


def _sketches(hidden: HiddenSeries) -> list[Note]:
    bad = hidden.nan | hidden.inf | ~np.isfinite(hidden.sketch).all(axis=-1)
    return [
        (Gap("timeline.layers.hidden_summary.sketch", int(step), int(layer)), "the layer's output is not finite")
        for step, layer in np.argwhere(bad)
    ]


def _summary(telemetry: PromptTelemetry, facts: ReportFacts) -> TraceSummary:
    prompt, generated = len(telemetry.prompt_token_ids), len(telemetry.generated_token_ids)
    elapsed = None if facts.elapsed_seconds is None else round(facts.elapsed_seconds * 1000)
    return TraceSummary(
        prompt_tokens=prompt, generated_tokens=generated, total_steps=prompt + generated, elapsed_ms=elapsed
    )


def _flags(findings: HealthFindings) -> HealthFlags:
    return HealthFlags(
        nan_detected=findings.nan_detected,
        inf_detected=findings.inf_detected,
        attention_collapse_detected=findings.attention_collapse_detected,
        high_entropy_steps=findings.high_entropy_steps,
        repetition_loop_detected=findings.repetition_loop_detected,
        mid_layer_anomaly_detected=findings.mid_layer_anomaly_detected,
    )


def _extension(
    telemetry: PromptTelemetry, findings: HealthFindings, facts: ReportFacts, thresholds: ReportThresholds, count: int
) -> HealthExtension:
    bad_steps, bad_layers = _non_finite(telemetry)
    final = telemetry.final_hidden
    loops = [Loop(period=x.period, start_step=x.start_step, length=x.length, witness=x.witness) for x in findings.loops]
    seen = [NonFinite(where=x.where, kind=x.kind, step=x.step, layer=x.layer) for x in findings.non_finite]
    return HealthExtension.model_validate(
        {
            "run_id": facts.run_id,
            "model_name": facts.model_name,
            "suite": facts.suite,
            "vocab_size": facts.vocab_size,
            "prompt_id": facts.prompt_id,
            "group": facts.group,
            "flags": tuple(sorted(findings.flags)),
            "tolerated": tuple(sorted(str(flag) for flag in facts.tolerated)),
            "failing": tuple(sorted(str(flag) for flag in facts.failing)),
            "stopped_by": telemetry.stopped_by,
            "loops": tuple(loops),
            "non_finite": tuple(seen),
            "non_finite_steps": bad_steps,
            "non_finite_layers": bad_layers,
            "sequence_perplexity": _sequence_perplexity(telemetry),
            "final_hidden_l2_norm": () if final is None else tuple(nullable(final.l2_norm.reshape(-1))),
            "attention_entropy_bits": _attention_bits(telemetry, count),
            "router": build_router(telemetry),
            "timing": Timing(
                time_to_first_token_seconds=facts.time_to_first_token_seconds,
                time_per_output_token_seconds=facts.time_per_output_token_seconds,
                batch_size=facts.batch_size,
            ),
            "thresholds": thresholds,
            "performance": facts.performance,
        }
    )


def _non_finite(telemetry: PromptTelemetry) -> tuple[int | None, int | None]:
    """Steps, and layers, that met a NaN or Inf; null where the hidden states were not captured."""
    if telemetry.hidden is None:
        return None, None
    bad = telemetry.hidden.nan | telemetry.hidden.inf
    steps = bad.any(axis=1)
    if telemetry.logits is not None:
        steps = steps | telemetry.logits.nan | telemetry.logits.inf
    return int(steps.sum()), int(bad.any(axis=0).sum())


def _sequence_perplexity(telemetry: PromptTelemetry) -> float | None:
    """2^(mean surprisal) over all generated tokens, or None where any surprisal is missing."""
    series = telemetry.logits
    if series is None or not len(series.surprisal_bits):
        return None
    bits = series.surprisal_bits[~(series.nan | series.inf)].astype(np.float64)
    if len(bits) != len(series.surprisal_bits) or not np.isfinite(bits).all() or bits.mean() > 1000:
        return None  # beyond 2^1000 a double overflows; no vocabulary reaches it
    return math.pow(2.0, float(bits.mean()))


def _attention_bits(telemetry: PromptTelemetry, count: int) -> tuple[float | None, ...]:
    """Per layer, mean attention entropy in bits over steps and heads, rows with at least 2 visible keys."""
    values: list[float | None] = [None] * count
    for series in telemetry.attention:
        rows = series.entropy_nats[series.visible_keys >= 2].astype(np.float64)
        if rows.size and np.isfinite(rows).all():
            values[series.layer] = finite_or_none(nats_to_bits(float(rows.mean())))
    return tuple(values)
