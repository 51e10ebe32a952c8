"""What must hold of a run's reports, as data: generated from the catalogue and the report's models, not listed twice.

A rule names a frame, a check on its columns, a severity and a sentence. *Critical*: the report is not what it claims to
be. *Warning*: a threshold of the model's health. Which Great Expectations class a check becomes is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from model_health.catalog.loader import catalogue
from model_health.catalog.metric import Metric
from model_health.config.flags import ALL_FLAGS
from model_health.report.upgrade import READABLE
from model_health.validate.cells import ANOMALIES
from model_health.validate.columns import (
    FRAMES,
    IDENTITY,
    LARGEST,
    REASON,
    RESTATED,
    RESTATED_FLAGS,
    SMALLEST,
    attention_columns,
    hidden_columns,
    list_columns,
    step_columns,
)

Severity = Literal["critical", "warning"]

TOLERANCE = 1e-4
"""Of comparisons between numbers that were rounded to float32 on different ways: relative, and absolute near zero."""
ROUNDING = 1e-6
"""What float32 may leave beyond a bound: a cosine of 1.0000001, an entropy of -1e-7."""


@dataclass(frozen=True)
class Between:
    """Numbers between two bounds, both included. `where`: only rows that hold this value in this column."""

    column: str
    minimum: float | None
    maximum: float | None
    where: tuple[str, str] | None = None


@dataclass(frozen=True)
class UpTo:
    """Numbers no larger than the one beside them, and no smaller than a bound."""

    column: str
    limit: str
    minimum: float | None = None
    tolerance: float = 0.0


@dataclass(frozen=True)
class Agree:
    """Two numbers that must be the same but for rounding. `both`: a null beside a number does not agree with it."""

    column: str
    other: str
    tolerance: float = TOLERANCE
    both: bool = False


@dataclass(frozen=True)
class Same:
    """Two values of any kind that must be equal where neither is null."""

    column: str
    other: str


@dataclass(frozen=True)
class OneOf:
    """Values of a set; a null is not looked at."""

    column: str
    values: tuple[str | bool, ...]


@dataclass(frozen=True)
class Empty:
    """A column that says what is wrong, and so must hold nothing."""

    column: str


@dataclass(frozen=True)
class Unique:
    """No value twice."""

    column: str


@dataclass(frozen=True)
class Explained:
    """A null has a reason."""

    column: str
    reason: str


Check = Between | UpTo | Agree | Same | OneOf | Empty | Unique | Explained


@dataclass(frozen=True)
class Rule:
    """One expectation. `name` is unique over all frames; `metric` is the catalogue's, if it is about one."""

    name: str
    frame: str
    check: Check
    says: str
    severity: Severity = "critical"
    metric: str | None = None


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule, frame by frame."""
    rules = (*_run(), *_metrics(), *_reports(), *_health(), *_steps(), *_layers())
    assert len({rule.name for rule in rules}) == len(rules)
    assert [rule.frame for rule in rules] == sorted((rule.frame for rule in rules), key=FRAMES.index)
    return rules


def _run() -> Iterator[Rule]:
    def rule(name: str, check: Check, says: str) -> Rule:
        return Rule(f"run.{name}", "run", check, says)

    yield rule("manifest", Empty("manifest_problem"), "The manifest can be read and is well formed.")
    yield rule("folder", Same("folder", "expected_folder"), "The manifest lies in its own run's folder.")
    yield rule("manifest_digest", Same("manifest_digest", "index_digest"), "The manifest is the one in the index.")
    yield rule("not_empty", Between("prompts_if_measured", 1, None), "A run that measured has prompts.")
    yield rule("complete", Same("prompts", "reports"), "Every prompt of the manifest has a report.")
    yield rule("verdict", Same("verdict", "verdict_of_prompts"), "The verdict follows from the prompts' flags.")
    unhealthy = Same("prompts_unhealthy", "reports_unhealthy")
    yield rule("unhealthy", unhealthy, "The manifest counts as many unhealthy prompts as the reports do.")


def _metrics() -> Iterator[Rule]:
    for metric in catalogue().of_scope("run"):
        check = _range("value", metric, where=("metric", metric.name))
        if check is not None:
            yield Rule(f"metrics.{metric.name}.range", "metrics", check, _range_says(metric), metric=metric.name)


def _reports() -> Iterator[Rule]:
    def rule(name: str, check: Check, says: str) -> Rule:
        return Rule(f"reports.{name}", "reports", check, says)

    yield rule("found", OneOf("exists", (True,)), "Every report that the manifest names is in the store.")
    yield rule("listed", OneOf("listed", (True,)), "Every report in the run's folder is named by the manifest.")
    yield rule("in_place", OneOf("in_place", (True,)), "The manifest's URI leads to the report.")
    yield rule("readable", Empty("problem"), "The report can be read and has the published schema.")
    yield rule("schema_version", OneOf("schema_version", READABLE), "The schema version is one that can be read.")
    yield rule("digest", Same("digest", "manifest_digest"), "The stored bytes have the digest of the manifest.")
    yield rule("name_unique", Unique("name"), "No prompt has two reports.")
    yield rule("trace_unique", Unique("trace_id"), "No two reports have one trace id.")
    for name in IDENTITY:
        says = f"The report's {name} is the manifest's."
        yield rule(f"{name}.identity", Same(name, f"manifest_{name}"), says)
    yield from (rule(name, check, says) for name, check, says in _COUNTS)
    for name in RESTATED:
        says = f"The manifest restates {name} as the report has it."
        yield rule(f"{name}.restated", Agree(f"restated_{name}", f"manifest_{name}", ROUNDING, both=True), says)
    for name in RESTATED_FLAGS:
        yield rule(f"{name}.restated", Same(name, f"manifest_{name}"), f"The manifest restates {name} of the report.")
    yield rule("flags.known", Empty("unknown_flags"), "Every flag is a known one.")
    yield rule("flags.agree", Empty("disagreeing_flags"), "The flags say the same in every place of the report.")
    yield rule("nulls", Empty("unexplained_null"), "A null outside steps and layers has a reason.")
    for metric in catalogue().of_scope("prompt"):
        yield from _range_rule("reports", metric.name, metric)
    for column in list_columns():
        yield from _list_rules(column.metric)


_COUNTS: tuple[tuple[str, Check, str], ...] = (
    ("prompt.num_tokens", Same("prompt_num_tokens", "prompt_tokens"), "The prompt has as many tokens as stated."),
    ("prompt.token_ids", Same("prompt_token_ids", "prompt_tokens"), "Each token of the prompt has its id."),
    ("generated.num_tokens", Same("generated_num_tokens", "generated_tokens"), "As many tokens came as stated."),
    ("generated.token_ids", Same("generated_token_ids", "generated_tokens"), "Each generated token has its id."),
    ("generated.steps", Same("generated_steps", "generated_tokens"), "The timeline has a step per generated token."),
    (
        "total_steps",
        Same("total_steps", "prompt_and_generated"),
        "The steps are prompt and generated tokens.",
    ),
    ("generated.limit", UpTo("generated_tokens", "max_new_tokens"), "No more tokens came than were allowed."),
    ("final_norms", Same("norms", "timeline_steps"), "The final hidden norms have a value per step."),
    ("attention_entropies", Same("attention_layers", "layers"), "The attention entropies have a value per layer."),
    (
        "transformations",
        Same("transformations", "layers_less_one"),
        "There is a transformation per pair of layers.",
    ),
    ("prompt_surprisals", Same("surprisals", "prompt_less_one"), "Each prompt token after the first has a surprisal."),
    ("token_ids.vocab", UpTo("largest_token_id", "vocab_less_one"), "Every token id is one of the vocabulary."),
    ("loops.inside", UpTo("loop_end", "generated_tokens"), "A loop lies within the generation."),
    (
        "high_entropy_steps.counted",
        Same("high_entropy_counted", "high_entropy_steps"),
        "As many steps as stated are above the report's own entropy threshold.",
    ),
)


def _health() -> Iterator[Rule]:
    """Thresholds of the model's health, as configured now. They never make a report invalid."""
    check = UpTo("high_entropy_fraction", "high_entropy_allowed")
    says = "No more steps of a prompt are unsure than the model's threshold allows."
    yield Rule("reports.high_entropy.threshold", "reports", check, says, "warning", "high_entropy")
    for flag in ALL_FLAGS:
        says = f"No prompt raises {flag}, where it makes the model unhealthy and the prompt does not tolerate it."
        name = f"alarming_{flag}"
        yield Rule(f"reports.{flag}.healthy", "reports", Between(name, 0, 0), says, "warning", str(flag))


