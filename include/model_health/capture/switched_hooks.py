"""Forward hooks that are on some modules for some passes only.

A hook that returns at once still takes its module off the quick path of a call: twelve of them cost near a per cent of
a small model's decode step. So hooks that have nothing to see in a pass are not there. Knows nothing of what they see.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.utils.hooks import RemovableHandle


class SwitchedHooks:
    """Forward hooks that are all on or all off; off at first."""

    def __init__(self) -> None:
        self._hooks: list[tuple[nn.Module, Callable[..., None]]] = []
        self._handles: list[RemovableHandle] = []

    def add(self, module: nn.Module, hook: Callable[..., None]) -> None:
        """Let `hook` see `module` from the next time that the hooks are switched on."""
        self._hooks.append((module, hook))

    def switch(self, *, on: bool) -> None:
        """Put all hooks on, or take them off; nothing happens where they are so already."""
        if on and not self._handles:
            self._handles = [module.register_forward_hook(hook) for module, hook in self._hooks]
        elif not on:
            self.remove()

    def remove(self) -> None:
        """Take all hooks off."""
        while self._handles:
            self._handles.pop().remove()
