"""What every model of the report shares: frozen, no unknown keys, no NaN, and marks for what null means.

A field is *measured* when its null means "not measured" and therefore needs a reason; any other null means that there
is nothing to say (a causal model has no encoder layers). A field is *left out* when readers of the format know it as
optional or not nullable, so that a missing key is legal to them where a null is not.
"""

from __future__ import annotations

from functools import partial
from operator import is_
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue


class Frozen(BaseModel):
    """Base of all models here."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Measured:
    """Marks a field whose null needs an entry in `not_measured`."""

    def __repr__(self) -> str:
        return "MEASURED"


MEASURED: Final = Measured()


class Axis:
    """Marks a list whose items may be null one by one, and says what an item's place in it is."""

    def __init__(self, name: Literal["step", "layer"]) -> None:
        self.name = name


PER_STEP: Final = Axis("step")
PER_LAYER: Final = Axis("layer")

LEFT_OUT = Field(exclude_if=partial(is_, None))

Number = Annotated[FiniteFloat | None, MEASURED]
"""A measured number; null needs a reason."""

AbsentNumber = Annotated[FiniteFloat | None, LEFT_OUT]
"""A number of a later format version: left out, without a reason, by whoever does not write it."""

AbsentCount = Annotated[int | None, MEASURED, LEFT_OUT]
"""A measured count that older readers take for a plain int: left out, with a reason, where not measured."""

AbsentFlag = Annotated[bool | None, MEASURED, LEFT_OUT]
"""A measured yes/no that older readers take for a plain bool: left out, with a reason, where not measured."""

StepSeries = Annotated[tuple[FiniteFloat | None, ...], PER_STEP]
"""A number per step of the timeline; a null needs a reason."""

LayerSeries = Annotated[tuple[FiniteFloat | None, ...], PER_LAYER]
"""A number per layer; a null needs a reason."""

Extensions = dict[str, JsonValue]
"""The format's own bag. This library writes nothing into it; a converted file keeps what its source held."""