def _steps() -> Iterator[Rule]:
    def rule(name: str, check: Check, says: str) -> Rule:
        return Rule(f"steps.{name}", "steps", check, says)

    yield rule("step_index.monotone", Between("index_gap", 1, 1), "The steps follow one another.")
    yield rule("step_index.start", Same("step_index", "expected_index"), "The first step comes after the prompt.")
    yield rule("token_id", Same("token_id", "generated_id"), "A step's token is the one that was generated there.")
    yield rule("layers", Same("layers_in_step", "layers"), "A step has all layers of the model.")
    perplexity = Agree("effective_vocabulary_size", "two_to_entropy", 1e-3)
    yield rule("perplexity", perplexity, "A step's perplexity is 2 to the power of its entropy.")
    yield rule("margin.names", Agree("top1_top2_margin", "top_k_margin"), "Both names of the margin say the same.")
    yield rule("mass.names", Agree("topk_mass", "mass_again"), "Both names of the top-10 mass say the same.")
    yield rule(
        "margin.mass", UpTo("top1_top2_margin", "topk_mass", tolerance=TOLERANCE), "The margin is at most the mass."
    )
    yield rule("topk.sorted", Between("topk_rise", None, 0), "The likely tokens are sorted, the likeliest first.")
    yield rule("topk.margin", Agree("top1_top2_margin", "topk_margin"), "The margin is that of the likely tokens.")
    yield rule(
        "topk.mass", UpTo("topk_sum", "topk_mass", tolerance=TOLERANCE), "The likely tokens are part of the mass."
    )
    likeliest = UpTo("topk_surprisal_bits", "surprisal_bits", tolerance=1e-3)
    yield rule("topk.surprisal", likeliest, "No token is less surprising than the likeliest one.")
    for cell in step_columns():
        if cell.metric is not None:
            yield from _range_rule("steps", cell.column, cell.metric)
        if cell.needs_reason:
            yield _reason_rule("steps", cell.column)


