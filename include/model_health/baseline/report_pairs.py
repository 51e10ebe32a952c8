"""Two runs of the same prompts held against each other by their reports, where neither needs to be a baseline.

Owns the pairing and its three tables. Two generations can be compared up to the first token that differs, that step
included: its forward pass still saw the same tokens. What comes after has no partner. A report keeps a norm per layer
and step, not the state, so a change of direction alone does not show here; replay against a baseline sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from model_health.baseline.permutation import MeanEffect, mean_effect
from model_health.baseline.tolerance import FACTOR, Tolerance
from model_health.report.trace import Trace

BEFORE = 60
"""Characters of the answer that are shown before the first token that differs."""


@dataclass(frozen=True)
class Divergence:
    """The first generated token that differs; a text is None where that answer had ended. `before`: what both wrote."""

    step: int
    before: str
    old_text: str | None
    new_text: str | None


@dataclass(frozen=True)
class PairedPrompt:
    """One prompt of both runs.

    Args:
        prompt_id: whose.
        steps: forward passes that saw the same tokens in both.
        divergence: None where both answers are the same, token for token.
        surprisal_bits: mean of new minus old over the tokens that both chose, bits per token; None where none is known.
        low, high: its t interval over these tokens; None with fewer than two.
        appeared, vanished: flags.
        why_not: why nothing could be paired; None where it was.
    """

    prompt_id: str
    steps: int = 0
    divergence: Divergence | None = None
    surprisal_bits: float | None = None
    low: float | None = None
    high: float | None = None
    appeared: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    why_not: str | None = None


@dataclass(frozen=True)
class LayerDistance:
    """One layer over all paired steps: |natural logarithm of the ratio of the norms|. None: no pair was measured.

    `prompt_id` and `step` say where the largest is; `lost` counts steps at which only one of the runs has a norm.
    """

    layer: int
    mean: float | None
    largest: float | None
    prompt_id: str | None = None
    step: int | None = None
    lost: int = 0


@dataclass(frozen=True)
class RunPair:
    """Two runs. `effect` is over prompts, one value each; None where no prompt has one."""

    prompts: tuple[PairedPrompt, ...]
    layers: tuple[LayerDistance, ...]
    effect: MeanEffect | None

    @property
    def diverged(self) -> int:
        """How many prompts were answered with other tokens."""
        return sum(one.divergence is not None for one in self.prompts)


def pair_runs(
    prompt_ids: Sequence[str],
    read: Callable[[str], tuple[Trace | None, Trace | None]],
    *,
    confidence: float = 0.95,
) -> RunPair:
    """Pair the reports of two runs, prompt by prompt, with two reports in memory at a time.

    Args:
        prompt_ids: those of either run, in order.
        read: gives the old and the new report of a prompt; None where that run has none.
        confidence: of the intervals.
    """
    prompts: list[PairedPrompt] = []
    rows: dict[int, list[tuple[str, int, float | None, bool]]] = {}
    for prompt_id in prompt_ids:
        old, new = read(prompt_id)
        why = _unpaired(old, new)
        if old is None or new is None or why is not None:
            prompts.append(PairedPrompt(prompt_id, why_not=why))
            continue
        paired = _pair(prompt_id, old, new, confidence)
        prompts.append(paired)
        for layer, step, distance, alone in _norms(old, new, paired.steps):
            rows.setdefault(layer, []).append((prompt_id, step, distance, alone))
    effects = [one.surprisal_bits for one in prompts if one.surprisal_bits is not None]
    return RunPair(
        prompts=tuple(prompts),
        layers=tuple(_layer(layer, found) for layer, found in sorted(rows.items())),
        effect=mean_effect(effects, confidence=confidence, level=0.05, power=0.8) if effects else None,
    )


def norm_limit(tolerance: Tolerance | None) -> float | None:
    """Up to where a norm's distance is harmless: ten times the largest that any healthy pair of a baseline had.

    Whatever differed between them: a report does not hold the key that would choose. None where none was recorded.
    """
    floors = () if tolerance is None else tolerance.floors
    largest = max((floor.families["norm"] for floor in floors), default=0.0)
    return FACTOR * largest if largest > 0.0 else None


def _unpaired(old: Trace | None, new: Trace | None) -> str | None:
    if old is None or new is None:
        return "no report in the " + ("first" if old is None else "second") + " run"
    if old.prompt.token_ids != new.prompt.token_ids:
        return "the prompt has other tokens"
    if not old.timeline or not new.timeline:
        return "a report holds no steps"
    return None


def _pair(prompt_id: str, old: Trace, new: Trace, confidence: float) -> PairedPrompt:
    ours, theirs = old.generated.token_ids, new.generated.token_ids
    both = zip(ours, theirs, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
    diverged = same < max(len(ours), len(theirs))
    steps = min(same + diverged, len(old.timeline), len(new.timeline))
    changes = [
        new_step.logits_summary.surprisal - old_step.logits_summary.surprisal
        for old_step, new_step in zip(old.timeline[: min(same, steps)], new.timeline[: min(same, steps)], strict=True)
        if old_step.logits_summary.surprisal is not None and new_step.logits_summary.surprisal is not None
    ]
    effect = mean_effect(changes, confidence=confidence, level=0.05, power=0.8) if changes else None
    certain = effect is not None and effect.clusters > 1
    before, after = set(old.model_health.flags), set(new.model_health.flags)
    return PairedPrompt(
        prompt_id=prompt_id,
        steps=steps,
        divergence=_divergence(old, new, same) if diverged else None,
        surprisal_bits=None if effect is None else effect.mean,
        low=effect.low if effect is not None and certain else None,
        high=effect.high if effect is not None and certain else None,
        appeared=tuple(sorted(after - before)),
        vanished=tuple(sorted(before - after)),
    )


def _divergence(old: Trace, new: Trace, step: int) -> Divergence:
    texts = [trace.timeline[step].token.token_text if step < len(trace.timeline) else None for trace in (old, new)]
    before = "".join(one.token.token_text for one in old.timeline[:step])
    return Divergence(step, before[-BEFORE:], texts[0], texts[1])


def _norms(old: Trace, new: Trace, steps: int) -> list[tuple[int, int, float | None, bool]]:
    """Layer, step, distance (None where it is not known), and whether just one of the runs has a norm there."""
    found = []
    for step, (one, other) in enumerate(zip(old.timeline[:steps], new.timeline[:steps], strict=True)):
        theirs = {layer.layer_index: layer.hidden_summary.l2_norm_mean for layer in other.layers}
        for layer in one.layers:
            ours, their = layer.hidden_summary.l2_norm_mean, theirs.get(layer.layer_index)
            # A norm of zero lies infinitely far from any other: no distance, but not the same either.
            distance = abs(math.log(their / ours)) if ours and their else 0.0 if ours == their == 0.0 else None
            found.append((layer.layer_index, step, distance, distance is None and ours != their))
    return found


def _layer(layer: int, found: Sequence[tuple[str, int, float | None, bool]]) -> LayerDistance:
    known = [(distance, prompt, step) for prompt, step, distance, _ in found if distance is not None]
    lost = sum(alone for *_, alone in found)
    if not known:
        return LayerDistance(layer, None, None, lost=lost)
    largest, prompt_id, step = max(known, key=lambda row: row[0])
    mean = math.fsum(row[0] for row in known) / len(known)
    return LayerDistance(layer, mean, largest, prompt_id, step, lost)
