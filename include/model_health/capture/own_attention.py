"""Watches attention that a model computes itself, without transformers' dispatch table.

Bloom, GPT-J, GPT-Neo, MPT, CodeGen and others write attention out: scores, a softmax, a product. While a subscribed
module runs, the softmax (or the fused kernel) that it calls is seen, and the weights that production computes are
reported as they are; nothing is computed twice and nothing is replaced. Knows neither layers nor metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from model_health.capture.dispatch import Listener
from model_health.capture.layout import dispatches, named_attention

SoftmaxListener = Callable[[nn.Module, torch.Tensor, torch.Tensor], None]
"""Called as listener(module, scores, weights) for every softmax over a last axis."""

_SOFTMAX = frozenset({F.softmax, torch.softmax, torch.Tensor.softmax})


def own_attention_modules(layer: nn.Module) -> list[tuple[str, nn.Module]]:
    """The innermost modules of a layer that call themselves attention and do not dispatch, with their paths."""
    named = [(path, part) for path, part in layer.named_modules() if named_attention(part)]
    return [
        (path, part)
        for path, part in named
        if not any(named_attention(inner) for inner in part.modules() if inner is not part)
        and not any(dispatches(whole) for whole in (part, *_above(path, layer)))
    ]


def _above(path: str, layer: nn.Module) -> list[nn.Module]:
    """The attention modules around the one at `path`, which may dispatch for it."""
    names = path.split(".")[:-1]
    parents = (layer.get_submodule(".".join(names[:depth])) for depth in range(1, len(names) + 1))
    return [parent for parent in parents if named_attention(parent)]


class _Watch(TorchFunctionMode):
    """Sees the functions that one module calls while it runs, on this thread only."""

    def __init__(self, module: nn.Module, softmax: SoftmaxListener, fused: Listener) -> None:
        super().__init__()
        self._module, self._softmax, self._fused = module, softmax, fused

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _SOFTMAX:
            scores = args[0] if args else kwargs["input"]
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if dim in (-1, scores.dim() - 1):
                self._softmax(self._module, scores, result)
        elif func is F.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False))
            named |= kwargs
            self._fused(
                self._module,
                named["query"],
                named["key"],
                named["value"],
                named.get("attn_mask"),
                {"scaling": named.get("scale"), "is_causal": named.get("is_causal", False)},
                result.transpose(1, 2),
                None,
            )
        return result


def watch(
    module: nn.Module, softmax: SoftmaxListener, fused: Listener, idle: Callable[[], bool] | None = None
) -> Callable[[], None]:
    """Report the module's own attention until the returned function is called. Its forward is shadowed, not changed.

    While `idle` says so, nothing is watched: to see a module's calls has its price even if nobody reads them.
    """
    namespace = module.__dict__
    own = namespace.get("forward")
    original = module.forward

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if idle is not None and idle():
            return original(*args, **kwargs)
        with _Watch(module, softmax, fused):
            return original(*args, **kwargs)

    namespace["forward"] = forward

    def restore() -> None:
        if own is None:
            namespace.pop("forward", None)
        else:
            namespace["forward"] = own

    return restore
