"""Faults of all weights at once: rounded to fewer bits, trained one step on something else, another revision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from model_health.selftest.fault import Fault
from model_health.selftest.subject import Inapplicable, Subject, borrowed

GROUP = 32
"""Weights that share a scale in the int4 round trip."""
UNRELATED = (
    "Whisk two eggs with a spoonful of sugar, fold in the sifted flour, and let the batter rest while the oven warms. "
    "Bake it for twenty minutes, and do not open the door before the top has turned golden."
)


@dataclass(frozen=True)
class RoundTrip(Fault):
    """The matrices of all blocks are quantised and turned back: what a quantised copy computes, without its kernels.

    int8: one scale per row, symmetric. int4: one scale per `GROUP` weights of a row, symmetric.
    """

    kind: ClassVar[str] = "quantised copy"
    bits: Literal[8, 4] = 8

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"int{self.bits} round trip"

    def place(self, subject: Subject) -> str | None:
        """The embedding is left as it is."""
        return "layer.0"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        weights = [weight for index in range(subject.layers) for _, weight in subject.matrices(index)]
        with borrowed(*weights):
            for weight in weights:
                weight.copy_(_quantised(weight, self.bits))
            yield


@dataclass(frozen=True)
class WrongDtype(Fault):
    """All weights pass through a smaller dtype: bfloat16, or an 8-bit float where they are of 16 bits already."""

    kind: ClassVar[str] = "wrong dtype"

    @property
    def name(self) -> str:
        """See `Fault`."""
        return "weights through a smaller dtype"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""

        def rounded(weight: torch.Tensor) -> torch.Tensor:
            smaller = torch.bfloat16 if weight.element_size() > 2 else torch.float8_e4m3fn
            return weight.to(smaller).to(weight.dtype)

        with _all_weights(subject, rounded):
            yield


@dataclass(frozen=True)
class OtherRevision(Fault):
    """Every matrix gets seeded Gaussian noise, a thousandth of its own standard deviation: almost the same weights."""

    kind: ClassVar[str] = "another revision"
    scale: float = 1e-3

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"all weights with noise of {self.scale:g} standard deviations"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        generator = subject.generator(self.name)

        def noisy(weight: torch.Tensor) -> torch.Tensor:
            noise = torch.randn(weight.shape, generator=generator).to(weight.device)
            return (weight.float() + noise * (self.scale * weight.float().std())).to(weight.dtype)

        with _all_weights(subject, noisy):
            yield


@dataclass(frozen=True)
class TrainingStep(Fault):
    """One step of plain gradient descent on one short text that has nothing to do with the suite."""

    kind: ClassVar[str] = "fine-tuning step"
    rate: float = 1e-5

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"one training step on unrelated text, rate {self.rate:g}"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        model = subject.loaded.model
        weights = [weight for weight in model.parameters() if weight.is_floating_point()]
        asked = [weight.requires_grad for weight in weights]
        ids = subject.loaded.tokenizer(UNRELATED, return_tensors="pt")["input_ids"].to(subject.loaded.device)
        with borrowed(*(weight.data for weight in weights)):
            try:
                for weight in weights:
                    weight.requires_grad_(True)
                with torch.enable_grad():
                    call: Any = model
                    call(input_ids=ids, labels=ids, use_cache=False).loss.backward()
                for weight in weights:
                    if weight.grad is not None:
                        weight.data.sub_(weight.grad, alpha=self.rate)
            finally:
                for weight, before in zip(weights, asked, strict=True):
                    weight.grad = None
                    weight.requires_grad_(before)
            yield


@contextmanager
def _all_weights(subject: Subject, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    weights = [p.data for p in subject.loaded.model.parameters() if p.is_floating_point() and p.dim() >= 2]
    if not weights:
        raise Inapplicable("it has no floating-point matrix")
    with borrowed(*weights):
        for weight in weights:
            weight.copy_(change(weight))
        yield


def _quantised(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """To integers of so many bits and back, in the weight's own dtype."""
    flat = weight.float().reshape(-1, weight.shape[-1])
    most = 2 ** (bits - 1) - 1
    grouped = flat.unfold(-1, GROUP, GROUP) if bits == 4 and flat.shape[-1] % GROUP == 0 else flat[:, None]
    scale = grouped.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / most
    back: torch.Tensor = (grouped / scale).round().clamp(-most, most) * scale
    return back.reshape(weight.shape).to(weight.dtype)
