"""Gate rules: what of a model is judged, at which level, over how many runs, and who owns the answer. `gates.yaml`.

Owns the keys of `configs/gates.yaml` and their loading. Evaluates nothing, and does not know the metric catalogue:
`gates.rules` holds metric names against it. The monitors are rendered from the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from model_health.config.alerting import Glob, Route, Silence, Tier, TransportsConfig
from model_health.config.base import ConfigModel, ShortText, Slug, StrictBool, StrictFloat, StrictInt
from model_health.config.flags import Flag
from model_health.config.overrides import apply_override, place_overrides
from model_health.config.problems import config_error
from model_health.config.regression import RegressionConfig
from model_health.config.settings import Settings, load_settings
from model_health.config.yaml_files import read_yaml
from model_health.errors import ConfigError

GATES_FILE: Final = "gates.yaml"

Condition = Literal[
    "could_not_measure",
    "report_invalid",
    "no_report",
    "no_comparison",
    "no_self_test",
    "no_check",
    "outbox_stuck",
    "baseline_verdict",
    "baseline_drift",
]
Aggregate = Literal["count", "fraction", "max", "min", "mean"]
FRESHNESS: Final = frozenset({"no_report", "no_comparison", "no_self_test", "no_check", "outbox_stuck"})
"""Conditions that are judged by the clock, not by a run: `gates.freshness` evaluates them."""

COMPARED: Final = frozenset({"baseline_verdict", "baseline_drift"})
"""Conditions that are judged by comparisons with the promoted baseline: `gates.compared` evaluates them."""

Runs = Annotated[StrictInt, Field(ge=1, le=100)]
Level = StrictFloat


class GateRule(ConfigModel):
    """One gate. Exactly one of `metric`, `flags` and `condition` says what is looked at.

    The value of one run: a metric's `max`, `min` or `mean` over prompts; for flags the `count` or `fraction` of prompts
    that raise any of them without tolerating it; for `could_not_measure` and `report_invalid` 1 or 0; for `no_report`
    the seconds since the last valid report, for `no_comparison` since the last night that was compared and settled (of
    models with a promoted baseline), for `no_self_test` since the last self-test, for `no_check` since somebody last
    looked at the clock; for `outbox_stuck` the seconds for which the oldest item has been waiting; for
    `baseline_verdict` what the regression policy made of the newest comparison: 0 pass, 1 warn, 2 fail; for
    `baseline_drift` how far the drift chart of the nights has moved, where 1 is its limit.
    A run breaches a level strictly: `above` means value > level, so `fail: 0` on a count is "any prompt at all".
    The verdict is fail (warn) when at least `for_runs` of the last `of_last` runs breach that level.
    """

    name: Slug
    metric: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")] | None = None
    flags: tuple[Flag, ...] = ()
    condition: Condition | None = None
    models: Glob = "*"
    suites: Glob = "*"
    warn: Level | None = None
    fail: Level | None = None
    direction: Literal["above", "below"] = "above"
    aggregate: Aggregate = Field(default="count", description="A metric's default is max; flags and conditions count.")
    min_measured: Annotated[StrictFloat, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="Share of prompts that must have a value; with less the run says nothing."
    )
    for_runs: Runs = 1
    of_last: Runs = 1
    page_immediately: StrictBool = Field(
        default=False, description="The newest run alone can fail this gate, whatever for_runs says."
    )
    tier: Tier = Field(description="What a failure means for the run: critical fails it, supporting warns.")
    owner: ShortText
    runbook: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")] = Field(
        description="Anchor of the section of RUNBOOK.md."
    )
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(description="Why this gate exists.")

    @model_validator(mode="before")
    @classmethod
    def _metrics_take_their_largest_value(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("metric") is not None and "aggregate" not in values:
            return {**values, "aggregate": "max"}
        return values

    @model_validator(mode="after")
    def _is_one_gate(self) -> GateRule:
        if (self.metric is not None) + bool(self.flags) + (self.condition is not None) != 1:
            raise ValueError("needs exactly one of metric, flags and condition")
        if self.metric is not None and self.aggregate not in ("max", "min", "mean"):
            raise ValueError("a metric is aggregated by max, min or mean")
        if self.flags and self.aggregate not in ("count", "fraction"):
            raise ValueError("flags are aggregated by count or fraction")
        if self.condition is not None and self.aggregate != "count":
            raise ValueError("a condition has no aggregate")
        if len(set(self.flags)) != len(self.flags):
            raise ValueError("a flag is given twice")
        return self

    @model_validator(mode="after")
    def _levels_make_sense(self) -> GateRule:
        if self.warn is None and self.fail is None:
            raise ValueError("needs a warn level, a fail level or both")
        if self.warn is not None and self.fail is not None and self.breaches(self.warn, self.fail):
            raise ValueError(f"fail ({self.fail}) must not be reached before warn ({self.warn})")
        if self.for_runs > self.of_last:
            raise ValueError(f"for_runs ({self.for_runs}) cannot exceed of_last ({self.of_last})")
        if self.condition in COMPARED and (self.of_last != 1 or self.direction != "above"):
            raise ValueError(f"{self.condition} is judged above a level, by the newest comparison alone")
        if self.condition == "baseline_drift":
            fail, warn = 1.0 if self.fail is None else self.fail, 0.0 if self.warn is None else self.warn
            if not (1.0 <= fail < 2.0 and 0.0 <= warn < 1.0):
                # At 1 the chart spends its share of the alarm budget; below, it would spend more.
                raise ValueError("baseline_drift fails at 1 or above (below 2), and warns below 1")
        if self.page_immediately and self.fail is None:
            raise ValueError("page_immediately needs a fail level")
        return self

    @property
    def by_clock(self) -> bool:
        """Whether the gate is judged by the clock (see `FRESHNESS`), not by runs."""
        return self.condition in FRESHNESS

    @property
    def by_comparison(self) -> bool:
        """Whether the gate is judged by comparisons with a baseline (see `COMPARED`), not by every run."""
        return self.condition in COMPARED

    def covers(self, model: str, suite: str) -> bool:
        """Whether this gate judges this model on this suite."""
        return fnmatchcase(model, self.models) and fnmatchcase(suite, self.suites)

    def breaches(self, value: float, level: float | None) -> bool:
        """Whether `value` lies strictly beyond `level`; False where there is no such level."""
        if level is None:
            return False
        return value > level if self.direction == "above" else value < level


class GatesConfig(ConfigModel):
    """All of `gates.yaml`. `rules` are by name; a rule's key is its name."""

    include_prompt_text: StrictBool = Field(
        default=False, description="Whether alerts may quote the prompts and outputs at fault."
    )
    renotify_after_hours: Annotated[StrictFloat, Field(gt=0.0, le=720.0)] = Field(
        default=12.0, description="An alert that still stands is sent again after this long."
    )
    recover_after_runs: Runs = Field(
        default=2, description="An alert recovers after this many passing runs in a row: one that flaps stays raised."
    )
    runbook_url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)] | None = Field(
        default=None, description="Where RUNBOOK.md can be read, for links; null: the file's name."
    )
    inconclusive_runs: Runs = Field(
        default=3, description="A gate that stays inconclusive for this many runs raises an alert of its own."
    )
    rules: dict[Slug, GateRule]
    regression: RegressionConfig = Field(
        default=RegressionConfig(), description="What a comparison with a baseline means for a use."
    )
    routes: tuple[Route, ...] = ()
    silences: tuple[Silence, ...] = ()
    transports: TransportsConfig = TransportsConfig()

    @field_validator("rules", mode="before")
    @classmethod
    def _keys_are_names(cls, rules: Any) -> Any:
        if not isinstance(rules, dict):
            return rules
        named: dict[Any, Any] = {}
        for name, rule in rules.items():
            if isinstance(rule, dict) and rule.get("name", name) != name:
                raise ValueError(f"rule '{name}' calls itself '{rule['name']}': leave its name out")
            named[name] = {**rule, "name": name} if isinstance(rule, dict) else rule
        return named

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> GatesConfig:
        for route in self.routes:
            for target in route.transports:
                if not self.transports.has(target):
                    raise ValueError(f"a route names '{target}', which is not under transports")
        return self

    @property
    def by_name(self) -> Mapping[str, GateRule]:
        """The rules by name, read-only."""
        return MappingProxyType(self.rules)

    def rules_for(self, model: str, suite: str) -> tuple[GateRule, ...]:
        """The gates that judge this model on this suite, in the order of the file."""
        return tuple(rule for rule in self.rules.values() if rule.covers(model, suite))


def load_gates(settings: Settings | None = None) -> GatesConfig:
    """Read `configs/gates.yaml`, with overrides from MODEL_HEALTH_GATES__<key>.

    Raises:
        ConfigError: the file is missing or wrong. A missing file is never "no gates": that would let everything pass.
    """
    settings = load_settings() if settings is None else settings
    path = settings.configs_dir / GATES_FILE
    if not path.exists():
        hint = "take the project's own, or write `rules: {}` to judge nothing"
        raise ConfigError("is missing, so nothing could be judged", subject=str(path), hint=hint)
    document = read_yaml(path, relative_to=settings.home)
    content = document.data
    if not isinstance(content, dict):
        raise ConfigError("holds no mapping of gate keys", subject=document.where())
    overrides = [(override.path, override) for override in settings.overrides if override.section == "gates"]
    for override_path, override in overrides:
        content = apply_override(content, override_path, override)
    where = place_overrides(document.where, overrides)
    try:
        return GatesConfig.model_validate(content)
    except ValidationError as error:
        raise config_error(error, GatesConfig, where) from error
