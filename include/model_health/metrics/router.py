"""Reduces what routers of a mixture of experts say, on their device: entropies, and which experts were chosen.

Axes: B rows, Q positions, E experts, k choices per token, N steps. The entropy is that of softmax(logits) over all
experts, before any are picked. Routers that score experts one by one (sigmoid) never form this distribution: there it
tells how far apart the scores lie, log2(E) bits where the router prefers nothing. Decode steps leave references to
small tensors behind, which one operation per block reduces for all routers together.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

import torch

from model_health.capture.events import RouterCall, RouterPlace
from model_health.metrics.hidden import compact, masked_mean, on

UNREAD, DROPPED = -2, -1
"""Choices that are no expert: made of logits that are not finite; left without room by the expert's capacity."""


def router_entropy_bits(logits: torch.Tensor, *, probabilities: bool = False) -> torch.Tensor:
    """[..., E] -> [...] float32: entropy in bits over all experts; not finite exactly where the logits are sick.

    A logit of -inf is an expert that the model rules out; NaN, +inf, or nothing but -inf gives NaN.
    """
    p = logits.float() if probabilities else torch.softmax(logits.float(), dim=-1)
    bits: torch.Tensor = torch.special.entr(p).sum(-1) / math.log(2.0)
    return bits


@dataclass
class RouterTrack:
    """One router over a generation.

    A pass over the prompt: entropy [B] (mean over real tokens), counts [B, 2 + E] of its choices, shifted so that
    `UNREAD` comes first. Decode steps: entropy [N, B] and choices [N, B, k] by block.
    """

    experts: int = 0
    per_token: int = 0
    prompt_entropy: torch.Tensor | None = None
    prompt_counts: torch.Tensor | None = None
    steps: list[int] = field(default_factory=list)
    entropy: list[torch.Tensor] = field(default_factory=list)
    choices: list[torch.Tensor] = field(default_factory=list)
    chosen_steps: list[int] = field(default_factory=list)
    logits_waiting: list[torch.Tensor] = field(default_factory=list)
    choices_waiting: list[torch.Tensor] = field(default_factory=list)
    token_bits: torch.Tensor | None = None


@dataclass
class RouterRecords:
    """All routers of one generation. `refused` says why one cannot be read."""

    tracks: dict[RouterPlace, RouterTrack] = field(default_factory=dict)
    refused: dict[RouterPlace, str] = field(default_factory=dict)

    def refuse(self, place: RouterPlace, reason: str) -> None:
        """Forget what a router said."""
        self.refused[place] = reason
        self.tracks.pop(place, None)

    def add(self, step: int, call: RouterCall, real: torch.Tensor, *, reads_prompt: bool) -> None:
        """Reduce a pass over the prompt at once, whose real tokens are `real` [B, P]; keep a decode step's newest."""
        place = call.place
        if place in self.refused:
            return
        track = self.tracks.setdefault(place, RouterTrack())
        if reads_prompt:
            self._prompt(track, call, real)
            return
        home = real.device
        if call.logits is not None:
            if track.steps and track.steps[-1] == step:
                self.refuse(place, "it ran more than once in a pass")
                return
            track.steps.append(step)
            track.experts = call.logits.shape[-1]
            track.logits_waiting.append(on(home, compact(call.logits[:, -1])))
        if call.chosen is not None and (not track.chosen_steps or track.chosen_steps[-1] != step):
            track.chosen_steps.append(step)
            track.per_token = call.chosen.shape[-1]
            track.choices_waiting.append(on(home, compact(call.chosen[:, -1])))

    def _prompt(self, track: RouterTrack, call: RouterCall, real: torch.Tensor) -> None:
        if call.logits is not None:
            if track.token_bits is not None:
                self.refuse(call.place, "it ran more than once over the prompt")
                return
            if call.logits.shape[:2] != real.shape:
                tokens, positions = real.shape[1], call.logits.shape[1]
                self.refuse(call.place, f"it read {positions} positions for the {tokens} tokens of the prompt")
                return
            track.experts = call.logits.shape[-1]
            track.token_bits = on(real.device, router_entropy_bits(call.logits, probabilities=call.place.probabilities))
            track.prompt_entropy = masked_mean(track.token_bits, real)
        if call.chosen is not None and track.token_bits is not None and track.prompt_counts is None:
            track.per_token = call.chosen.shape[-1]
            read = torch.isfinite(track.token_bits)[..., None]
            slots = torch.where(read, on(real.device, call.chosen).long(), UNREAD) - UNREAD
            weights = real[..., None].expand_as(slots).to(torch.int32)
            counts = weights.new_zeros(real.shape[0], track.experts - UNREAD)
            track.prompt_counts = counts.scatter_add_(1, slots.flatten(1), weights.flatten(1))

    def flush(self) -> None:
        """Reduce the decode steps that wait, all routers of one shape together."""
        for group in self._alike("logits_waiting"):
            probabilities = group[0][0].probabilities
            bits = router_entropy_bits(_stacked(group, "logits_waiting"), probabilities=probabilities)
            for (_, track), part in zip(group, bits, strict=True):
                track.entropy.append(part)
                track.logits_waiting.clear()
        for group in self._alike("choices_waiting"):
            chosen = _stacked(group, "choices_waiting").to(torch.int16)
            for (_, track), part in zip(group, chosen, strict=True):
                track.choices.append(part)
                track.choices_waiting.clear()

    def _alike(self, name: str) -> list[list[tuple[RouterPlace, RouterTrack]]]:
        groups: dict[Hashable, list[tuple[RouterPlace, RouterTrack]]] = {}
        for place, track in self.tracks.items():
            waiting = getattr(track, name)
            if waiting:
                key = (len(waiting), waiting[0].shape, waiting[0].dtype, place.probabilities)
                groups.setdefault(key, []).append((place, track))
        return list(groups.values())


def _stacked(group: list[tuple[RouterPlace, RouterTrack]], name: str) -> torch.Tensor:
    """What waits in tracks of one shape: [tracks, N, B, ...]."""
    tensors = [tensor for _, track in group for tensor in getattr(track, name)]
    stacked: torch.Tensor = torch.stack(tensors).unflatten(0, (len(group), -1))
    return stacked
