"""An answer with all of its evidence, as a person or a pipeline reads it.

Owns the record and its JSON; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from model_health.baseline.attribution import Place
from model_health.baseline.distances import Family
from model_health.baseline.finite import NonFinite
from model_health.baseline.flag_changes import FlagChange
from model_health.baseline.golden import Harm
from model_health.baseline.numbers import Numbers
from model_health.config.regression import Answer


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to.

    Args:
        answer, reason: the answer and one sentence of why.
        axes: what differs between the keys; empty: the same key.
        moved: whether anything lies beyond tolerance; None where that is not known. True may stand beside
            *inconclusive*: it changed for certain, only harm is undecided.
        level: of tonight's tests.
        numbers: None where nothing could be paired, or something is not finite.
        ratios: family numbers in units of their limits; None under the same key, where bits are compared.
        beyond: families that moved. unrecorded: changed axes of which no healthy pair is known.
        harm: what golden text says. flags: how flags of the generations changed.
        p_values: of every hypothesis that was tested, for the screening of the night.
        place: where the change begins. non_finite: where the replay stopped being finite.
        needed: clusters of golden text that would decide; None where that is not the question.
    """

    answer: Answer
    reason: str
    axes: tuple[str, ...] = ()
    moved: bool | None = None
    level: float = 0.0
    numbers: Numbers | None = None
    ratios: Mapping[Family, float] | None = None
    beyond: tuple[Family, ...] = ()
    unrecorded: tuple[str, ...] = ()
    harm: Harm | None = None
    flags: tuple[FlagChange, ...] = ()
    p_values: Mapping[str, float] = field(default_factory=dict)
    place: Place | None = None
    non_finite: NonFinite | None = None
    needed: int | None = None

    def but(self, answer: Answer, reason: str, **evidence: Any) -> Comparison:
        """A copy with another answer, and more evidence."""
        return replace(self, answer=answer, reason=reason, **evidence)

    @property
    def weights_differ(self) -> bool:
        """Whether the weights in memory are not those of the baseline."""
        return "weights" in self.axes

    @property
    def same_key_differs(self) -> bool:
        """Whether the same key gave other bits, which no harmless variation explains."""
        return not self.axes and bool(self.moved)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "answer": str(self.answer),
            "reason": self.reason,
            "axes": list(self.axes),
            "moved": self.moved,
            "level": self.level,
            "numbers": None if self.numbers is None else self.numbers.to_json(),
            "ratios": None if self.ratios is None else dict(self.ratios),
            "beyond": list(self.beyond),
            "unrecorded": list(self.unrecorded),
            "harm": None if self.harm is None else self.harm.to_json(),
            "flags": [asdict(change) for change in self.flags],
            "p_values": dict(self.p_values),
            "place": None if self.place is None else self.place.to_json(),
            "non_finite": None if self.non_finite is None else asdict(self.non_finite),
            "needed": self.needed,
        }
