"""Finds the routers of a mixture of experts, and reads what one says: logits over all experts, and its choices.

A model's class declares for transformers' own `output_router_logits` which modules are routers and where in their
output the logits stand; that declaration is used. Remote code declares nothing: there a linear layer beside a list of
as many experts as it has outputs is a router. Knows modules and shapes, not what is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from model_health.capture.events import RouterGap, RouterPlace, StackName
from model_health.capture.layout import ModelLayout, StackLayout

NO_ROUTER = "the model has no router"
UNKNOWN_ROUTER = "the model has experts, but which module is their router is not known"
NO_CAPACITY = "the architecture has no expert capacity"
RANDOM_SECOND = "a second expert that was left out at random cannot be told from one without room"

_PROBABILITIES = ("Gemma4TextRouter", "DiffusionGemmaTextRouter")
"""Routers that record their softmax where others record logits."""
_DISPATCH = {"SwitchTransformersTop1Router": (0, 1), "NllbMoeTop2Router": (1, 2), "Llama4Router": (0, None)}
"""Routers that give a table over all experts, zero where a token does not go: its place, and experts per token."""
_NAMES = re.compile(r"(^|\.)(gate|router|gating)$")


@dataclass(frozen=True, eq=False)
class RouterModule:
    """A router to probe: `index` is where its output holds the logits, `experts` the module that gets its choices."""

    place: RouterPlace
    module: nn.Module
    index: int
    experts: nn.Module | None


@dataclass(frozen=True)
class _Declared:
    target: type[nn.Module] | None
    name: str | None
    inside: str | None
    index: int

    def matches(self, path: str, module: nn.Module) -> bool:
        if self.inside is not None and f".{self.inside.strip('.')}." not in f".{path}.":
            return False
        by_class = self.target is not None and isinstance(module, self.target)
        return by_class or (self.name is not None and path.endswith(self.name))


def find_routers(model: PreTrainedModel, layout: ModelLayout) -> tuple[tuple[RouterModule, ...], tuple[RouterGap, ...]]:
    """The routers in a model's stacks, in the order of their layers, and where there are none although one is due."""
    declared = tuple(_declarations(model))
    stacks = [(StackName.DECODER, layout.decoder)]
    if layout.encoder is not None:
        stacks.insert(0, (StackName.ENCODER, layout.encoder))
    found: list[RouterModule] = []
    gaps: list[RouterGap] = []
    for name, stack in stacks:
        for index in range(len(stack.layers)):
            own = _in_layer(name, stack, index, declared)
            found += own
            experts = _experts_of(stack.layers[index])
            if experts and not own:
                reason = f"no router that gives logits is known beside {type(experts[0]).__name__}"
                gaps.append(RouterGap(reason, name, index))
    if not found:
        return (), (RouterGap(UNKNOWN_ROUTER if gaps else NO_ROUTER),)
    return tuple(found), tuple(gaps)


def _declarations(model: PreTrainedModel) -> Iterator[_Declared]:
    for part in model.modules():
        if not isinstance(part, PreTrainedModel):
            continue
        entries = (getattr(part, "_can_record_outputs", None) or {}).get("router_logits", ())
        for entry in entries if isinstance(entries, (list, tuple)) else (entries,):
            if isinstance(entry, str):
                yield _Declared(None, entry, None, 1)
            elif isinstance(entry, type):
                yield _Declared(entry, None, None, 1)
            else:
                yield _Declared(entry.target_class, entry.class_name, entry.layer_name, entry.index)


def _experts_of(layer: nn.Module) -> list[nn.Module]:
    return [part for path, part in layer.named_modules() if path.rpartition(".")[2] == "experts"]


def _in_layer(stack: StackName, layout: StackLayout, layer: int, declared: tuple[_Declared, ...]) -> list[RouterModule]:
    block = layout.layers[layer]
    found: dict[str, tuple[nn.Module, int]] = {}
    for path, part in block.named_modules():
        for entry in declared:
            if path and entry.matches(path, part):
                found.setdefault(path, (part, entry.index))
        if not declared and _looks_like_a_router(block, path, part):
            found[path] = (part, 0)
    # an attention layer of experts is declared beside the router within it: the router itself knows more
    inner = [path for path in found if not any(other.startswith(f"{path}.") for other in found)]
    return [_router(stack, layer, block, path, *found[path]) for path in inner]


def _looks_like_a_router(block: nn.Module, path: str, part: nn.Module) -> bool:
    if not isinstance(part, nn.Linear) or not _NAMES.search(path):
        return False
    experts = _beside(block, path)
    return isinstance(experts, (nn.ModuleList, nn.ModuleDict)) and len(experts) == part.out_features


def _beside(block: nn.Module, path: str) -> nn.Module | None:
    parent = path.rpartition(".")[0]
    experts = getattr(block.get_submodule(parent) if parent else block, "experts", None)
    return experts if isinstance(experts, nn.Module) else None


def _router(stack: StackName, layer: int, block: nn.Module, path: str, module: nn.Module, index: int) -> RouterModule:
    experts = _beside(block, path)
    name = type(module).__name__
    classes, count = getattr(module, "num_router_classes", None), getattr(experts, "num_experts", None)
    no_choice = None
    if classes is not None and classes != count:
        no_choice = f"its router chooses among {classes} classes, of which {count} are experts"
    no_drops: str | None = NO_CAPACITY
    if hasattr(module, "expert_capacity"):
        no_drops = None if getattr(module, "second_expert_policy", "all") == "all" else RANDOM_SECOND
    place = RouterPlace(stack, layer, path, name in _PROBABILITIES, no_choice, no_drops)
    return RouterModule(place, module, index, experts)


def logits_of(router: RouterModule, output: Any, batch: int, tokens: int) -> torch.Tensor | str:
    """A router's logits as [B, Q, E], or why they cannot be read as one row per token."""
    logits = output[router.index] if isinstance(output, tuple) else output
    if not isinstance(logits, torch.Tensor) or logits.dim() < 2:
        return f"its router gives a {type(logits).__name__}, not logits"
    rows = logits.numel() // logits.shape[-1]
    if rows != batch * tokens or logits.dim() > 3:
        return f"its router gives {rows} rows of logits for {batch * tokens} tokens"
    return logits.reshape(batch, tokens, logits.shape[-1])


def choices_of(router: RouterModule, output: Any, batch: int, tokens: int, experts: int) -> torch.Tensor | None:
    """The experts that a router chose, [B, Q, k] with -1 for one without room; None if its output does not say."""
    if router.place.no_choice is not None or not isinstance(output, tuple):
        return None
    known = _DISPATCH.get(type(router.module).__name__)
    if known is not None:
        position, count = known
        table = output[position].reshape(batch, tokens, experts)
        count = count if count is not None else int(getattr(router.module, "top_k", 1))
        values, chosen = table.topk(min(count, experts), dim=-1)
        return torch.where(values > 0, chosen, -1)
    return _indices(output, batch, tokens, experts)


def choices_given(arguments: tuple[Any, ...], batch: int, tokens: int, experts: int) -> torch.Tensor | None:
    """The choices among the arguments of the module that holds the experts, [B, Q, k], or None."""
    return _indices(arguments, batch, tokens, experts)


def _indices(values: tuple[Any, ...], batch: int, tokens: int, experts: int) -> torch.Tensor | None:
    for value in values:
        if not isinstance(value, torch.Tensor) or value.dtype not in (torch.int64, torch.int32) or value.dim() < 2:
            continue
        if value.numel() == batch * tokens * value.shape[-1] and value.shape[-1] <= experts:
            return value.reshape(batch, tokens, value.shape[-1])
    return None
