"""Turns what attention modules do into `AttentionCall` events: dispatched, fused or written out.

Each attention module of a layer is one part of that layer's slot, numbered as it first runs. Knows where a call came
from and in which pass; what is made of it is the observer's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec

import torch
from torch import nn

from model_health.capture.caches import is_preallocated, only_appends
from model_health.capture.dispatch import Listener, subscribe
from model_health.capture.events import AttentionCall, AttentionKind, AttentionSlot, Observer, StackName
from model_health.capture.layout import StackLayout, is_cross_attention
from model_health.capture.own_attention import own_attention_modules, watch

P = ParamSpec("P")
Guard = Callable[[Callable[..., None]], Callable[..., None]]

_FAR_BELOW = 1e3
"""A score that many nats below the row's largest is a mask, whatever number the model writes into it."""


@dataclass
class Pass:
    """The top-level forward pass that runs now: its step, its cache, and [batch, queries] of each stack."""

    step: int = -1
    idle: bool = False
    """Whether this pass is a decode step at which layers are not looked at."""
    cache: Any = None
    shapes: dict[StackName, tuple[int, int]] = field(default_factory=dict)
    prompt_tokens: int = 0


class AttentionProbes:
    """Subscribes to every attention module of a stack, and reports their calls to the observer."""

    def __init__(self, observer: Observer, current: Pass, guard: Guard) -> None:
        self._observer, self._pass, self._guard = observer, current, guard
        self._parts: dict[AttentionSlot, list[nn.Module]] = {}
        self._refused: set[nn.Module] = set()

    def attach(
        self,
        name: StackName,
        stack: StackLayout,
        chosen: tuple[int, ...],
        keep: Callable[[Callable[[], None]], None],
    ) -> None:
        """Subscribe to the chosen ones of a stack's layers; `keep` takes what undoes it."""
        listeners: dict[nn.Module, Listener] = {}
        for index in chosen:
            layer = stack.layers[index]
            for path, part in layer.named_modules():
                listeners[part] = self._guard(self._dispatched(self._slot(name, index, path, part)))
            for path, part in own_attention_modules(layer):
                slot = self._slot(name, index, path, part)
                probes = self._guard(self._written_out(slot)), self._guard(self._dispatched(slot))
                keep(watch(part, *probes, idle=lambda: self._pass.idle))
        keep(subscribe(listeners))

    @staticmethod
    def _slot(name: StackName, layer: int, path: str, module: nn.Module) -> AttentionSlot:
        crosses = name is StackName.DECODER and is_cross_attention(path, module)
        return AttentionSlot(name, layer, AttentionKind.CROSS if crosses else AttentionKind.SELF)

    def _numbered(self, slot: AttentionSlot, module: nn.Module) -> AttentionSlot:
        parts = self._parts.setdefault(slot, [])
        number = next((index for index, part in enumerate(parts) if part is module), len(parts))
        if number == len(parts):
            parts.append(module)
        return slot if number == 0 else AttentionSlot(slot.stack, slot.layer, slot.kind, number)

    def _foreign(self, slot: AttentionSlot, module: nn.Module, query: torch.Tensor, key: torch.Tensor) -> bool:
        """Whether a module's prefill shows that its positions or keys are something else than the stack's tokens."""
        fresh = not any(part is module for part in self._parts.get(slot, ()))
        if self._pass.step == 0 and slot.kind is AttentionKind.SELF and fresh:
            batch, tokens = self._pass.shapes[slot.stack]
            positions, keys = query.shape[2], key.shape[2]
            reason = None
            if (query.shape[0], positions) != (batch, tokens):
                reason = f"it read {positions} positions for {tokens} tokens"
            elif keys != positions and not is_preallocated(self._pass.cache, getattr(module, "layer_idx", None)):
                reason = f"it attends to {keys} keys for {positions} tokens of its own"
            if reason is not None:
                self._refused.add(module)
                self._observer.attention_refused(slot, reason)
        return module in self._refused

    def _appends(self, slot: AttentionSlot, module: nn.Module) -> bool:
        if slot.kind is AttentionKind.CROSS:  # the encoder's output stays as it is
            return True
        return only_appends(self._pass.cache, getattr(module, "layer_idx", None))

    def _dispatched(self, slot: AttentionSlot) -> Listener:
        current, refused = self._pass, self._refused
        observer = self._observer.attention
        numbered: AttentionSlot | None = None
        appends = settled = False
        last_step, last_query = -1, 0

        def probe(
            module: nn.Module,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            mask: torch.Tensor | None,
            kwargs: dict[str, Any],
            output: torch.Tensor,
            weights: torch.Tensor | None,
        ) -> None:
            nonlocal numbered, appends, settled, last_step, last_query
            step = current.step
            # the same queries again in one pass (differential attention: other values) have the same weights
            if last_step == step and last_query == id(query):
                return
            last_step, last_query = step, id(query)
            if numbered is None or step == 0:
                if self._foreign(slot, module, query, key):
                    return
                numbered = self._numbered(slot, module)
            if module in refused:
                return
            if not settled or not appends:  # a cache's layers are what they are once they were filled
                appends, settled = self._appends(slot, module), step > 0
            scaling = kwargs.get("scaling")
            causal = kwargs.get("is_causal")
            window = kwargs.get("sliding_window") or getattr(module, "sliding_window", None)
            observer(
                AttentionCall(
                    slot=numbered,
                    query=query,
                    key=key,
                    value=value,
                    mask=mask,
                    scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
                    is_causal=bool(getattr(module, "is_causal", True) if causal is None else causal),
                    position_bias=kwargs.get("position_bias"),
                    softcap=kwargs.get("softcap"),
                    sinks=kwargs.get("s_aux"),
                    sliding_window=window if isinstance(window, int) else None,
                    append_only=appends,
                    output=output,
                    weights=weights,
                )
            )

        return probe

    def _written_out(self, slot: AttentionSlot) -> Callable[[nn.Module, torch.Tensor, torch.Tensor], None]:
        def probe(module: nn.Module, scores: torch.Tensor, weights: torch.Tensor) -> None:
            batch, queries = self._pass.shapes[slot.stack]
            if weights.dim() == 3 and batch and weights.shape[0] % batch == 0:  # rows and heads in one axis
                weights = weights.reshape(batch, -1, *weights.shape[1:])
                scores = scores.reshape(weights.shape)
            if weights.dim() != 4 or weights.shape[0] != batch or weights.shape[2] != queries:
                return
            heads, keys = weights.shape[1], weights.shape[3]
            # queries, keys and values are the module's own affair: only their shapes are known
            query, key = weights.new_empty(batch, heads, queries, 0), weights.new_empty(batch, heads, keys, 0)
            if self._foreign(slot, module, query, key):
                return
            newest = scores[:, :, -1:].float()
            lowest = torch.finfo(scores.dtype).min
            seen = (newest > newest.amax(-1, keepdim=True) - _FAR_BELOW) & (newest > 0.5 * lowest)
            self._observer.attention(
                AttentionCall(
                    slot=self._numbered(slot, module),
                    query=query,
                    key=key,
                    value=key,
                    mask=seen.any(1, keepdim=True).expand(batch, 1, queries, keys),
                    scaling=1.0,
                    is_causal=False,
                    position_bias=None,
                    softcap=None,
                    sinks=None,
                    sliding_window=None,
                    append_only=False,
                    output=weights.new_empty(batch, queries, heads, 0),
                    weights=weights,
                )
            )

        return probe
