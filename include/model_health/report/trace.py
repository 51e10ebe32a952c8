"""The report of one canary prompt: the v0.3.0 trace, field for field, and `model_health`, the one field of ours.

Owns the top level and the rule that every null of a measured field has a reason. Knows not how a trace is measured,
written or stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, Field, ValidationInfo, model_validator

from model_health.report.base import MEASURED, Extensions, Frozen
from model_health.report.extension import HealthExtension
from model_health.report.facts import (
    GeneratedText,
    ModelInfo,
    PromptText,
    RunConfig,
    TraceSummary,
    TraceWarning,
)
from model_health.report.nulls import Gap, Reasons, gaps_in
from model_health.report.prompt import HealthFlags, PromptAnalysis
from model_health.report.steps import LayerSummary, TimelineStep

SCHEMA_VERSION: Final = "0.3.0"


@dataclass(frozen=True)
class FoundGaps:
    """Context of a validation by whoever has just searched the very same values: the search is not made twice."""

    gaps: tuple[Gap, ...]


class TraceBody(Frozen):
    """The v0.3.0 trace's own fields. `encoder_layers` is null for a model without an encoder."""

    schema_version: Literal["0.3.0"] = SCHEMA_VERSION
    trace_id: str
    created_at_utc: AwareDatetime
    model: ModelInfo
    run_config: RunConfig
    prompt: PromptText
    generated: GeneratedText
    timeline: tuple[TimelineStep, ...] = ()
    summary: TraceSummary
    warnings: tuple[TraceWarning, ...] = ()
    encoder_layers: tuple[LayerSummary, ...] | None = None
    prompt_analysis: Annotated[PromptAnalysis | None, MEASURED] = None
    health_flags: Annotated[HealthFlags | None, MEASURED] = None
    extensions: Extensions = Field(default_factory=dict)


class Trace(TraceBody):
    """One report: a v0.3.0 trace and what this library adds to it.

    Raises:
        ValidationError: a field is wrong, or a null has no reason in `model_health.not_measured`.
    """

    model_health: HealthExtension

    @model_validator(mode="after")
    def _every_null_has_a_reason(self, info: ValidationInfo) -> Self:
        reasons = Reasons(self.model_health.not_measured)
        gaps = info.context.gaps if isinstance(info.context, FoundGaps) else self.gaps()
        silent = list(islice((gap for gap in gaps if reasons.find(gap) is None), 3))
        if silent:
            named = "; ".join(f"{gap.part} step={gap.step} layer={gap.layer}" for gap in silent)
            raise ValueError(f"null without a reason in model_health.not_measured: {named}")
        return self

    def gaps(self) -> list[Gap]:
        """Every null of a measured field."""
        return list(gaps_in(Trace, self.__dict__))

    def why_null(self, part: str, *, step: int | None = None, layer: int | None = None) -> str | None:
        """Why a field is null, or None where no entry says.

        Args:
            part: dotted field path without list indices, such as `timeline.logits_summary.entropy`.
            step: position in the timeline.
            layer: layer index.
        """
        return Reasons(self.model_health.not_measured).find(Gap(part, step, layer))
