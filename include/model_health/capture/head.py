"""Lets a model turn chunks of its own final states into logits, by its own code.

`generate` asks for the logits of the newest position only. Those of the prompt are made by running the forward of the
module that owns the head once more with the body replaced by its remembered output, cut to a few positions. So
whatever an architecture does there (transforms, biases, scaling, soft caps, a cut vocabulary) is done, without a list
of such things here. Knows nothing of what the logits are for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from model_health.capture.layout import HeadLayout

ApplyHead = Callable[[int, int], torch.Tensor]
"""Logits [B, last - first, V] of the prefill's positions first .. last - 1."""


class HeadReplay:
    """Remembers what the head's owner was called with and what its body returned, until `forget`."""

    def __init__(self, layout: HeadLayout) -> None:
        self._layout = layout
        self._body: nn.Module | None = None
        self._arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._output: Any = None
        self._listening = False

    def attach(self, keep: Callable[[RemovableHandle], None]) -> None:
        """Listen to the owner and the body from now on, once `listen` is called."""
        keep(self._layout.owner.register_forward_pre_hook(self._called, with_kwargs=True))
        for body in self._layout.bodies:
            keep(body.register_forward_pre_hook(self._entered))
            keep(body.register_forward_hook(self._returned))

    def listen(self) -> None:
        """Remember the next pass."""
        self._listening = True

    def forget(self) -> None:
        """Let go of what is remembered."""
        self._listening = False
        self._arguments = self._output = self._body = None

    @property
    def positions(self) -> int | None:
        """How many positions the body returned, or None where nothing usable is remembered."""
        if self._arguments is None or self._output is None:
            return None
        state = _state(self._output)
        return state.shape[1] if isinstance(state, torch.Tensor) and state.dim() == 3 else None

    def _called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._listening:
            self._arguments = (args, dict(kwargs))

    def _entered(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._listening and self._body is None:
            self._body = module

    def _returned(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._listening and module is self._body:
            self._output, self._listening = output, False

    @property
    def states(self) -> torch.Tensor:
        """The remembered final states, [B, P, H]; only where `positions` is not None."""
        state: torch.Tensor = _state(self._output)
        return state

    def apply(self, first: int, last: int) -> torch.Tensor:
        """Logits of the remembered positions first .. last - 1, [B, last - first, V]."""
        return self.apply_to(self.states[:, first:last])

    def apply_to(self, states: torch.Tensor) -> torch.Tensor:
        """Logits of final states in any arrangement, [b, n, H] -> [b, n, V]."""
        assert self._arguments is not None
        assert self._body is not None
        args, kwargs = self._arguments
        kwargs = {**kwargs, **({"logits_to_keep": 0} if "logits_to_keep" in kwargs else {})}
        cut = _with_state(self._output, states)
        namespace = self._body.__dict__
        own = namespace.get("forward")
        namespace["forward"] = lambda *ignored, **also: cut
        try:
            output = self._layout.owner.forward(*args, **kwargs)
        finally:
            if own is None:
                del namespace["forward"]
            else:
                namespace["forward"] = own
        logits: torch.Tensor = output.logits if hasattr(output, "logits") else output[0]
        return logits


def _state(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else getattr(output, "last_hidden_state", None)


def _with_state(output: Any, state: torch.Tensor) -> Any:
    if isinstance(output, tuple):
        return (state, *output[1:])
    cut = copy.copy(output)
    cut.last_hidden_state = state
    return cut
