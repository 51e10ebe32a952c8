"""Reads `comparison.json` and `flips.json` back, of this and of every older version, as typed records.

Owns that reading; `runner.compare_record` writes. What an older file does not have is None, never invented. Unknown
fields of a newer one are passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from model_health.baseline.attribution import Place
from model_health.baseline.finite import NonFinite
from model_health.baseline.flag_changes import FlagChange
from model_health.baseline.flips import FlipReport
from model_health.baseline.profile import Profile
from model_health.config.regression import Outcome
from model_health.errors import StoreError

Parsed = TypeVar("Parsed")


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class StoredEffect(_Stored):
    """`permutation.MeanEffect`; what was infinite is None."""

    clusters: int
    mean: float
    low: float | None
    high: float | None
    detectable: float | None


class StoredHarm(_Stored):
    """`golden.Harm`: bits per token, positive is worse."""

    effect: StoredEffect | None
    margin: float
    worse: bool
    not_worse: bool
    needed: int | None = None


class StoredNumbers(_Stored):
    """`numbers.Numbers` without the places: what a file of 1.0.0 has instead of a profile."""

    families: dict[str, float]
    states: tuple[float, ...]
    golden: dict[str, float]


class StoredPolicy(_Stored):
    """`policy.RegressionVerdict`, as far as a person asks."""

    use: str
    rule: str | None = None
    runbook: str = ""
    owner: str = ""
    page_now: bool = False
    reasons: tuple[str, ...] = ()


class StoredCause(_Stored):
    """Whence a change came, and why that is believed."""

    cause: str
    reason: str


class StoredCount(_Stored):
    """So many of so many."""

    flipped: int
    of: int


class StoredResult(_Stored):
    """A comparison, as `runner.compare_record.result_of` wrote it; fields as in `comparison.Comparison`.

    `profile` is None where nothing could be paired, and in a file of 1.0.0.
    """

    format: str = Field(pattern=r"^1\.\d+\.\d+$")
    comparison: str
    of_run: bool
    at: AwareDatetime
    model: str
    suite: str
    baseline: str
    candidate: str
    purpose: str
    verdict: Outcome
    answer: str
    reason: str
    axes: tuple[str, ...] = ()
    moved: bool | None = None
    numbers: StoredNumbers | None = None
    ratios: dict[str, float | None] | None = None
    beyond: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    harm: StoredHarm | None = None
    flags: tuple[FlagChange, ...] = ()
    p_values: dict[str, float] = Field(default_factory=dict)
    place: Place | None = None
    non_finite: NonFinite | None = None
    needed: int | None = None
    policy: StoredPolicy
    cause: StoredCause | None = None
    flips: StoredCount | None = None
    profile: Profile | None = None
    cost: dict[Literal["cpu_seconds", "wall_seconds"], float] | None = None


_FLIPS: TypeAdapter[FlipReport] = TypeAdapter(FlipReport)


def read_result(content: bytes, name: str) -> StoredResult:
    """A comparison.

    Args:
        content: of `comparison.json`.
        name: what errors call the file.

    Raises:
        StoreError: it is damaged, or of a version that this library does not know.
    """
    return _read(content, name, StoredResult.model_validate_json)


def read_flips(content: bytes, name: str) -> FlipReport:
    """A flip report, from `flips.json`; arguments and errors as of `read_result`."""
    return _read(content, name, _FLIPS.validate_json)


def _read(content: bytes, name: str, parse: Callable[[bytes], Parsed]) -> Parsed:
    try:
        return parse(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StoreError(
            f"cannot be read: {where}: {first['msg']}",
            subject=name,
            hint="compare again, or use the Model Health that wrote it",
        ) from error
