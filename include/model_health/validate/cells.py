"""Turns one report's steps and layers into arrays: a row per step, and a row per layer and step. NaN is null.

T steps, L layers, F fields. Everything is float64, so that a thousand reports become one block per frame. Knows the
report's models, not what a value should be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import chain, pairwise
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from model_health.report.extension import NotMeasured
from model_health.report.steps import LayerSummary, TimelineStep
from model_health.report.trace import Trace
from model_health.validate.columns import (
    LOGITS,
    REASON,
    CellColumn,
    attention_columns,
    hidden_columns,
    step_columns,
)

Block = NDArray[np.float64]
Mask = NDArray[np.bool_]

STACKS = ("decoder", "cross", "encoder")
"""Whose layers a row describes: the decoder's, its cross-attention's or the encoder's. Their places are the codes."""
PREFIXES = {
    "decoder": ("timeline.layers", "attention_summary"),
    "cross": ("timeline.layers", "cross_attention"),
    "encoder": ("encoder_layers", "attention_summary"),
}
ANOMALIES = "anomalies"
MASS_TOKENS = 10
"""How many tokens the mass sums over; a report may list more."""
NOTHING = float("nan")


def _reason_names(cells: Sequence[CellColumn]) -> tuple[str, ...]:
    return tuple(cell.column + REASON for cell in cells if cell.needs_reason)


@cache
def step_names() -> tuple[str, ...]:
    """Columns of the `steps` frame, but for the report's own."""
    fixed = ("step", "step_index", "index_gap", "expected_index", "token_id", "generated_id", "layers_in_step")
    derived = ("two_to_entropy", "topk_rise", "topk_margin", "topk_sum", "topk_surprisal_bits", "mass_again")
    return (*fixed, *derived, *(cell.column for cell in step_columns()), *_reason_names(step_columns()))


@cache
def layer_names() -> tuple[str, ...]:
    """Columns of the `layers` frame, but for the report's own."""
    cells = (*hidden_columns(), *attention_columns())
    names = [cell.column for cell in cells]
    return (
        "stack",
        "step",
        "layer",
        "position",
        "ln_keys",
        *names,
        ANOMALIES,
        *_reason_names(cells),
        ANOMALIES + REASON,
    )


def step_block(trace: Trace) -> Block:
    """[T, columns of `step_names()`]."""
    timeline = trace.timeline
    if not timeline:
        return np.empty((0, len(step_names())))
    cells = step_columns()
    values = _table([step.logits_summary for step in timeline], cells)
    steps = np.arange(len(timeline))
    none = np.full(len(timeline), -1)
    reasons = _explained(values, cells, steps, none, (LOGITS,) * len(cells), trace.model_health.not_measured)
    index = np.array([step.step_index for step in timeline], dtype=float)
    gap = np.diff(index, prepend=NOTHING)
    converted = trace.model_health.converted_from is not None
    expected = np.full(len(timeline), NOTHING) if converted else steps + float(trace.summary.prompt_tokens)
    fixed = np.column_stack(
        [
            steps,
            index,
            gap,
            expected,
            [step.token.token_id for step in timeline],
            _generated_ids(trace),
            [len(step.layers) for step in timeline],
        ]
    )
    entropy = values[:, [cell.field for cell in cells].index("entropy")]
    with np.errstate(over="ignore"):
        derived = np.column_stack([np.exp2(entropy), np.array([_topk(step) for step in timeline])])
    return np.hstack([fixed, derived, values, reasons])


def layer_block(trace: Trace) -> Block:
    """[rows, columns of `layer_names()`]: the decoder's layers step by step, their cross-attention, the encoder's."""
    width, said = len(layer_names()), trace.model_health.not_measured
    encoder = trace.encoder_layers
    rows = [(step, place, layer) for step, item in enumerate(trace.timeline) for place, layer in enumerate(item.layers)]
    prompt = trace.summary.prompt_tokens
    blocks = [_layers("decoder", rows, said, prompt if encoder is None else 1)]
    if encoder is not None:
        crossed = [row for row in rows if row[2].cross_attention is not None]
        blocks.append(_layers("cross", crossed, said, prompt))
        own = [(-1, place, layer) for place, layer in enumerate(encoder)]
        blocks.append(_layers("encoder", own, said, prompt))
    return np.vstack([np.empty((0, width)), *blocks])


