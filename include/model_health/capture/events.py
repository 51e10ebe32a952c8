"""What the probes say while a model generates: the events, and the observer that receives them.

Capture sees tensors and hands them over at once; it keeps none and computes no statistic. The observer (metrics, or a
replay) reduces them on their device. Shapes: B rows of the batch, Q query positions, S key positions, Hq query heads,
Hk key/value heads, D head width, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import torch

from model_health.capture.head import ApplyHead
from model_health.capture.layout import ModelLayout
from model_health.config.layers import ALL_LAYERS, LayerChoice


class StackName(StrEnum):
    """Which stack of layers an event comes from. A causal model has a decoder only."""

    DECODER = "decoder"
    ENCODER = "encoder"
    __hash__ = str.__hash__  # Enum's own is Python code, and these are keys in every probe


class AttentionKind(StrEnum):
    """Attention over the stack's own tokens, or of a decoder over the encoder's output."""

    SELF = "self"
    CROSS = "cross"
    __hash__ = str.__hash__


@dataclass(frozen=True)
class AttentionSlot:
    """The place of one attention module: stack, layer and kind, and which of several in the layer it is."""

    stack: StackName
    layer: int
    kind: AttentionKind
    part: int = 0


@dataclass(slots=True)
class AttentionCall:
    """One call of the production attention backend, with what it returned. Read only; `frozen` would triple its price.

    query [B, Hq, Q, D]; key [B, Hk, S, D] and value [B, Hk, S, Dv] after the cache was updated; mask as the backend got
    it (None, bool or additive [B|1, 1|Hq, Q, S], or a 2-D [B, S] padding mask); position_bias additive [1|B, Hq, Q, S];
    output [B, Q, Hq, Dv]; weights [B, Hq, Q, S] where the backend computes them anyway (eager), else None. A module
    that writes its attention out gives weights only: D is 0, and the mask tells what the newest query may see.
    `append_only` says that the first keys of a later call are the keys of this one (a cache that only appends).
    """

    slot: AttentionSlot
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    scaling: float
    is_causal: bool
    position_bias: torch.Tensor | None
    softcap: float | None
    sinks: torch.Tensor | None
    sliding_window: int | None
    append_only: bool
    output: torch.Tensor
    weights: torch.Tensor | None


@dataclass(frozen=True, eq=False)  # one object per router, which is a key in every probe
class RouterPlace:
    """One router of a mixture of experts: its stack, layer and path within the layer.

    `probabilities` says that it gives probabilities where others give logits. `no_choice` says why its choices cannot
    be read, `no_drops` why no dropped choices can be counted; None where they can.
    """

    stack: StackName
    layer: int
    path: str
    probabilities: bool = False
    no_choice: str | None = None
    no_drops: str | None = None


@dataclass(frozen=True)
class RouterGap:
    """Why a layer of experts, or the whole model, has no router that can be read."""

    reason: str
    stack: StackName | None = None
    layer: int | None = None


@dataclass(slots=True)
class RouterCall:
    """What one router said: logits [B, Q, E] over all experts, or its choices [B, Q, k], or both.

    A choice is the number of an expert; -1 is one that no expert had room for.
    """

    place: RouterPlace
    logits: torch.Tensor | None
    chosen: torch.Tensor | None


@dataclass(frozen=True)
class GenerationStart:
    """The call of `generate` that is about to run.

    prompt_ids [B, P] and prompt_mask [B, P] bool (True where a token is real), on the model's device.
    """

    layout: ModelLayout
    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    eos_token_ids: tuple[int, ...]
    max_new_tokens: int
    is_encoder_decoder: bool
    routers: tuple[RouterPlace, ...] = ()
    """Routers that will be watched, in the order of their layers; `router_gaps` says where there are none."""
    router_gaps: tuple[RouterGap, ...] = ()
    chosen: Mapping[StackName, tuple[int, ...]] = field(default_factory=dict)
    """The layers of each stack that are looked at, ascending; a stack that is not named has all of them."""

    def layer_count(self, stack: StackName) -> int:
        """How many layers a stack has; 0 where the model has no such stack."""
        layout = self.layout.decoder if stack is StackName.DECODER else self.layout.encoder
        return 0 if layout is None else len(layout.layers)

    def chosen_of(self, stack: StackName) -> tuple[int, ...]:
        """The layers of a stack that are looked at."""
        return self.chosen.get(stack, tuple(range(self.layer_count(stack))))

    def chooses_all(self, stack: StackName) -> bool:
        """Whether no layer of a stack is left out."""
        return len(self.chosen_of(stack)) == self.layer_count(stack)


@dataclass(frozen=True)
class Wants:
    """Which events an observer needs; probes for the rest are never attached.

    `layers` and `every` hold for hidden states, attention and routers: of the layers that are chosen, at the prefill
    (or an encoder's pass) and at each decode step whose number `every` divides.
    """

    hidden: bool = True
    attention: bool = True
    prompt_logits: bool = True
    router: bool = False
    layers: LayerChoice = ALL_LAYERS
    every: int = 1


class Observer(Protocol):
    """Receives the events of one `generate` call, in the order in which the model computes.

    Step 0 is the prefill; step t > 0 the decode step that reads generated token t - 1. Tensors are valid during the
    call only: an observer that keeps one must know that it pins memory.
    """

    wants: Wants

    def generation_started(self, start: GenerationStart) -> None:
        """`generate` was called and its arguments are supported."""

    def forward_started(self, step: int, input_ids: torch.Tensor) -> None:
        """The top-level forward of `step` begins; input_ids [B, Q] of the decoder."""

    def hidden_state(self, stack: StackName, layer: int, state: torch.Tensor) -> None:
        """Output of block `layer`, [B, Q, H], before any final norm."""

    def attention_refused(self, slot: AttentionSlot, reason: str) -> None:
        """An attention module has run, and what it did cannot be told by tokens."""

    def hidden_refused(self, stack: StackName, reason: str) -> None:
        """Block outputs of this stack cannot be read; no `hidden_state` of it is meant."""

    def final_state(self, stack: StackName, state: torch.Tensor) -> None:
        """Output of the whole stack, [B, Q, H], after its final norm."""

    def attention(self, call: AttentionCall) -> None:
        """One attention module has run."""

    def router(self, call: RouterCall) -> None:
        """A router has chosen experts."""

    def router_refused(self, place: RouterPlace, reason: str) -> None:
        """A router has run, and what it said cannot be told by tokens; no `router` of it is meant."""

    def prompt_head(self, apply: ApplyHead) -> None:
        """The prefill of a causal model is over, and its logits can be made at any position until this returns."""

    def logits(self, step: int, logits: torch.Tensor) -> None:
        """Raw logits of the newest position, [B, V], before any processor or temperature."""

    def forward_ended(self, step: int) -> None:
        """The top-level forward of `step` is over."""

    def generation_ended(self, sequences: torch.Tensor, result: Any) -> None:
        """`generate` returned; sequences [B, P + T] (or [B, 1 + T] for an encoder-decoder model)."""
