"""The model that faults are put into, as faults see it: its blocks, their matrices, where a block writes its output.

Owns finding these by structure and by the names that families use, and every random choice: drawn from a seed and a
name, so that a catalogue is the same on every machine. What cannot be found makes a fault inapplicable, never wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from model_health.capture.layout import ModelLayout, find_layout, named_attention
from model_health.config.suites import CanarySuite
from model_health.errors import CouldNotMeasure
from model_health.runner.loading import LoadedModel

_ATTENTION_OUTPUTS = frozenset({"o_proj", "out_proj", "c_proj", "dense", "wo", "o", "out_lin"})
_MLP_OUTPUTS = frozenset({"down_proj", "c_proj", "dense_4h_to_h", "fc2", "fc_out", "wo", "w2", "lin2"})


class Inapplicable(Exception):
    """This fault cannot be put into this model; the text says why."""


@dataclass(frozen=True)
class Subject:
    """A loaded model and the suite it is asked.

    Args:
        loaded: the model; faults change it for a while and give it back as it was.
        suite: whose prompts are rendered.
        seed: of every choice.
    """

    loaded: LoadedModel
    suite: CanarySuite
    seed: int = field(default=0)

    @cached_property
    def layout(self) -> ModelLayout:
        """Where the model keeps its blocks."""
        return find_layout(self.loaded.model)

    @property
    def layers(self) -> int:
        """Blocks of the decoder."""
        return len(self.layout.decoder.layers)

    def layer(self, index: int) -> nn.Module:
        """One block of the decoder."""
        return self.layout.decoder.layers[index]

    def generator(self, name: str) -> torch.Generator:
        """A generator on the CPU that belongs to a name."""
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def draw(self, name: str, below: int) -> int:
        """A number from 0 to below - 1."""
        return int(torch.randint(below, (1,), generator=self.generator(name)))

    def matrices(self, index: int) -> list[tuple[str, torch.Tensor]]:
        """The floating-point weights of a block with two or more axes, by name.

        Raises:
            Inapplicable: it has none.
        """
        found = [(name, value.data) for name, value in self.layer(index).named_parameters() if _is_matrix(value)]
        if not found:
            raise Inapplicable(f"layer {index} has no floating-point matrix")
        return found

    def attention_output(self, index: int) -> nn.Module:
        """The module of a block through which attention heads write to the residual stream."""
        for module in self.layer(index).modules():
            if named_attention(module):
                for name, child in module.named_children():
                    if name in _ATTENTION_OUTPUTS and _is_matrix(getattr(child, "weight", None)):
                        return child
        raise Inapplicable("its attention has no output projection of a known name")

    def mlp_output(self, index: int) -> nn.Module:
        """The module of a block through which its MLP writes to the residual stream."""
        attention = {id(m) for part in self.layer(index).modules() if named_attention(part) for m in part.modules()}
        for path, module in self.layer(index).named_modules():
            known = path.rpartition(".")[2] in _MLP_OUTPUTS and id(module) not in attention
            if known and _is_matrix(getattr(module, "weight", None)):
                found: nn.Module = module
                return found
        raise Inapplicable("its MLP has no output projection of a known name")


def _is_matrix(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() >= 2 and value.is_floating_point()


@contextmanager
def borrowed(*tensors: torch.Tensor) -> Iterator[None]:
    """Give tensors back bit for bit at the end of the context, whatever happened to their values inside.

    Raises:
        CouldNotMeasure: they are not what they were; nothing that is measured afterwards would mean anything.
    """
    kept = [tensor.detach().clone() for tensor in tensors]
    before = [bits_digest(tensor) for tensor in tensors]
    try:
        yield
    finally:
        for tensor, values in zip(tensors, kept, strict=True):
            tensor.data.copy_(values)
    if [bits_digest(tensor) for tensor in tensors] != before:
        raise CouldNotMeasure("a fault was not taken back bit for bit", subject="self-test")


def bits_digest(tensor: torch.Tensor) -> str:
    """SHA-256 over the bytes of a tensor."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().data).hexdigest()
