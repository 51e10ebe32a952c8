"""What a self-test found: one trial per fault and configuration, one per harmless change, and what it all was run on.

Owns the records and their JSON; counts are in `figures`. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from model_health.selftest.request import DEFAULT_LONGEST

Configuration = Literal["same", "other", "generation"]
"""same: the baseline's own; other: batch, padding and attention backend differ; generation: a run of canaries."""
Placement = Literal["right", "wrong", "unnamed", "not asked"]


@dataclass(frozen=True)
class Trial:
    """One fault under one configuration.

    Args:
        fault, kind: its name and sort. configuration: under which it was put to replay, or to generation.
        place: the state at which it truly begins; None where no single one is.
        single_layer: whether it strikes one block. subtle: whether it flips single bits. one_token: of one token.
        applicable: False where this model cannot have it; then nothing was measured, and `reason` says why.
        answer: of the comparison. detected: whether anybody would hear of it.
        inert: not one bit of a replay under this configuration differs from the healthy one.
        texts: on how many it was looked for, where that is more than the self-test's few.
        no_number: on all texts of the suite the model's own forward pass gives every bit that it gives without it.
        attributed: the state that was named. placement: how that compares with `place`.
        delay_nights: nights until a gate fails; None where it never would.
        reason: the comparison's own words. missed: why it was not detected; None where it was. excused: rightly so.
        ratio: the largest family number in units of its limit; None where bits decide.
        golden_bits, golden_low, golden_high: change of surprisal on golden text, bits per token, with its interval.
    """

    fault: str
    kind: str
    configuration: Configuration
    place: str | None = None
    single_layer: bool = False
    subtle: bool = False
    one_token: bool = False
    applicable: bool = True
    answer: str | None = None
    detected: bool = False
    inert: bool = False
    texts: int | None = None
    no_number: bool = False
    attributed: str | None = None
    placement: Placement = "not asked"
    delay_nights: int | None = None
    reason: str = ""
    missed: str | None = None
    excused: bool = False
    ratio: float | None = None
    golden_bits: float | None = None
    golden_low: float | None = None
    golden_high: float | None = None


@dataclass(frozen=True)
class HarmlessTrial:
    """One harmless change. `false_alarm`: the answer is worse than *equivalent*. Names and ratio as in `Trial`."""

    change: str
    axes: tuple[str, ...] = ()
    applicable: bool = True
    answer: str | None = None
    false_alarm: bool = False
    reason: str = ""
    ratio: float | None = None


@dataclass(frozen=True)
class YearFound:
    """What a simulated year of the recorded healthy replays came to; see `baseline.year`.

    Args:
        recorded: healthy replays that nights are drawn from. nights, models: of the year.
        allowed, pages: false pages that the alarm budget allows, and that there were.
        beyond, degraded, drifted: pages by what raised them. upper: exact 95 % bound on pages per model and night.
        shift: healthy deviations by which a second year drifts, in each of `drifts` models.
        delays: nights until the drift was seen, sorted; models that never saw it are missing.
        designed, designed_late: nights within which the chart's design sees it in half, and in 9 of 10 cases.
    """

    recorded: int
    nights: int
    models: int
    allowed: float
    pages: int
    beyond: int
    degraded: int
    drifted: int
    upper: float
    shift: float
    drifts: int
    delays: tuple[int, ...]
    designed: int
    designed_late: int


@dataclass(frozen=True)
class SelfTest:
    """A whole self-test.

    Args:
        model, suite, dtype, device, machine, libraries: on what, with which versions.
        started_at: ISO 8601, UTC. seed: of every choice of the catalogue.
        items, tokens, golden_clusters: size of what is replayed; tokens are the scored ones.
        same, other: the two configurations in words.
        floors: largest healthy distance by family, over all recorded ways to run.
        trials, harmless, healthy: what was found; `healthy` are replays under random ways to run.
        cpu_seconds, wall_seconds: of everything after the model was loaded; replay_cpu_seconds: of one replay.
        year: None where there were too few healthy replays to draw nights from.
        longest: tokens that a text for every fault may have.
        texts: of the suite, of which `items` are replayed for each fault.
        restored: the digest of all weights was the same at the end, and a last replay gave the same bits.
    """

    model: str
    suite: str
    dtype: str
    device: str
    machine: str
    libraries: Mapping[str, str]
    started_at: str
    seed: int
    items: int
    tokens: int
    golden_clusters: int
    same: str
    other: str
    floors: Mapping[str, float]
    trials: tuple[Trial, ...]
    harmless: tuple[HarmlessTrial, ...]
    healthy: tuple[HarmlessTrial, ...]
    cpu_seconds: float
    wall_seconds: float
    replay_cpu_seconds: float
    restored: bool
    reduced: bool = field(default=False)
    year: YearFound | None = None
    texts: int = 0
    longest: int = DEFAULT_LONGEST

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def self_test_of(content: Mapping[str, Any]) -> SelfTest:
    """The self-test that `to_json` wrote down; what is not of it (`figures`) is left aside.

    Raises:
        pydantic.ValidationError: it is none.
    """
    from pydantic import TypeAdapter

    names = {one.name for one in fields(SelfTest)}
    known = {name: value for name, value in content.items() if name in names}
    return TypeAdapter(SelfTest).validate_python(known)
