"""The manifest of one run of one model over one suite: what ran, on what, with which reports, and how it ended.

Small enough to be read whole; everything larger lies in the reports that it names by URI and digest. A run that could
not measure has a manifest too: with the reason, and with no prompts that were not measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, Field, FiniteFloat, model_validator

from model_health.errors import ExitCode
from model_health.report.base import LEFT_OUT, Frozen
from model_health.report.extension import SuiteIdentity
from model_health.report.facts import TraceWarning
from model_health.report.identity import ModelIdentity
from model_health.report.performance import PerformanceRecord

MANIFEST_VERSION: Final = "1.0.0"

Status = Literal["measured", "could_not_measure"]
Verdict = Literal["healthy", "unhealthy", "could_not_measure", "inconclusive"]

EXIT_CODES: dict[Verdict, ExitCode] = {
    "healthy": ExitCode.HEALTHY,
    "unhealthy": ExitCode.UNHEALTHY,
    "could_not_measure": ExitCode.COULD_NOT_MEASURE,
    "inconclusive": ExitCode.INCONCLUSIVE,
}


class AirflowIds(Frozen):
    """The task instance that ran, where Airflow did it."""

    dag_id: str
    run_id: str
    task_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None


class PromptEntry(Frozen):
    """One prompt's line in the manifest. Null numbers are explained in the report's `not_measured`.

    `digest` is of the stored bytes. `unhealthy_flags` are those of `flags` that make a run unhealthy and
    that the prompt does not tolerate.
    """

    prompt_id: str
    group: str
    report_uri: str
    digest: str
    prompt_tokens: int = Field(ge=0)
    generated_tokens: int = Field(ge=0)
    flags: tuple[str, ...] = ()
    tolerated: tuple[str, ...] = ()
    unhealthy_flags: tuple[str, ...] = ()
    loop_period: int | None = None
    entropy_bits_mean: FiniteFloat | None = None
    entropy_bits_max: FiniteFloat | None = None
    time_to_first_token_seconds: FiniteFloat | None = None
    time_per_output_token_seconds: FiniteFloat | None = None

    @model_validator(mode="after")
    def _unhealthy_is_raised_and_not_tolerated(self) -> Self:
        if not set(self.unhealthy_flags) <= set(self.flags) - set(self.tolerated):
            raise ValueError(f"prompt {self.prompt_id}: an unhealthy flag was not raised, or is tolerated")
        return self


class Overhead(Frozen):
    """What the probes cost, measured (`--perf strict`) on one batch after a warm-up."""

    plain_seconds: FiniteFloat = Field(gt=0)
    instrumented_seconds: FiniteFloat = Field(gt=0)
    plain_peak_memory_bytes: int | None = None
    instrumented_peak_memory_bytes: int | None = None
    batch_size: int | None = None

    @property
    def ratio(self) -> float:
        """Instrumented over plain: 1.05 is 5 % slower."""
        return self.instrumented_seconds / self.plain_seconds


class Manifest(Frozen):
    """One (model, suite, run).

    Raises:
        ValidationError: a field is wrong; a run that could not measure gives no reason; verdict and prompts disagree.
    """

    manifest_version: Literal["1.0.0"] = MANIFEST_VERSION
    run_id: str
    model_name: str
    suite: SuiteIdentity
    airflow: AirflowIds | None = None
    status: Status
    reason: str | None = None
    log_tail: str | None = None
    verdict: Verdict
    started_at: AwareDatetime
    ended_at: AwareDatetime
    model: ModelIdentity | None = None
    prompts: tuple[PromptEntry, ...] = ()
    performance: PerformanceRecord | None = None
    peak_memory_bytes: int | None = Field(default=None, ge=0)
    overhead: Overhead | None = None
    warnings: Annotated[tuple[TraceWarning, ...] | None, LEFT_OUT] = Field(
        default=None, description="What is odd about the model as it was loaded; left out where nothing is."
    )

    @model_validator(mode="after")
    def _status_and_verdict_agree(self) -> Self:
        if self.ended_at < self.started_at:
            raise ValueError("ended_at lies before started_at")
        if (self.status == "could_not_measure") != (self.verdict == "could_not_measure"):
            raise ValueError(f"status {self.status} and verdict {self.verdict} contradict each other")
        if self.verdict in ("could_not_measure", "inconclusive") and not self.reason:
            raise ValueError(f"a run that is {self.verdict} needs a reason")
        sick = any(prompt.unhealthy_flags for prompt in self.prompts)
        if self.verdict == "healthy" and (sick or not self.prompts):
            raise ValueError("a healthy run has prompts, and none with an unhealthy flag")
        return self

    @property
    def flags(self) -> dict[str, int]:
        """How many prompts raised each flag, tolerated or not, by name."""
        return dict(sorted(Counter(flag for prompt in self.prompts for flag in prompt.flags).items()))

    @property
    def unhealthy_flags(self) -> dict[str, int]:
        """How many prompts raised each flag that they do not tolerate, by name."""
        return dict(sorted(Counter(flag for prompt in self.prompts for flag in prompt.unhealthy_flags).items()))

    @property
    def exit_code(self) -> ExitCode:
        """What a process that ran this ends with."""
        return EXIT_CODES[self.verdict]


def verdict_of(prompts: Iterable[PromptEntry]) -> Verdict:
    """Healthy or unhealthy from the prompts' flags; could_not_measure where there are no prompts."""
    entries = tuple(prompts)
    if not entries:
        return "could_not_measure"
    return "unhealthy" if any(entry.unhealthy_flags for entry in entries) else "healthy"
