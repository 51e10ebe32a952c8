"""Watches the states of a model during a forward pass: the input of the first block, each block, the final state.

Owns attaching, detaching and the check that each state was seen exactly once. What becomes of a state is somebody
else's; no state is kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from model_health.capture.layout import ModelLayout, StackLayout
from model_health.capture.states import block_state
from model_health.errors import CaptureError

Stack = Literal["encoder", "decoder"]
TakeState = Callable[[Stack, int, torch.Tensor], None]


def state_names(layout: ModelLayout) -> tuple[str, ...]:
    """The names of all states, in the order of computation (see `baseline.observations`)."""
    names = _names("encoder.", layout.encoder) if layout.encoder is not None else []
    return tuple(names + _names("", layout.decoder))


def _names(prefix: str, stack: StackLayout) -> list[str]:
    layers = [f"layer.{index}" for index in range(len(stack.layers))]
    return [f"{prefix}{name}" for name in ("embedding", *layers, "final")]


@dataclass
class Watch:
    """One forward pass under way: how many rows and tokens each stack was given, and which states came."""

    sizes: dict[Stack, tuple[int, int]]
    seen: dict[Stack, int] = field(default_factory=dict)


class StateProbes:
    """Probes on a model, attached once for a whole replay.

    Args:
        model: the model, for its name in errors.
        layout: where its stacks are.
        take: called with stack, index of the state and the state [B, Q, H], while the model runs.
    """

    def __init__(self, model: nn.Module, layout: ModelLayout, take: TakeState) -> None:
        self._model, self._layout, self._take = model, layout, take
        self._watch: Watch | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Attach for the time of the context."""
        handles: list[RemovableHandle] = []
        try:
            for name, stack in self._stacks():
                first = stack.layers[0]
                handles.append(first.register_forward_pre_hook(self._embedding(name, stack), with_kwargs=True))
                handles += [
                    layer.register_forward_hook(self._block(name, index, stack))
                    for index, layer in enumerate(stack.layers)
                ]
                handles.append(stack.module.register_forward_hook(self._final(name, stack)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def watching(self, sizes: dict[Stack, tuple[int, int]]) -> Iterator[None]:
        """Look at one forward pass, of which `sizes` says how many rows and tokens each stack that runs is given.

        Raises:
            CaptureError: a state cannot be read, or came twice or never.
        """
        self._watch = Watch(sizes)
        try:
            yield
            for name, stack in self._stacks():
                wanted = len(stack.layers) + 2
                if name in sizes and self._watch.seen.get(name, 0) != wanted:
                    found = self._watch.seen.get(name, 0)
                    raise self._refused(f"{found} of {wanted} states of the {name} were seen")
        finally:
            self._watch = None

    def _stacks(self) -> Iterator[tuple[Stack, StackLayout]]:
        if self._layout.encoder is not None:
            yield "encoder", self._layout.encoder
        yield "decoder", self._layout.decoder

    def _embedding(self, name: Stack, stack: StackLayout) -> Callable[..., None]:
        def probe(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._state(name, 0, args[0] if args else kwargs.get("hidden_states"), stack)

        return probe

    def _block(self, name: Stack, index: int, stack: StackLayout) -> Callable[..., None]:
        def probe(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._state(name, index + 1, output, stack)

        return probe

    def _final(self, name: Stack, stack: StackLayout) -> Callable[..., None]:
        def probe(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            state = output[0] if isinstance(output, tuple) else getattr(output, "last_hidden_state", None)
            if not isinstance(state, torch.Tensor) or state.dim() != 3:
                raise self._refused("the final state is not [batch, tokens, width]")
            self._note(name, len(stack.layers) + 1, state)

        return probe

    def _state(self, name: Stack, index: int, output: Any, stack: StackLayout) -> None:
        if self._watch is None or name not in self._watch.sizes:
            return
        state = block_state(output, stack, *self._watch.sizes[name])
        if isinstance(state, str):
            raise self._refused(state)
        self._note(name, index, state)

    def _note(self, name: Stack, index: int, state: torch.Tensor) -> None:
        if self._watch is None or name not in self._watch.sizes:
            return
        if self._watch.seen.get(name, 0) != index:
            raise self._refused("its blocks run out of order, or more than once in a pass")
        self._watch.seen[name] = index + 1
        self._take(name, index, state)

    def _refused(self, reason: str) -> CaptureError:
        return CaptureError(
            f"cannot be replayed: {reason}", subject=type(self._model).__name__, hint="a run of canaries still works"
        )