def _layers() -> Iterator[Rule]:
    def rule(name: str, check: Check, says: str) -> Rule:
        return Rule(f"layers.{name}", "layers", check, says)

    yield rule("layer_index", Same("layer", "position"), "A step's layers are in order, none is missing.")
    for small, large in _ORDERED:
        yield rule(f"{small}.order", UpTo(small, large, tolerance=TOLERANCE), f"{small} is at most {large}.")
    for cell in (*hidden_columns(), *attention_columns()):
        if cell.metric is not None:
            yield from _range_rule("layers", cell.column, cell.metric)
        if cell.needs_reason:
            yield _reason_rule("layers", cell.column)
    yield _reason_rule("layers", ANOMALIES)


_ORDERED = (
    ("attention_entropy_nats_min", "attention_entropy_nats_mean"),
    ("attention_entropy_nats_mean", "attention_entropy_nats_max"),
    ("attention_concentration_min", "attention_concentration_max"),
    ("hidden_max_abs", "hidden_l2_norm"),
)


def _reason_rule(frame: str, column: str) -> Rule:
    return Rule(
        f"{frame}.{column}.null", frame, Explained(column, column + REASON), f"A null of {column} has a reason."
    )


def _range_rule(frame: str, column: str, metric: Metric) -> Iterator[Rule]:
    check = _range(column, metric)
    if check is not None:
        yield Rule(f"{frame}.{column}.range", frame, check, _range_says(metric), metric=metric.name)


def _list_rules(metric: Metric) -> Iterator[Rule]:
    """A list keeps its bounds where its extremes do."""
    low, high = metric.name + SMALLEST, metric.name + LARGEST
    exact = metric.kind != "gauge"
    slack = 0.0 if exact else ROUNDING
    if metric.minimum is not None:
        least = Between(low, _number(metric.minimum) - slack, None)
        yield Rule(f"reports.{low}.range", "reports", least, _range_says(metric), metric=metric.name)
    if isinstance(metric.maximum, str):
        up_to = UpTo(high, metric.maximum, tolerance=0.0 if exact else TOLERANCE)
        yield Rule(f"reports.{high}.range", "reports", up_to, _range_says(metric), metric=metric.name)
    elif metric.maximum is not None:
        most = Between(high, None, metric.maximum + slack)
        yield Rule(f"reports.{high}.range", "reports", most, _range_says(metric), metric=metric.name)


def _range(column: str, metric: Metric, where: tuple[str, str] | None = None) -> Check | None:
    """The catalogue's bounds as a check; None where it states none. Counts are exact, measurements round."""
    exact = metric.kind != "gauge"
    low = None if metric.minimum is None else _number(metric.minimum) - (0.0 if exact else ROUNDING)
    if isinstance(metric.maximum, str):
        return UpTo(column, metric.maximum, low, 0.0 if exact else TOLERANCE)
    high = None if metric.maximum is None else metric.maximum + (0.0 if exact else ROUNDING)
    return None if low is None and high is None else Between(column, low, high, where)


def _number(bound: float | str) -> float:
    assert not isinstance(bound, str), "no catalogued minimum depends on the model"
    return bound


def _range_says(metric: Metric) -> str:
    low = "any" if metric.minimum is None else f"{metric.minimum}"
    high = "no limit" if metric.maximum is None else f"{metric.maximum}"
    return f"{metric.title} ({metric.unit}) lies within {low} and {high}."
