"""How far harmless changes reach: floors learned from recorded healthy replays, by axis of change.

Owns the floors, which travel with a baseline as JSON, and the limits that follow: `FACTOR` times the floor, per family
and per state. A floor is the largest distance that was recorded. Where several axes changed at once, the *largest* of
their floors counts: a configuration fixes one draw of rounding errors, so two configurations lie about equally far
apart whether one or three things differ between them. And should the errors add up after all, as the triangle
inequality allows at worst, the sum over all ten axes is still within ten times the largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from model_health.baseline.distances import FAMILIES, Family
from model_health.baseline.floors import Floor, floor_of
from model_health.baseline.key import AXES, INCOMPARABLE, MODEL, Axis, changed_axes
from model_health.baseline.numbers import Numbers, measure
from model_health.baseline.observations import ReplayObservation
from model_health.errors import CouldNotMeasure

FACTOR: Final = 10.0
ROUNDING: Final[Mapping[str, float]] = {
    "float64": 2.0**-24,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""Half a unit in the last place, relative: the least floor where all recorded pairs were bit-equal, as a new value of
the same axis may still round differently once. Where some differed, a zero is exact (an embedding is looked up, not
computed), and the least floor is that of float32, in which all distances are taken."""
SIZES: Final[Mapping[Family, float]] = {"logprob": 16.0, "kl": 16.0, "flips": 16.0, "entropy": 16.0}
"""Families whose distances are absolute, and how large the values are that lie apart: up to 16 nats, or bits of an
entropy over 65,536 tokens, and more for few. Half a unit in the last place of such a value is so many times larger; a
floor below that says that recorded pairs happened to round alike. A divergence is made of log-probabilities, and where
one token is all but certain, the rounding of its sum of exponentials is all that is left of it."""
TOLERATED: Final[tuple[Axis, ...]] = tuple(a for a in AXES if a not in INCOMPARABLE | MODEL | {"quantization"})
"""Axes whose changes are harmless in themselves. Quantisation is not: it replaces the weights, which is judged."""


@dataclass(frozen=True)
class Limits:
    """Up to where a difference is harmless: `FACTOR` times the floor. Strictly more is beyond tolerance."""

    axes: tuple[Axis, ...]
    families: Mapping[Family, float]
    states: tuple[float, ...]
    golden_bits: float
    recorded: Mapping[Family, tuple[float, ...]]

    def beyond(self, numbers: Numbers) -> tuple[Family, ...]:
        """The families that exceed their limit, in the order of `FAMILIES`."""
        return tuple(family for family in FAMILIES if numbers.families[family] > self.families[family])

    def ratios(self, numbers: Numbers) -> dict[Family, float]:
        """Each family's number in units of its limit: above 1 is beyond."""
        return {family: numbers.families[family] / self.families[family] for family in FAMILIES}


class Tolerance(BaseModel):
    """All floors of a baseline, for weights of one dtype: bfloat16 has floors about 1,500 times those of float32."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dtype: str
    floors: tuple[Floor, ...] = ()

    def covering(self, axes: Iterable[Axis]) -> tuple[Floor, ...]:
        """The floors whose axes all changed; the one of no axis among them."""
        changed = set(axes)
        return tuple(floor for floor in self.floors if changed.issuperset(floor.axes))

    def unrecorded(self, axes: Iterable[Axis]) -> tuple[Axis, ...]:
        """The changed axes of which no healthy pair is known, so that nothing says what is harmless."""
        axes = tuple(axes)
        known = {axis for floor in self.covering(axes) for axis in floor.axes}
        return tuple(axis for axis in axes if axis not in known)

    @property
    def repeats_bits(self) -> bool:
        """False where the same configuration was seen to differ from itself, as with atomic additions on a GPU."""
        return not any(any(floor.families.values()) or any(floor.states) for floor in self.floors if not floor.axes)

    def limits(self, axes: Iterable[Axis]) -> Limits:
        """The limits for these changed axes.

        Raises:
            CouldNotMeasure: an axis was never recorded.
        """
        axes = tuple(axes)
        missing = self.unrecorded(axes)
        floors = self.covering(axes)
        if missing or not floors:
            what = ", ".join(missing) or "the same configuration"
            raise CouldNotMeasure(
                f"no healthy pair of replays is recorded across {what}", hint=f"record replays that differ in {what}"
            )
        silent = not any(any(floor.states) or any(floor.families.values()) for floor in floors)
        least = ROUNDING[self.dtype if silent and self.dtype in ROUNDING else "float32"]
        families = {
            f: FACTOR * max(least * SIZES.get(f, 1.0), *(floor.families[f] for floor in floors)) for f in FAMILIES
        }
        # Where no log-probability moved by more than its limit, two candidates swing by twice that at most.
        families["flips"] = max(families["flips"], 2.0 * families["logprob"])
        return Limits(
            axes=axes,
            families=families,
            states=tuple(FACTOR * max(least, *each) for each in zip(*(floor.states for floor in floors), strict=True)),
            golden_bits=FACTOR * max(floor.golden_bits for floor in floors),
            recorded={f: tuple(x for floor in floors for x in floor.recorded[f]) for f in FAMILIES},
        )


def learn(pairs: Iterable[tuple[ReplayObservation, ReplayObservation]], *, dtype: str) -> Tolerance:
    """Floors from pairs of healthy replays of one model that differ only in how it was run.

    Args:
        pairs: baseline and variant.
        dtype: of the first of each pair; that of the second may be another one, which is an axis of change.

    Raises:
        CouldNotMeasure: a pair is not paired, not finite, of another dtype, or of two models.
    """
    by_axes: dict[tuple[Axis, ...], list[Numbers]] = {}
    for old, new in pairs:
        axes = changed_axes(old.key, new.key)
        # Another dtype rounds the weights, which alters their digest, and stands in the config.
        foreign = () if "dtype" in axes else tuple(axis for axis in axes if axis in MODEL)
        unfit = (*foreign, *(axis for axis in axes if axis in INCOMPARABLE or axis == "quantization"))
        if unfit:
            raise CouldNotMeasure(f"a pair differs in {', '.join(unfit)}, so it says nothing of harmless changes")
        if old.key.dtype != dtype:
            raise CouldNotMeasure(f"a pair starts from {old.key.dtype} where floors of {dtype} are learned")
        by_axes.setdefault(tuple(axis for axis in axes if axis in TOLERATED), []).append(measure(old, new))
    return Tolerance(dtype=dtype, floors=tuple(floor_of(axes, numbers) for axes, numbers in sorted(by_axes.items())))
