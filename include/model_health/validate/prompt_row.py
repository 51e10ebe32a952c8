"""Turns one report into its row of the `reports` frame: counts, what the manifest says of it, metrics, flags.

A value that does not apply is None, and no rule looks at it. Knows the report's and the manifest's models, not what a
value should be.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

from model_health.config.flags import ALL_FLAGS, Flag
from model_health.config.thresholds import Thresholds
from model_health.report.manifest import Manifest, PromptEntry
from model_health.report.nulls import Reasons, gaps_in
from model_health.report.samples import measurements_of_report
from model_health.report.trace import Trace
from model_health.validate.columns import LARGEST, RESTATED, RESTATED_FLAGS, SMALLEST, list_columns
from model_health.validate.reading import Found

Row = dict[str, Any]

TOO_LARGE = "its numbers are too large to be averaged"


def prompt_row(found: Found, manifest: Manifest | None, thresholds: Thresholds) -> Row:
    """The row of one report."""
    row: Row = {
        "name": found.name,
        "exists": found.exists,
        "listed": found.listed,
        "in_place": found.in_place,
        "problem": found.problem,
        "schema_version": found.schema_version,
        "digest": found.digest,
        **_manifest_says(found, manifest),
    }
    if found.trace is not None:
        try:
            row |= {name: value for name, (value, _) in measurements_of_report(found.trace).items()}
        except OverflowError:
            row["problem"] = TOO_LARGE
            return row
        row |= _facts(found.trace) | _counts(found.trace) | _lists(found.trace) | _flags(found.trace, thresholds)
        row |= _restated(row, found.entry)
    return row


def _manifest_says(found: Found, manifest: Manifest | None) -> Row:
    entry = found.entry
    if manifest is None or entry is None:
        return {}
    suite = manifest.suite
    return {
        "manifest_digest": entry.digest if found.exists else None,
        "manifest_run_id": manifest.run_id,
        "manifest_model_name": manifest.model_name,
        "manifest_suite": f"{suite.name} {suite.version} {suite.digest}",
        "manifest_prompt_id": entry.prompt_id,
        "manifest_group": entry.group,
        **{f"manifest_{name}": ",".join(sorted(getattr(entry, name))) for name in RESTATED_FLAGS},
    }


def _restated(row: Row, entry: PromptEntry | None) -> Row:
    """Numbers that both state, side by side: a null of one of them is a difference, a missing manifest is none."""
    if entry is None:
        return {}
    stated = entry.model_dump() | {"loop_period_tokens": entry.loop_period}
    return {
        **{f"restated_{name}": row[name] for name in RESTATED},
        **{f"manifest_{name}": stated[name] for name in RESTATED},
    }


def _facts(trace: Trace) -> Row:
    ours, suite = trace.model_health, trace.model_health.suite
    vocab, keys = ours.vocab_size, _most_keys(trace)
    routers = (*ours.router.layers, *ours.router.encoder_layers) if ours.router else ()
    experts = max((router.experts for router in routers), default=None)
    return {
        "trace_id": trace.trace_id,
        "run_id": ours.run_id or "",
        "model_name": ours.model_name or "",
        "suite": f"{suite.name} {suite.version} {suite.digest}" if suite else "",
        "prompt_id": ours.prompt_id or "",
        "group": ours.group or "",
        "layers": trace.model.num_layers,
        "heads": trace.model.num_attention_heads or None,
        "vocab": vocab,
        "log2_vocab": math.log2(vocab) if vocab else None,
        "log2_keys": math.log2(keys),
        "ln_keys": math.log(keys),
        "experts": experts,
        "log2_experts": math.log2(experts) if experts else None,
    }


def _most_keys(trace: Trace) -> int:
    """Keys that the last row of self-attention may see."""
    first = trace.summary.prompt_tokens if trace.encoder_layers is None else 1
    return max(first + len(trace.timeline) - 1, 1)


def _counts(trace: Trace) -> Row:
    ours, analysis = trace.model_health, trace.prompt_analysis
    limit = ours.thresholds
    generated = [step for step in trace.timeline if not step.token.is_prompt_token]
    entropies = [step.logits_summary.entropy for step in generated]
    ids = (*trace.prompt.token_ids, *trace.generated.token_ids)
    reasons = Reasons(ours.not_measured)
    rest = {name: value for name, value in trace.__dict__.items() if name not in ("timeline", "encoder_layers")}
    silent = next((gap for gap in gaps_in(Trace, rest) if reasons.find(gap) is None), None)
    return {
        "prompt_num_tokens": trace.prompt.num_tokens,
        "prompt_token_ids": len(trace.prompt.token_ids),
        "generated_num_tokens": trace.generated.num_tokens,
        "generated_token_ids": len(trace.generated.token_ids),
        "generated_steps": len(generated),
        "total_steps": trace.summary.total_steps,
        "prompt_and_generated": trace.summary.prompt_tokens + trace.summary.generated_tokens,
        "max_new_tokens": trace.run_config.max_new_tokens,
        "timeline_steps": len(trace.timeline),
        "norms": len(ours.final_hidden_l2_norm) or None,
        "attention_layers": len(ours.attention_entropy_bits) or None,
        "transformations": len(analysis.layer_transformations) or None if analysis else None,
        "layers_less_one": len(trace.encoder_layers or ()) - 1 if trace.encoder_layers else trace.model.num_layers - 1,
        "surprisals": len(analysis.prompt_surprisals) or None if analysis else None,
        "prompt_less_one": trace.summary.prompt_tokens - 1,
        "largest_token_id": max(ids, default=None),
        "vocab_less_one": None if ours.vocab_size is None else ours.vocab_size - 1,
        "loop_end": max((loop.start_step + loop.length for loop in ours.loops or ()), default=None),
        "high_entropy_counted": None
        if limit is None or ours.converted_from is not None
        else sum(value > limit.high_entropy_bits for value in entropies if value is not None),
        "unexplained_null": None if silent is None else f"{silent.part} step={silent.step} layer={silent.layer}",
    }


def _lists(trace: Trace) -> Row:
    row: Row = {}
    for column in list_columns():
        values = _values(trace, column.path)
        row[column.metric.name + SMALLEST] = min(values, default=None)
        row[column.metric.name + LARGEST] = max(values, default=None)
    return row


def _values(trace: Trace, path: tuple[str, ...]) -> list[float]:
    """Every number at the end of a path of fields, through lists (and lists of lists); a list holds one kind."""
    level: list[Any] = [trace]
    for name in path:
        level = [found for one in level if (found := getattr(one, name)) is not None]
        while level and isinstance(level[0], tuple):
            level = [one for one in chain.from_iterable(level) if one is not None]
    return level


def _flags(trace: Trace, thresholds: Thresholds) -> Row:
    ours, flags = trace.model_health, trace.health_flags
    raised, known = set(ours.flags), {flag.value for flag in ALL_FLAGS}
    stated = {name: value for name, value in flags or () if isinstance(value, bool)}
    disagree = sorted(name for name, value in stated.items() if value != (name in raised))
    looped = None if ours.loops is None else bool(ours.loops)
    if looped is not None and looped != (Flag.LOOP_DETECTED in raised):
        disagree.append(Flag.LOOP_DETECTED)
    entropies = [step.logits_summary.entropy for step in trace.timeline if not step.token.is_prompt_token]
    finite = [value for value in entropies if value is not None]
    high = sum(value > thresholds.high_entropy_bits for value in finite)
    excused = Flag.HIGH_ENTROPY in ours.tolerated or Flag.HIGH_ENTROPY not in thresholds.failing_flags
    return {
        "flags": ",".join(sorted(raised)),
        "tolerated": ",".join(sorted(ours.tolerated)),
        "unhealthy_flags": None if ours.unhealthy_flags is None else ",".join(sorted(ours.unhealthy_flags)),
        "unknown_flags": ",".join(sorted((raised | set(ours.tolerated) | set(ours.failing or ())) - known)) or None,
        "disagreeing_flags": ",".join(disagree) or None,
        "high_entropy_fraction": high / len(finite) if finite and not excused else None,
        "high_entropy_allowed": thresholds.high_entropy_max_fraction,
        **{f"alarming_{flag}": float(_alarming(flag, trace, thresholds)) for flag in ALL_FLAGS},
    }


def _alarming(flag: Flag, trace: Trace, thresholds: Thresholds) -> bool:
    """Raised, not tolerated by the prompt, and one that makes this model unhealthy as it is configured now."""
    ours = trace.model_health
    return flag in ours.flags and flag not in ours.tolerated and flag in thresholds.failing_flags
