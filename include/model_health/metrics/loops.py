"""Finds loops of any period in one generation, from its tokens and from its final hidden states.

Two witnesses. *Tokens*: a stretch in which every token equals the one p before it. *Hidden*: a stretch in which the
final state points where it did p steps before and most tokens agree, which also sees loops that change a word a round.
The thresholds are configuration (`LoopThresholds`). Pure NumPy on the host; T is a few hundred at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_health.config.thresholds import LoopThresholds
from model_health.metrics.findings import LoopFinding, Witness
from model_health.metrics.telemetry import Bool, Float, Int


def true_runs(marks: Bool) -> NDArray[np.int64]:
    """Maximal runs of True in [T] as rows of (start, end), end exclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marks, [False])).astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.int64)


def _add(found: list[LoopFinding], period: int, start: int, end: int, witness: Witness) -> None:
    """Keep a stretch unless a loop found before tells it: one that covers it, or a shorter period that divides its own.

    The second may fall short by one round: hidden states change a step after the tokens do.
    """
    for loop in found:
        overlap = min(end, loop.start_step + loop.length) - max(start, loop.start_step)
        missing = end - start - overlap
        if missing <= 0 or (period % loop.period == 0 and missing <= period):
            return
    found.append(LoopFinding(period=period, start_step=start, length=end - start, witness=witness))


def _token_loops(tokens: Int, limits: LoopThresholds, found: list[LoopFinding]) -> None:
    for period in range(1, min(limits.max_period, len(tokens) - 1) + 1):
        needed = max(limits.token_loop_periods * period, limits.token_loop_min_length)
        same = tokens[period:] == tokens[:-period]
        if np.count_nonzero(same) + period < needed:
            continue
        for start, end in true_runs(same):
            # a match at i says token i + period repeats token i: the stretch runs one period longer than its matches
            if end - start + period >= needed:
                _add(found, period, int(start), int(end + period), "tokens")


def _hidden_loops(tokens: Int, cosines: Float, limits: LoopThresholds, found: list[LoopFinding]) -> None:
    for period in range(1, min(limits.max_period, len(tokens) - 1, cosines.shape[1]) + 1):
        needed = max(period, limits.hidden_lag_min_steps)
        near = cosines[:, period - 1] > limits.hidden_lag_cosine  # NaN compares false
        if np.count_nonzero(near) < needed:
            continue
        same = np.concatenate((np.zeros(period, bool), tokens[period:] == tokens[:-period]))
        for start, end in true_runs(near):
            if end - start >= needed and same[start:end].mean() >= limits.hidden_min_token_share:
                _add(found, period, int(start) - period, int(end), "hidden")


def find_loops(tokens: Int, lag_cosines: Float | None, limits: LoopThresholds) -> tuple[LoopFinding, ...]:
    """All loops of a generation, in order of their start.

    Args:
        tokens: generated token ids [T].
        lag_cosines: [T, MAX_LAG] as in `PromptTelemetry.lag_cosine`, or None if not measured.
        limits: when a repeat is a loop.
    """
    found: list[LoopFinding] = []
    if len(tokens) > 1:
        _token_loops(tokens, limits, found)
        if lag_cosines is not None:
            _hidden_loops(tokens, lag_cosines, limits, found)
    return tuple(sorted(found, key=lambda loop: (loop.start_step, loop.period)))
