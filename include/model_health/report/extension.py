"""What this library adds to a v0.3.0 trace: one typed field, `model_health`, with a version of its own.

It states findings, never a verdict: what a prompt tolerates is recorded beside the flags, and gates decide.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from model_health.config.thresholds import Thresholds
from model_health.metrics.findings import Kind, Place, Witness
from model_health.report.base import MEASURED, Frozen, LayerSeries, Number, StepSeries
from model_health.report.performance import PerformanceRecord
from model_health.report.router import RouterHealth

EXTENSION_VERSION: Final = "1.1.0"
"""1.1.0 added `router`. A report of 1.0.0 is read as one whose routers were not measured."""

Layout = Literal["blocks", "embedding_first"]
"""What `layers[0]` was in a converted file: the first block, or the embedding output with the last block missing."""


class NotMeasured(Frozen):
    """Why a part of the report holds no value.

    `part` is a dotted field path without list indices, such as `timeline.layers.attention_summary`; it stands for
    everything below it. `layer` and `step` (position in the timeline, 0 is the prefill) narrow it; null means all.
    """

    part: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    layer: int | None = None
    step: int | None = None


class Loop(Frozen):
    """A stretch of the generation that repeats itself; see `metrics.findings.LoopFinding`."""

    period: int = Field(ge=1)
    start_step: int = Field(ge=0)
    length: int = Field(ge=1)
    witness: Witness


class NonFinite(Frozen):
    """First sighting of a kind of non-finite value; see `metrics.findings.NonFiniteFinding`."""

    where: Place
    kind: Kind
    step: int | None = None
    layer: int | None = None


class SuiteIdentity(Frozen):
    """The canary suite, pinned by its digest."""

    name: str
    version: str
    digest: str


class Timing(Frozen):
    """Latencies of the batch that the prompt was part of."""

    time_to_first_token_seconds: Number = None
    time_per_output_token_seconds: Number = None
    batch_size: int | None = None


class ReportThresholds(Frozen):
    """The thresholds behind counts in the report, so that the numbers can be read later."""

    collapse_entropy_nats: FiniteFloat
    focused_max_weight: FiniteFloat
    high_entropy_bits: FiniteFloat

    @classmethod
    def of(cls, thresholds: Thresholds) -> Self:
        """The part of a model's thresholds that the report's own counts need."""
        return cls(
            collapse_entropy_nats=thresholds.collapse_entropy_nats,
            focused_max_weight=thresholds.focused_max_weight,
            high_entropy_bits=thresholds.high_entropy_bits,
        )


class ConvertedFrom(Frozen):
    """Where a converted report came from: its format version, layer layout and the digest of the JSON it held."""

    schema_version: str
    layout: Layout
    sha256: str


class HealthExtension(Frozen):
    """Everything of ours. Identity fields are null in a converted file, which knew none of them.

    `vocab_size` is the width of the model's distributions (rows of its output layer, padding rows included), which
    bounds every entropy; null where it was not recorded.

    `flags` were raised, `tolerated` are those that the prompt may raise, `failing` those that make a run unhealthy (the
    others inform). `final_hidden_l2_norm` has one value per step, `attention_entropy_bits` one per layer (mean over
    steps and heads, rows with at least 2 visible keys). `non_finite_steps` and `non_finite_layers` count what
    `non_finite` locates.
    """

    version: Literal["1.1.0"] = EXTENSION_VERSION
    run_id: str | None = None
    model_name: str | None = None
    suite: SuiteIdentity | None = None
    vocab_size: int | None = Field(default=None, ge=1)
    prompt_id: str | None = None
    group: str | None = None
    flags: tuple[str, ...] = ()
    tolerated: tuple[str, ...] = ()
    failing: Annotated[tuple[str, ...] | None, MEASURED] = None
    stopped_by: Annotated[Literal["eos", "length", "other"] | None, MEASURED] = None
    loops: Annotated[tuple[Loop, ...] | None, MEASURED] = None
    non_finite: tuple[NonFinite, ...] = ()
    non_finite_steps: Annotated[int | None, MEASURED] = None
    non_finite_layers: Annotated[int | None, MEASURED] = None
    sequence_perplexity: Number = None
    final_hidden_l2_norm: StepSeries = ()
    attention_entropy_bits: LayerSeries = ()
    router: Annotated[RouterHealth | None, MEASURED] = None
    timing: Timing = Timing()
    thresholds: ReportThresholds | None = None
    performance: PerformanceRecord | None = None
    not_measured: tuple[NotMeasured, ...] = ()
    converted_from: ConvertedFrom | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_version(cls, content: Any) -> Any:
        """A 1.0.0 extension knew no routers; everything else in it means the same."""
        if not isinstance(content, dict) or content.get("version") != "1.0.0":
            return content
        said = content.get("not_measured", ())
        missing = {"part": "model_health.router", "reason": "absent from an extension of version 1.0.0"}
        if not isinstance(said, (list, tuple)):
            return content
        return {**content, "version": EXTENSION_VERSION, "not_measured": [*said, missing]}

    @property
    def unhealthy_flags(self) -> tuple[str, ...] | None:
        """Flags that were raised, that make a run unhealthy, and that the prompt does not tolerate; None if unknown."""
        if self.failing is None:
            return None
        return tuple(flag for flag in self.flags if flag in self.failing and flag not in self.tolerated)
