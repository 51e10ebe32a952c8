"""What a fault is: a name, the place where it truly begins, and a context in which the model has it.

A new fault is one small class: `injected` puts it in and takes it back. Measuring and judging are not its business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar

from model_health.selftest.subject import Subject


@dataclass(frozen=True)
class Fault(ABC):
    """One fault.

    Args:
        layer: the block that it strikes; None where it strikes the model as a whole.
        kind: what sort of fault, as the table groups them.
        subtle: whether it may hide in harmless variation: flips of single bits.
        one_token: whether it strikes a single token, so that under another configuration no name may be honest.
        needs_padding: whether it shows in rows that are padded as the baseline pads them, so that another
            configuration has to leave the side of the padding alone.
    """

    kind: ClassVar[str]
    subtle: ClassVar[bool] = False
    one_token: ClassVar[bool] = False
    needs_padding: ClassVar[bool] = False
    layer: int | None = field(default=None)

    @property
    @abstractmethod
    def name(self) -> str:
        """Tells it from all others of a catalogue."""

    def place(self, subject: Subject) -> str | None:
        """The state at which it first shows, in the words of `baseline.observations`; None where that is no one's."""
        return None if self.layer is None else f"layer.{self.layer}"

    def excuse(self, subject: Subject) -> str | None:
        """Why a miss under another configuration would be right; None where nothing excuses it."""
        return None

    @abstractmethod
    def injected(self, subject: Subject) -> AbstractContextManager[None]:
        """The context in which the model has the fault; afterwards it is what it was, bit for bit.

        Raises:
            Inapplicable: this model cannot have it.
        """

    @property
    def _where(self) -> str:
        return "" if self.layer is None else f", layer {self.layer}"
