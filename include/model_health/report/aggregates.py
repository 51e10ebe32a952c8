"""How each prompt metric of the catalogue is put together from a report. Aggregates skip what was not measured.

A measurement is `(value, None)` or `(None, reason)`: the reason is the report's own, from `not_measured`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from statistics import fmean

from model_health.config.layers import LAYER_LEFT_OUT, STEP_LEFT_OUT
from model_health.report.router import RouterLayer
from model_health.report.steps import LayerSummary, TimelineStep
from model_health.report.trace import Trace

Measurement = tuple[float | None, str | None]
Aggregate = Callable[[list[float]], float]

LOGITS = "timeline.logits_summary"
HIDDEN = "timeline.layers.hidden_summary"
ATTENTION = "timeline.layers.attention_summary"
ROUTERS = "model_health.router.layers"
BANDS = ("early", "middle", "late")


def _generated(trace: Trace) -> list[TimelineStep]:
    return [step for step in trace.timeline if not step.token.is_prompt_token]


def _given(value: float | None, trace: Trace, part: str) -> Measurement:
    return (float(value), None) if value is not None else (None, _why(trace, part))


def _why(trace: Trace, part: str) -> str:
    """The reason for the whole part, or the first reason for some of it."""
    whole = trace.why_null(part)
    if whole is not None:
        return whole
    reasons = [
        entry.reason
        for entry in trace.model_health.not_measured
        if entry.part == part or part.startswith(f"{entry.part}.") or entry.part.startswith(f"{part}.")
    ]
    if reasons:  # what was looked at and has no value says more than that other layers were left out
        return next((reason for reason in reasons if reason not in (LAYER_LEFT_OUT, STEP_LEFT_OUT)), reasons[0])
    return "no token was generated" if not trace.timeline else "there is nothing to measure"


def _aggregate(values: Iterable[float | None], how: Aggregate, trace: Trace, part: str) -> Measurement:
    known = [value for value in values if value is not None]
    return (float(how(known)), None) if known else (None, _why(trace, part))


def _logits(trace: Trace, *, name: str, how: Aggregate) -> Measurement:
    values = (getattr(step.logits_summary, name) for step in _generated(trace))
    return _aggregate(values, how, trace, f"{LOGITS}.{name}")


def _layers(trace: Trace) -> list[LayerSummary]:
    return [layer for step in _generated(trace) for layer in step.layers]


@lru_cache(maxsize=10_000)
def band_of(layer: int, count: int) -> str:
    """Third of the stack that a layer lies in: `early`, `middle` or `late`."""
    return BANDS[min(layer * 3 // max(count, 1), 2)]


def _hidden_band(trace: Trace, *, band: str) -> Measurement:
    """The prefill describes many tokens, a decode step one: they are only mixed when there is nothing else."""
    steps = _generated(trace)
    count = trace.model.num_layers
    layers = [
        layer for step in steps[1:] or steps for layer in step.layers if band_of(layer.layer_index, count) == band
    ]
    part = f"{HIDDEN}.l2_norm_mean"
    if layers and all(trace.why_null(part, layer=layer) == LAYER_LEFT_OUT for layer in {x.layer_index for x in layers}):
        return None, LAYER_LEFT_OUT
    return _aggregate((layer.hidden_summary.l2_norm_mean for layer in layers), fmean, trace, part)


def _hidden_peak(trace: Trace) -> Measurement:
    values = (layer.hidden_summary.max_abs for layer in _layers(trace))
    return _aggregate(values, max, trace, f"{HIDDEN}.max_abs")


def _final_hidden(trace: Trace) -> Measurement:
    part = "model_health.final_hidden_l2_norm"
    return _aggregate(trace.model_health.final_hidden_l2_norm, fmean, trace, part)


def _attention_bits(trace: Trace) -> Measurement:
    part = "model_health.attention_entropy_bits"
    return _aggregate(trace.model_health.attention_entropy_bits, fmean, trace, part)


def _collapsed(trace: Trace) -> Measurement:
    heads = trace.model.num_attention_heads
    rates: list[float | None] = []
    for layer in _layers(trace):
        rate, count = layer.attention_summary.collapsed_head_rate, layer.attention_summary.collapsed_head_count
        rates.append(count / heads if rate is None and count is not None and heads else rate)
    return _aggregate(rates, fmean, trace, f"{ATTENTION}.collapsed_head_count")


def _prompt_list(trace: Trace, *, name: str) -> Measurement:
    part = f"prompt_analysis.{name}"
    values = getattr(trace.prompt_analysis, name) if trace.prompt_analysis else ()
    if values or trace.why_null(part):
        return _aggregate(values, fmean, trace, part)
    if name == "layer_transformations":
        return None, "the model has one layer"
    if trace.encoder_layers is not None:
        return None, "an encoder does not predict its tokens"
    return None, "the prompt has one token"


def _basin(trace: Trace) -> Measurement:
    layers = trace.prompt_analysis.layers if trace.prompt_analysis else ()
    scores = [score for layer in layers for score in layer.basin_scores]
    return _aggregate(scores, fmean, trace, "prompt_analysis.layers.basin_scores")


def _flag(trace: Trace, *, name: str) -> Measurement:
    value = getattr(trace.health_flags, name) if trace.health_flags else None
    return _given(value, trace, f"health_flags.{name}")


def _raised(trace: Trace, *, name: str) -> Measurement:
    """A flag that only `model_health.flags` holds."""
    if name in trace.model_health.flags:
        return 1.0, None
    reason = trace.why_null(f"model_health.flags.{name}") or trace.why_null("model_health.failing")
    return (None, reason) if reason else (0.0, None)


def _high_entropy(trace: Trace) -> Measurement:
    """Undetermined exactly where the steps could not be counted."""
    steps, reason = _flag(trace, name="high_entropy_steps")
    return _raised(trace, name="high_entropy") if steps is not None else (None, reason)


def _loop(trace: Trace) -> Measurement:
    loops = trace.model_health.loops
    return _given(None if loops is None else float(bool(loops)), trace, "model_health.loops")


def _longest_loop(trace: Trace, *, name: str) -> Measurement:
    loops = trace.model_health.loops
    if loops is None:
        return None, _why(trace, "model_health.loops")
    if not loops:
        return None, "no loop was found"
    return float(getattr(max(loops, key=lambda loop: loop.length), name)), None


def _ours(trace: Trace, *, name: str) -> Measurement:
    return _given(getattr(trace.model_health, name), trace, f"model_health.{name}")


def _timing(trace: Trace, *, name: str) -> Measurement:
    return _given(getattr(trace.model_health.timing, name), trace, f"model_health.timing.{name}")


def _truncated(trace: Trace) -> Measurement:
    stopped = trace.model_health.stopped_by
    return _given(None if stopped is None else float(stopped == "length"), trace, "model_health.stopped_by")


def _unhealthy(trace: Trace) -> Measurement:
    flags = trace.model_health.unhealthy_flags
    return _given(None if flags is None else float(bool(flags)), trace, "model_health.failing")


def _routers(trace: Trace) -> tuple[RouterLayer, ...]:
    router = trace.model_health.router
    return (*router.layers, *router.encoder_layers) if router else ()


def _router(trace: Trace, *, name: str, how: Aggregate) -> Measurement:
    values = (getattr(router, name) for router in _routers(trace))
    return _aggregate(values, how, trace, f"{ROUTERS}.{name}")


def _of_routers(trace: Trace, *, name: str) -> Measurement:
    return _given(getattr(trace.model_health.router, name, None), trace, f"model_health.router.{name}")


PROMPT_METRICS: dict[str, Callable[[Trace], Measurement]] = {
    "prompt_tokens": lambda trace: (float(trace.summary.prompt_tokens), None),
    "generated_tokens": lambda trace: (float(trace.summary.generated_tokens), None),
    "truncated": _truncated,
    "time_to_first_token_seconds": partial(_timing, name="time_to_first_token_seconds"),
    "time_per_output_token_seconds": partial(_timing, name="time_per_output_token_seconds"),
    "entropy_bits_mean": partial(_logits, name="entropy", how=fmean),
    "entropy_bits_max": partial(_logits, name="entropy", how=max),
    "surprisal_bits_mean": partial(_logits, name="surprisal", how=fmean),
    "surprisal_bits_max": partial(_logits, name="surprisal", how=max),
    "sequence_perplexity": partial(_ours, name="sequence_perplexity"),
    "top1_top2_margin_mean": partial(_logits, name="top1_top2_margin", how=fmean),
    "top1_top2_margin_min": partial(_logits, name="top1_top2_margin", how=min),
    "topk_mass_mean": partial(_logits, name="voter_agreement", how=fmean),
    "high_entropy_steps": partial(_flag, name="high_entropy_steps"),
    **{f"hidden_l2_norm_{band}_mean": partial(_hidden_band, band=band) for band in BANDS},
    "hidden_max_abs_max": _hidden_peak,
    "final_hidden_l2_norm_mean": _final_hidden,
    "attention_entropy_bits_mean": _attention_bits,
    "collapsed_head_rate": _collapsed,
    "prompt_surprisal_bits_mean": partial(_prompt_list, name="prompt_surprisals"),
    "layer_transformation_mean": partial(_prompt_list, name="layer_transformations"),
    "basin_score_mean": _basin,
    "router_entropy_bits_mean": partial(_router, name="entropy_bits_mean", how=fmean),
    "router_entropy_bits_min": partial(_router, name="entropy_bits_mean", how=min),
    "expert_load_share_max": partial(_router, name="max_load_share", how=max),
    "expert_load_cv_mean": partial(_router, name="load_cv", how=fmean),
    "idle_experts_fraction": partial(_of_routers, name="idle_experts_fraction"),
    "dropped_assignments_fraction": partial(_of_routers, name="dropped_assignments_fraction"),
    "router_non_finite_steps": partial(_of_routers, name="non_finite_steps"),
    "nan_detected": partial(_flag, name="nan_detected"),
    "inf_detected": partial(_flag, name="inf_detected"),
    "attention_collapse_detected": partial(_flag, name="attention_collapse_detected"),
    "repetition_loop_detected": partial(_flag, name="repetition_loop_detected"),
    "mid_layer_anomaly_detected": partial(_flag, name="mid_layer_anomaly_detected"),
    "high_entropy": _high_entropy,
    "empty_output": partial(_raised, name="empty_output"),
    "garbled_output": partial(_raised, name="garbled_output"),
    "loop_detected": _loop,
    "loop_period_tokens": partial(_longest_loop, name="period"),
    "loop_length_tokens": partial(_longest_loop, name="length"),
    "non_finite_steps": partial(_ours, name="non_finite_steps"),
    "non_finite_layers": partial(_ours, name="non_finite_layers"),
    "prompt_unhealthy": _unhealthy,
}
"""How each prompt metric is measured, by its name in the catalogue."""
