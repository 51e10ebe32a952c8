"""Faults of how the model is run, with its weights untouched: positions, mask, rotary base, temperature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from model_health.selftest.fault import Fault
from model_health.selftest.subject import Inapplicable, Subject, borrowed

Arguments = dict[str, Any]


@dataclass(frozen=True)
class WrongRotaryBase(Fault):
    """The base of the rotary embedding is another one, as after a config that lost its `rope_theta`."""

    kind: ClassVar[str] = "wrong rotary base"
    factor: float = 10.0

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"rotary base times {self.factor:g}"

    def place(self, subject: Subject) -> str | None:
        """Positions first count in the attention of the first block."""
        return "layer.0"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        tables = rotary_tables(subject)
        if not tables:
            raise Inapplicable("it has no rotary embedding")
        with borrowed(*tables):
            for table in tables:
                exponent = torch.arange(len(table), device=table.device) / len(table)
                table.mul_(self.factor**-exponent)
            yield


@dataclass(frozen=True)
class ShiftedPositions(Fault):
    """Positions are off by one: all of them, or those of the second half of each sequence."""

    kind: ClassVar[str] = "off-by-one positions"
    how: Literal["all", "second half"] = "second half"

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"positions off by one, {self.how}"

    def place(self, subject: Subject) -> str | None:
        """In the first attention where positions are rotations, else in the embedding."""
        return "layer.0" if rotary_tables(subject) else "embedding"

    def excuse(self, subject: Subject) -> str | None:
        """A rotary embedding knows differences of positions only."""
        if self.how != "all" or not rotary_tables(subject):
            return None
        return "shifting all positions changes nothing but rounding under a rotary embedding, which knows differences"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""

        def shift(arguments: Arguments) -> None:
            positions = arguments["position_ids"]
            first = 0 if self.how == "all" else positions.shape[1] // 2
            moved = positions.clone()
            moved[:, first:] += 1
            arguments["position_ids"] = moved

        with _arguments(subject, "position_ids", shift):
            yield


@dataclass(frozen=True)
class WrongMask(Fault):
    """The attention mask is missing, so that padding is read as text; or it hides the first token of each sequence."""

    kind: ClassVar[str] = "wrong attention mask"
    needs_padding: ClassVar[bool] = True
    how: Literal["missing", "hides the first token"] = "missing"

    @property
    def name(self) -> str:
        """See `Fault`."""
        return "attention mask missing" if self.how == "missing" else "attention mask hides the first token"

    def place(self, subject: Subject) -> str | None:
        """Padding is first read in the attention of the first block."""
        return "layer.0" if subject.layout.encoder is None else "encoder.layer.0"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""

        def spoil(arguments: Arguments) -> None:
            mask = arguments["attention_mask"]
            if self.how == "missing":
                arguments["attention_mask"] = torch.ones_like(mask)
                return
            wrong = mask.clone()
            wrong[torch.arange(len(mask)), mask.argmax(1)] = 0
            arguments["attention_mask"] = wrong

        with _arguments(subject, "attention_mask", spoil):
            yield


@dataclass(frozen=True)
class DoubleTemperature(Fault):
    """Logits are divided by a temperature before anybody asked for one: applied twice, once too often."""

    kind: ClassVar[str] = "temperature applied twice"
    temperature: float = 0.7

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"logits divided by {self.temperature:g}"

    def place(self, subject: Subject) -> str | None:
        """Hidden states do not know of it."""
        return "head"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`."""
        model: Any = subject.loaded.model
        head = model.get_output_embeddings()
        if head is None:
            raise Inapplicable("it has no output embeddings")
        handle = head.register_forward_hook(lambda module, args, output: output / self.temperature)
        try:
            yield
        finally:
            handle.remove()


def rotary_tables(subject: Subject) -> list[torch.Tensor]:
    """The frequencies of all rotary embeddings; empty where there is none."""
    buffers = subject.loaded.model.named_buffers()
    return [value for name, value in buffers if name.endswith("inv_freq") and value.numel() > 1]


@contextmanager
def _arguments(subject: Subject, name: str, change: Callable[[Arguments], None]) -> Iterator[None]:
    """Change what each forward call of the model is given, as long as it is given `name`."""
    model = subject.loaded.model
    takes = inspect.signature(type(model).forward).parameters
    if name not in takes or (name == "position_ids" and model.config.is_encoder_decoder):
        raise Inapplicable(f"its forward is given no {name}")

    def before(module: Any, args: tuple[Any, ...], kwargs: Arguments) -> tuple[tuple[Any, ...], Arguments]:
        given = dict(kwargs)
        change(given)
        return args, given

    handle = model.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
