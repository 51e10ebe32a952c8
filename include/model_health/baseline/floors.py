"""How far recorded healthy replays lay apart, by what differed between them. Owns the record and its making.

What counts as too far is `tolerance`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from model_health.baseline.distances import FAMILIES, Family
from model_health.baseline.key import Axis
from model_health.baseline.numbers import Numbers

NonNegative = Annotated[float, Field(ge=0.0)]


class Floor(BaseModel):
    """What healthy pairs that differ in exactly `axes` had as distances. No axis: the same configuration, twice.

    `recorded` are the family numbers of each pair, for rank p-values; `families`, `states` and `golden_bits` (absolute
    mean difference of golden surprisal) their maxima.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    axes: tuple[Axis, ...]
    pairs: Annotated[int, Field(ge=1)]
    families: dict[Family, NonNegative]
    states: tuple[NonNegative, ...]
    golden_bits: NonNegative
    recorded: dict[Family, tuple[NonNegative, ...]]


def floor_of(axes: tuple[Axis, ...], numbers: Sequence[Numbers]) -> Floor:
    """The floor of healthy pairs that differ in `axes`, at least one of them."""
    recorded = {family: tuple(each.families[family] for each in numbers) for family in FAMILIES}
    return Floor(
        axes=axes,
        pairs=len(numbers),
        families={family: max(values) for family, values in recorded.items()},
        states=tuple(max(state) for state in zip(*(each.states for each in numbers), strict=True)),
        golden_bits=max(abs(each.golden_mean) for each in numbers),
        recorded=recorded,
    )
