"""Faults of single numbers: a NaN or an infinity in a weight, one flipped bit in a weight or in an activation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from model_health.selftest.fault import Fault
from model_health.selftest.subject import Inapplicable, Subject, borrowed

Bit = Literal["sign", "high exponent", "low exponent", "high mantissa", "last mantissa"]
BITS: tuple[Bit, ...] = ("sign", "high exponent", "low exponent", "high mantissa", "last mantissa")
_PLACES: dict[torch.dtype, tuple[int, int, int, int, int]] = {
    torch.float32: (31, 30, 23, 22, 0),
    torch.bfloat16: (15, 14, 7, 6, 0),
    torch.float16: (15, 14, 10, 9, 0),
}
_INTEGERS = {4: torch.int32, 2: torch.int16}


def flip(values: torch.Tensor, at: int, bit: Bit) -> None:
    """Flip one bit of the element `at` of a contiguous tensor, in place.

    Raises:
        Inapplicable: of a dtype without such bits.
    """
    places = _PLACES.get(values.dtype)
    if places is None:
        raise Inapplicable(f"{values.dtype} has no bits of these names")
    width = 8 * values.element_size()
    number = 1 << places[BITS.index(bit)]
    signed = number - (1 << width) if number >> (width - 1) else number
    values.view(-1).view(_INTEGERS[values.element_size()])[at] ^= signed


@dataclass(frozen=True)
class BadWeight(Fault):
    """One weight of a matrix is NaN or infinite."""

    kind: ClassVar[str] = "non-finite weight"
    value: float = float("nan")

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"{'NaN' if self.value != self.value else 'Inf'} in one weight{self._where}"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        weight, at = _element(subject, self.layer, self.name)
        with borrowed(weight):
            weight.view(-1)[at] = self.value
            yield


@dataclass(frozen=True)
class WeightBit(Fault):
    """One bit of one weight is the other way round."""

    kind: ClassVar[str] = "bit flip in a weight"
    subtle: ClassVar[bool] = True
    bit: Bit = "sign"

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"{self.bit} bit of one weight{self._where}"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        weight, at = _element(subject, self.layer, self.name)
        with borrowed(weight):
            flip(weight, at, self.bit)
            yield


@dataclass(frozen=True)
class ActivationBit(Fault):
    """Once per replay, in its first forward pass, one bit of what a block passes on is the other way round.

    It strikes the longest sequence of the batch, which has no padding, at any of its tokens.
    """

    kind: ClassVar[str] = "bit flip in an activation"
    subtle: ClassVar[bool] = True
    one_token: ClassVar[bool] = True
    bit: Bit = "sign"

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"{self.bit} bit of one activation{self._where}"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        struck = False

        def strike(module: nn.Module, args: Any, output: Any) -> Any:
            nonlocal struck
            if struck:
                return None
            struck = True
            state = (output[0] if isinstance(output, tuple) else output).clone()
            first = state[0]
            flip(first, subject.draw(self.name, first.numel()), self.bit)
            return (state, *output[1:]) if isinstance(output, tuple) else state

        handle = subject.layer(self.layer or 0).register_forward_hook(strike)
        try:
            yield
        finally:
            handle.remove()


def _element(subject: Subject, layer: int | None, name: str) -> tuple[torch.Tensor, int]:
    matrices = subject.matrices(layer or 0)
    chosen = matrices[subject.draw(f"{name}: matrix", len(matrices))][1]
    if not chosen.is_contiguous():
        raise Inapplicable("its weights are not contiguous")
    return chosen, subject.draw(f"{name}: element", chosen.numel())