def _layers(
    stack: str, rows: list[tuple[int, int, LayerSummary]], said: Sequence[NotMeasured], first_keys: int
) -> Block:
    """Rows of one stack; a row of attention sees `first_keys` keys, and in the decoder one more per step."""
    if not rows:
        return np.empty((0, len(layer_names())))
    root, name = PREFIXES[stack]
    hidden, attention = hidden_columns(), attention_columns()
    layers = [layer for _, _, layer in rows]
    blank = stack == "cross"  # the hidden state is the decoder's, and is judged there
    hidden_values = np.full((len(rows), len(hidden)), NOTHING)
    if not blank:
        hidden_values = _table([layer.hidden_summary for layer in layers], hidden)
    attention_values = _table([getattr(layer, name) for layer in layers], attention)
    flagged = [
        NOTHING if layer.anomalies is None else float(layer.anomalies.has_nan or layer.anomalies.has_inf)
        for layer in layers
    ]
    values = np.column_stack([hidden_values, attention_values, flagged])
    steps = np.array([step for step, _, _ in rows])
    index = np.array([layer.layer_index for layer in layers])
    cells = (*hidden, *attention, CellColumn(ANOMALIES, ANOMALIES, True, None))
    prefixes = (
        *(f"{root}.hidden_summary" for _ in hidden),
        *(f"{root}.{name}" for _ in attention),
        root,
    )
    reasons = _explained(values, cells, steps, index, prefixes, said)
    if blank:
        own = [place for place, cell in enumerate(c for c in cells if c.needs_reason) if cell not in attention]
        reasons[:, own] = 1.0
    keys = first_keys + (steps if stack == "decoder" else np.zeros_like(steps))
    fixed = np.column_stack(
        [
            np.full(len(rows), float(STACKS.index(stack))),
            np.where(steps < 0, NOTHING, steps),
            index,
            [place for _, place, _ in rows],
            np.log(np.maximum(keys, 1)),
        ]
    )
    return np.hstack([fixed, values, reasons])


def _table(summaries: Sequence[object], cells: Sequence[CellColumn]) -> Block:
    """[rows, fields]. NumPy turns None into NaN."""
    take = attrgetter(*(cell.field for cell in cells))
    flat = list(chain.from_iterable(map(take, summaries)))
    return np.array(flat, dtype=np.float64).reshape(len(summaries), len(cells))


def _explained(
    values: Block,
    cells: Sequence[CellColumn],
    steps: NDArray[np.int_],
    layers: NDArray[np.int_],
    prefixes: Sequence[str],
    said: Sequence[NotMeasured],
) -> Block:
    """[rows, fields that need a reason]: 0 where a null has none. The rule of `report.nulls.Reasons`, for all."""
    needed = [place for place, cell in enumerate(cells) if cell.needs_reason]
    explained = ~np.isnan(values[:, needed])
    if explained.all():
        return explained.astype(np.float64)
    paths = tuple(f"{prefixes[place]}.{cells[place].field}" for place in needed)
    for entry in said:
        covered = _covered(entry.part, paths)
        if covered.any():
            rows = np.ones(len(values), dtype=bool)
            if entry.step is not None:
                rows &= steps == entry.step
            if entry.layer is not None:
                rows &= layers == entry.layer
            explained[np.ix_(rows, covered)] = True
    return explained.astype(np.float64)


@cache
def _covered(part: str, paths: tuple[str, ...]) -> Mask:
    """Which paths are the part, or lie below it."""
    return np.array([path == part or path.startswith(f"{part}.") for path in paths], dtype=bool)


def _generated_ids(trace: Trace) -> list[float]:
    """The id that `generated` gives for each step; NaN for a step of the prompt (older files list those too)."""
    ids = iter(trace.generated.token_ids)
    return [NOTHING if step.token.is_prompt_token else float(next(ids, NOTHING)) for step in trace.timeline]


def _topk(step: TimelineStep) -> tuple[float, ...]:
    """Of the likely tokens: largest rise, lead of the first, sum, surprisal of the first (bits); the mass once more."""
    probs = [token.prob for token in step.logits_summary.topk[:MASS_TOKENS]]
    again = step.logits_summary.topk_mass
    mass = NOTHING if again is None else again
    if not probs:
        return NOTHING, NOTHING, NOTHING, NOTHING, mass
    pairs = list(pairwise(probs))
    rise = max((after - before for before, after in pairs), default=NOTHING)
    lead = probs[0] - probs[1] if pairs else NOTHING
    return rise, lead, sum(probs), -math.log2(probs[0]) if probs[0] > 0 else NOTHING, mass
