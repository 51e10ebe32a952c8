"""What the page of a prompt says in words and tables: state, flags, sightings, gaps. Pure: a view in, rows out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_health.config.layers import LAYER_LEFT_OUT, STEP_LEFT_OUT
from model_health.report.extension import NotMeasured
from token_text import looping, short
from views import PromptView, faulty_steps, first_bad, high_entropy

STOPPED = {"eos": "the model ended", "length": "the token limit", "other": "a stop string or criterion"}
BODIES = {
    "logits": "the logits",
    "hidden": "a hidden state",
    "attention": "attention",
    "prompt": "the prompt's analysis",
}

LOOP_FLAGS = {"repetition_loop_detected", "loop_detected", "token_loop_detected"}


@dataclass(frozen=True)
class Sighting:
    """Something that a person wants to look at: a sentence, and where it is."""

    says: str
    step: int | None = None
    layer: int | None = None
    grave: bool = True


def state_word(view: PromptView) -> str:
    """Mark and word of the prompt's health."""
    flags = view.ours.unhealthy_flags
    if flags is None:
        return "? not judged"
    return "✖ unhealthy" if flags else "✔ healthy"


def sightings(view: PromptView) -> list[Sighting]:
    """What stands out, the gravest first: non-finite values by first step and layer, then loops, then high entropy."""
    found = []
    for seen in view.ours.non_finite:
        kind = "NaN" if seen.kind == "nan" else "Inf"
        where = [f"step {seen.step}"] if seen.step is not None else []
        where += [f"layer {seen.layer}"] if seen.layer is not None else []
        at = f", first at {' and '.join(where)}" if where else ""
        found.append(Sighting(f"{kind} in {BODIES[seen.where]}{at}", seen.step, seen.layer))
    bad = first_bad(view)
    if bad and not found:
        found.append(Sighting(f"Not finite, first at step {bad[0]} and layer {bad[1]}", *bad))
    unhealthy = set(view.ours.unhealthy_flags or ())
    for loop in view.ours.loops or ():
        seen_in = "tokens" if loop.witness == "tokens" else "hidden states"
        extent = f"over {loop.length} tokens from step {loop.start_step}, seen in {seen_in}"
        grave = bool(unhealthy & LOOP_FLAGS)
        found.append(Sighting(f"Loop of period {loop.period} {extent}", loop.start_step, grave=grave))
    high = np.flatnonzero(high_entropy(view))
    if high.size:
        times = "once" if high.size == 1 else f"at {high.size} steps"
        grave = "high_entropy" in unhealthy
        found.append(Sighting(f"High entropy {times}, first at step {int(high[0])}", int(high[0]), grave=grave))
    return found


def flag_rows(view: PromptView) -> list[dict[str, Any]]:
    """One row per flag that was raised."""
    ours = view.ours
    failing = ours.failing or ()
    return [
        {
            "Flag": flag,
            "Means here": "tolerated by this prompt"
            if flag in ours.tolerated
            else "makes the run unhealthy"
            if flag in failing
            else "informs only"
            if ours.failing is not None
            else "not judged",
        }
        for flag in ours.flags
    ]


def step_rows(view: PromptView, *, hidden: bool = False) -> list[dict[str, Any]]:
    """One row per generated token; None where nothing was measured."""
    steps, high = view.steps, high_entropy(view)
    faulty = faulty_steps(view)
    loops = view.ours.loops or ()
    rows = []
    for step in range(len(steps)):
        notes = ["prefill"] if step == 0 else []
        notes += ["high entropy"] if high[step] else []
        notes += ["loop"] if looping(loops, step) else []
        notes += [f"not finite from layer {int(np.flatnonzero(view.bad[:, step])[0])}"] if faulty[step] else []
        rows.append(
            {
                "Step": step,
                **({} if hidden else {"Token": short(steps.texts[step])[1:-1]}),
                "Surprisal (bits)": number(steps.surprisal[step]),
                "Entropy (bits)": number(steps.entropy[step]),
                "Top-2 margin": number(steps.margin[step]),
                "Top-k mass": number(steps.mass[step]),
                "Notes": ", ".join(notes) or None,
            }
        )
    return rows


def candidate_shares(view: PromptView, step: int, *, hidden: bool = False) -> list[tuple[str, float]]:
    """The most likely tokens of a step with names that differ, as a chart needs them."""
    shares = []
    for rank, (text, prob) in enumerate(view.steps.candidates[step], start=1):
        shares.append((f"{rank}." if hidden else f"{rank}. {short(text)}", prob))
    return shares


def gap_rows(view: PromptView) -> list[dict[str, Any]]:
    """What was not measured, one row per part and reason; places are counted, the first are named."""
    grouped: dict[tuple[str, str], list[NotMeasured]] = {}
    for entry in view.ours.not_measured:
        grouped.setdefault((entry.part, entry.reason), []).append(entry)
    return [
        {
            "Not measured": part_name(part),
            "Reason": reason,
            "Layers": _places(entry.layer for entry in entries),
            "Steps": _places(entry.step for entry in entries),
        }
        for (part, reason), entries in sorted(
            grouped.items(), key=lambda item: (item[0][1] in (LAYER_LEFT_OUT, STEP_LEFT_OUT), item[0])
        )
    ]


def part_name(part: str) -> str:
    """A field path in words: `timeline.layers.attention_summary` is "layers: attention summary"."""
    words = part.removeprefix("timeline.").removeprefix("model_health.").split(".")
    return ": ".join(word.replace("_", " ") for word in words)


def origin(view: PromptView) -> str | None:
    """A sentence about a report that another program wrote; None for one of ours."""
    old = view.ours.converted_from
    if old is None:
        return None
    shifted = (
        " Its layers began with the embedding: they were moved to where they belong, and the last block's output is "
        "missing."
    )
    return (
        f"Read from a trace of version {old.schema_version}, which knew neither run nor suite."
        f"{shifted if old.layout == 'embedding_first' else ''}"
    )


def router_rows(view: PromptView) -> list[dict[str, Any]]:
    """One row per router of a mixture of experts; empty for a dense model."""
    router = view.ours.router
    if router is None:
        return []
    return [
        {
            "Layer": one.layer_index,
            "Router": one.module,
            "Experts": one.experts,
            "Entropy (bits)": one.entropy_bits_mean,
            "Busiest expert (%)": None if one.max_load_share is None else 100 * one.max_load_share,
            "Idle experts": one.idle_experts,
            "Dropped": one.dropped_assignments,
            "Steps not finite": one.non_finite_steps,
        }
        for one in (*router.layers, *router.encoder_layers)
    ]


def number(value: float) -> float | None:
    """The value, or None where there is none."""
    return float(value) if np.isfinite(value) else None


def _places(numbers: Iterable[int | None]) -> str:
    known = list(numbers)
    if None in known:
        return "all"
    places = sorted({place for place in known if place is not None})
    named = ", ".join(str(place) for place in places[:8])
    return named if len(places) <= 8 else f"{named} and {len(places) - 8} more"
