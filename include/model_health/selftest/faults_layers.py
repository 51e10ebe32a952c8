"""Faults of single blocks: scaled, a head or the MLP silent, swapped with another, rows of a matrix lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from model_health.selftest.fault import Fault
from model_health.selftest.subject import Inapplicable, Subject, borrowed


@dataclass(frozen=True)
class ScaledLayer(Fault):
    """What a block adds to the residual stream is scaled, attention and MLP alike."""

    kind: ClassVar[str] = "scaled layer"
    factor: float = 1.5

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"scaled by {self.factor:g}{self._where}"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        weights = []
        for find in (subject.attention_output, subject.mlp_output):
            try:
                weights.append(_weight(find(self.layer or 0)))
            except Inapplicable:
                continue
        if not weights:
            raise Inapplicable("neither its attention nor its MLP has an output projection of a known name")
        with borrowed(*weights):
            for weight in weights:
                weight.mul_(self.factor)
            yield


@dataclass(frozen=True)
class ZeroedHead(Fault):
    """One attention head writes nothing."""

    kind: ClassVar[str] = "zeroed head"

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"one head zeroed{self._where}"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        module = subject.attention_output(self.layer or 0)
        heads = getattr(subject.loaded.model.config.get_text_config(decoder=True), "num_attention_heads", None)
        weight = _weight(module)
        # transformers' Conv1D keeps its weight as [in, out], all others as [out, in]
        inputs = 0 if type(module).__name__ == "Conv1D" else 1
        if not isinstance(heads, int) or weight.shape[inputs] % heads:
            raise Inapplicable("the config states no number of heads that divides their outputs")
        width = weight.shape[inputs] // heads
        with borrowed(weight):
            weight.narrow(inputs, subject.draw(self.name, heads) * width, width).zero_()
            yield


@dataclass(frozen=True)
class ZeroedMlp(Fault):
    """The MLP of a block writes nothing."""

    kind: ClassVar[str] = "zeroed MLP"

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"MLP zeroed{self._where}"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        weight = _weight(subject.mlp_output(self.layer or 0))
        with borrowed(weight):
            weight.zero_()
            yield


@dataclass(frozen=True)
class SwappedLayers(Fault):
    """The weights of two blocks are exchanged; the first of them is where it shows."""

    kind: ClassVar[str] = "swapped layers"
    other: int = 1

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"layers {self.layer} and {self.other} swapped"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        ours, theirs = ([p.data for p in subject.layer(i).parameters()] for i in (self.layer or 0, self.other))
        if [p.shape for p in ours] != [p.shape for p in theirs]:
            raise Inapplicable(f"layers {self.layer} and {self.other} have other shapes")
        with borrowed(*ours, *theirs):
            for one, other in zip(ours, theirs, strict=True):
                kept = one.clone()
                one.copy_(other)
                other.copy_(kept)
            yield


@dataclass(frozen=True)
class BrokenShard(Fault):
    """The second half of a matrix's rows is lost (zero), or is the first half once more."""

    kind: ClassVar[str] = "broken shard"
    how: Literal["truncated", "duplicated"] = "truncated"

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"half a matrix {self.how}{self._where}"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        matrices = subject.matrices(self.layer or 0)
        weight = matrices[subject.draw(self.name, len(matrices))][1]
        half = weight.shape[0] // 2
        if half == 0:
            raise Inapplicable("its matrix has one row")
        if self.how == "duplicated" and torch.equal(weight[-half:], weight[:half]):
            raise Inapplicable("the halves of its matrix are equal already")
        with borrowed(weight):
            weight[-half:] = 0.0 if self.how == "truncated" else weight[:half].clone()
            yield


def _weight(module: nn.Module) -> torch.Tensor:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight.data
