"""What a catalogued metric states about itself: formula, unit, aggregation, bounds, source, place in the report.

Knows no values and no sink. Names follow Prometheus: a unit is part of the name, because a number without one is
read wrongly sooner or later.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Unit = Literal["bits", "nats", "seconds", "bytes", "tokens", "count", "fraction", "ratio", "tokens_per_second", "none"]
Scope = Literal["token", "layer", "prompt", "run", "operation"]
Bound = (
    float
    | Literal[
        "log2_vocab", "vocab", "ln_keys", "log2_keys", "heads", "layers", "generated_tokens", "experts", "log2_experts"
    ]
)
"""A number, or the name of a quantity that is known only with the model or the prompt at hand."""

NAMED_UNITS = frozenset({"bits", "nats", "seconds", "bytes"})
"""Units that a metric's name must contain: the others are plain from the word that is counted."""

PREFIX = "model_health_"


class Metric(BaseModel):
    """One metric. Frozen; unknown keys are refused.

    Args:
        name: snake_case, with unit and aggregation, such as `entropy_bits_mean`.
        title: what a chart's axis says, without the unit.
        kind: `gauge` (a measured number), `count` (of things) or `flag` (0 or 1).
        unit: see `Unit`; `fraction` lies in [0, 1], `ratio` does not need to.
        scope: what one value describes. Token and layer metrics live in the report only; prompt and run metrics
            are also emitted as samples; operation metrics tell how Model Health itself does, and are in no report.
        aggregation: over what, and how, single values were put together; `none` for a raw value.
        definition: the formula, in words and symbols.
        source: where the formula comes from.
        minimum, maximum: bounds that a healthy *and* a sick model must respect; None means unbounded.
        higher_is: whether a larger value is good news.
        report_path: dotted field path in the report or, for run metrics, in the manifest; for operation metrics, the
            part of the index that holds what is counted.
        nullable: why the value is typically null; None where it never is.
        labels: labels that a sample carries beside `model` and `suite`, each with few possible values; all labels of
            an operation metric, which need not be about a model.
        help: one sentence for a person who meets it in a dashboard.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    kind: Literal["gauge", "count", "flag"]
    unit: Unit
    scope: Scope
    aggregation: str
    definition: str
    source: str
    minimum: Bound | None = None
    maximum: Bound | None = None
    higher_is: Literal["better", "worse", "neutral"]
    report_path: str
    nullable: str | None = None
    labels: tuple[str, ...] = ()
    help: str

    @model_validator(mode="after")
    def _unit_is_in_the_name(self) -> Self:
        if self.unit in NAMED_UNITS and self.unit not in self.name.split("_"):
            raise ValueError(f"metric {self.name}: its unit {self.unit} must be part of its name")
        if self.unit == "fraction" and (self.minimum, self.maximum) != (0, 1):
            raise ValueError(f"metric {self.name}: a fraction lies between 0 and 1")
        return self

    @property
    def emitted(self) -> bool:
        """Whether values of this metric leave the report as samples."""
        return self.scope in ("prompt", "run", "operation")

    @property
    def prometheus_name(self) -> str:
        """Name of the series. All are gauges, so the `_total` that marks a counter is dropped."""
        return PREFIX + self.name.removesuffix("_total")

    @property
    def prometheus_help(self) -> str:
        """Help text of the series: one line, with the unit."""
        unit = "" if self.unit in ("none", "count") else f" Unit: {self.unit.replace('_', ' ')}."
        return f"{' '.join(self.help.split())}{unit}"
