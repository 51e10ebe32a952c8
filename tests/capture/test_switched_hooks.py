"""Hooks that are on for some passes only: they see those passes, and leave nothing behind."""

from __future__ import annotations

import torch
from torch import nn

from model_health.capture.switched_hooks import SwitchedHooks


def test_hooks_see_the_calls_that_they_are_switched_on_for() -> None:
    module, seen = nn.Identity(), list[int]()
    hooks = SwitchedHooks()
    hooks.add(module, lambda *_: seen.append(len(seen)))
    module(torch.zeros(1))
    for _ in range(2):
        hooks.switch(on=True)
        module(torch.zeros(1))
    assert len(seen) == 2
    assert len(module._forward_hooks) == 1
    hooks.switch(on=False)
    module(torch.zeros(1))
    assert len(seen) == 2
    assert not module._forward_hooks


def test_hooks_of_somebody_else_stay() -> None:
    module, others = nn.Identity(), list[str]()
    handle = module.register_forward_hook(lambda *_: others.append("theirs"))
    hooks = SwitchedHooks()
    hooks.add(module, lambda *_: others.append("ours"))
    hooks.switch(on=True)
    hooks.remove()
    hooks.remove()
    module(torch.zeros(1))
    assert others == ["theirs"]
    handle.remove()


def test_nothing_to_switch_is_no_fault() -> None:
    hooks = SwitchedHooks()
    hooks.switch(on=True)
    hooks.switch(on=False)
