"""Owns the hand-over between the capture child and whoever supervises it: the result file and its checks.

A run whose child left no readable, matching result is a run that could not be measured. Knows nothing of processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError, model_validator

from model_health.errors import ChildFailed, ExitCode

MAX_RESULT_BYTES = 262_144

_VERDICT_OF_EXIT = {
    ExitCode.HEALTHY: "healthy",
    ExitCode.UNHEALTHY: "unhealthy",
    ExitCode.BAD_INPUT: "could_not_measure",
    ExitCode.COULD_NOT_MEASURE: "could_not_measure",
    ExitCode.INCONCLUSIVE: "inconclusive",
}


class ComparisonOutcome(BaseModel):
    """What a run's comparison with the promoted baseline came to."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    answer: str
    verdict: Literal["pass", "warn", "fail", "inconclusive"]
    reason: str
    result_uri: str


class ChildOutcome(BaseModel):
    """What a capture child says of its run, as its result file holds it. Keys that a newer child adds are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    run_id: str
    model: str
    suite: str
    status: Literal["measured", "could_not_measure"]
    verdict: Literal["healthy", "unhealthy", "could_not_measure", "inconclusive"]
    exit_code: ExitCode
    reason: str | None = None
    manifest_uri: str | None = None
    manifest_digest: str | None = None
    prompts: NonNegativeInt = 0
    prompts_unhealthy: NonNegativeInt = 0
    flags: dict[str, NonNegativeInt] = {}
    """How many prompts raised each flag, tolerated or not."""
    unhealthy_flags: dict[str, NonNegativeInt] = {}
    """How many raised each flag that they do not tolerate: the reason of an unhealthy verdict."""
    comparison: ComparisonOutcome | None = None
    """None where the run was not held against a baseline."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if _VERDICT_OF_EXIT[self.exit_code] != self.verdict:
            raise ValueError(f"verdict {self.verdict} contradicts exit code {int(self.exit_code)}")
        if (self.status == "measured") != (self.verdict != "could_not_measure"):
            raise ValueError(f"status {self.status} contradicts verdict {self.verdict}")
        if self.status == "measured" and not (self.manifest_uri and self.manifest_digest):
            raise ValueError("a measured run names its manifest and the manifest's digest")
        if self.status == "could_not_measure" and not self.reason:
            raise ValueError("a run that could not be measured says why")
        return self


def read_result(path: Path, *, run_id: str, model: str, suite: str, exit_code: int) -> ChildOutcome | None:
    """Read the result that a child which ended with `exit_code` left at `path`; None if it left none.

    Raises:
        ChildFailed: the file is too large, cannot be read, contradicts itself or tells of another run.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RESULT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ChildFailed(f"its result cannot be read: {error.strerror}", subject=model) from error
    if len(raw) > MAX_RESULT_BYTES:
        raise ChildFailed(f"its result is larger than {MAX_RESULT_BYTES} bytes", subject=model)
    try:
        outcome = ChildOutcome.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ChildFailed(f"its result is broken: {where}: {first['msg']}", subject=model) from error
    wanted = {"run_id": run_id, "model": model, "suite": suite, "exit_code": exit_code}
    for name, value in wanted.items():
        if getattr(outcome, name) != value:
            told = getattr(outcome, name)
            raise ChildFailed(f"its result is of another run: {name} is {told!s}, not {value!s}", subject=model)
    return outcome
