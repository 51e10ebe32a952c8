"""What an answer to "is this still the model we accepted?" means for a use: the `regression` part of gates.yaml.

Owns the answers' names, the policy's keys and the figures of the statistics. Compares and judges nothing: `baseline`
does.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from model_health.config.alerting import Glob, Tier
from model_health.config.base import ConfigModel, ShortText, Slug, StrictBool, StrictFloat, StrictInt

Outcome = Literal["pass", "warn", "fail", "inconclusive"]
"""The values of `gates.result.GateVerdict`."""
Use = Literal["nightly", "revision", "quantization", "upgrade"]
"""nightly: the accepted weights again. The others promote a candidate: new weights, a quantised copy, new libraries."""


class Answer(StrEnum):
    """What a comparison with a baseline comes to. Members are strings, so they serialise as their names."""

    IDENTICAL = "identical"
    EQUIVALENT = "equivalent"
    CHANGED = "changed"
    DEGRADED = "degraded"
    BROKEN = "broken"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not_comparable"


UNDECIDED = frozenset({Answer.INCONCLUSIVE, Answer.NOT_COMPARABLE})
"""Answers that no policy may pass: nothing was shown."""


class RegressionRule(ConfigModel):
    """What the answers mean for some uses of some models. The first rule that covers a comparison judges it.

    Beside the answer, three findings can only worsen the verdict; null leaves it as the answer has it.
    """

    name: Slug
    uses: Annotated[tuple[Use, ...], Field(min_length=1)]
    models: Glob = "*"
    suites: Glob = "*"
    answers: dict[Answer, Outcome] = Field(description="All seven answers.")
    same_key_differs: Outcome | None = Field(
        default=None, description="Same model, libraries, device and shape, but other bits."
    )
    weights_differ: Outcome | None = Field(default=None, description="The digest of the weights is another one.")
    moved_undecided: Outcome | None = Field(
        default=None, description="Beyond tolerance for certain, while harm could be neither shown nor excluded."
    )
    tier: Tier = Field(description="What a failure means: critical fails, supporting warns, advisory informs.")
    owner: ShortText
    runbook: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")] = Field(
        description="Anchor of the section of RUNBOOK.md."
    )
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(description="Why it is so.")

    @model_validator(mode="after")
    def _says_what_every_answer_means(self) -> RegressionRule:
        missing = [str(answer) for answer in Answer if answer not in self.answers]
        if missing:
            raise ValueError(f"answers lacks {', '.join(missing)}")
        for answer in (Answer.BROKEN, *sorted(UNDECIDED)):
            if self.answers[answer] == "pass":
                raise ValueError(f"answers.{answer} cannot be pass: that would let a model through unseen")
        if self.answers[Answer.IDENTICAL] != "pass":
            raise ValueError("answers.identical is pass: there is nothing to hold against the model")
        return self

    def covers(self, use: Use, model: str, suite: str) -> bool:
        """Whether this rule judges this model on this suite for this use."""
        return use in self.uses and fnmatchcase(model, self.models) and fnmatchcase(suite, self.suites)


class RegressionStatistics(ConfigModel):
    """The figures behind the answers. The defaults are those of the shipped file."""

    golden_margin_bits: Annotated[StrictFloat, Field(gt=0.0, le=10.0)] = Field(
        default=0.02, description="Bits per token of golden text by which a model may be worse and still do."
    )
    nights_per_false_page: Annotated[StrictFloat, Field(ge=1.0, le=3650.0)] = 90.0
    drift_share: Annotated[StrictFloat, Field(gt=0.0, lt=1.0)] = Field(
        default=0.25, description="Part of the alarm budget that the drift charts may spend."
    )
    confidence: Annotated[StrictFloat, Field(gt=0.5, lt=1.0)] = Field(
        default=0.95, description="Of the intervals that are shown, and that exclude harm."
    )
    power: Annotated[StrictFloat, Field(gt=0.5, lt=1.0)] = Field(
        default=0.8, description="For the minimum detectable effect and the number of prompts that would decide."
    )
    ewma_weight: Annotated[StrictFloat, Field(gt=0.0, le=1.0)] = Field(
        default=0.2, description="Weight of the newest night in a drift chart (lambda)."
    )
    history_nights: Annotated[StrictInt, Field(ge=10, le=3650)] = Field(
        default=60, description="Healthy nights before a drift chart is drawn; few estimate a deviation badly."
    )


class RegressionConfig(ConfigModel):
    """The `regression` part. Rules are by name, in order; a rule's key is its name."""

    quote_text: StrictBool = Field(
        default=True, description="Whether flip reports in the store quote text; else they only count, as alerts do."
    )
    statistics: RegressionStatistics = RegressionStatistics()
    rules: dict[Slug, RegressionRule] = Field(default_factory=dict)

    @field_validator("rules", mode="before")
    @classmethod
    def _keys_are_names(cls, rules: Any) -> Any:
        if not isinstance(rules, Mapping):
            return rules
        return {name: {**rule, "name": name} if isinstance(rule, Mapping) else rule for name, rule in rules.items()}

    def rule_for(self, use: Use, model: str, suite: str) -> RegressionRule | None:
        """The first rule that covers it; None: nothing says what an answer means."""
        return next((rule for rule in self.rules.values() if rule.covers(use, model, suite)), None)
