"""Which catalogued metric is found where in the frames that are validated, and which nulls need a reason.

Generated from the catalogue's `report_path`s and the marks on the report's models: a metric that is added there is
validated without a line here. Knows neither pandas nor Great Expectations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from model_health.catalog.loader import catalogue
from model_health.catalog.metric import Metric
from model_health.config.flags import ALL_FLAGS
from model_health.report.nulls import measured_fields
from model_health.report.steps import AttentionSummary, HiddenSummary, LayerSummary, LogitsSummary

LOGITS = "timeline.logits_summary"
HIDDEN = "timeline.layers.hidden_summary"
ATTENTION = "timeline.layers.attention_summary"

SMALLEST, LARGEST = "_smallest", "_largest"
"""Suffixes of the two columns that stand for all values of a metric of which a report holds a list."""
REASON = "_has_reason"
"""Suffix of the column that says whether a null beside it is explained; true where there is no null."""


@dataclass(frozen=True)
class CellColumn:
    """One field of a summary, as a column.

    Args:
        column: the metric's name where it is catalogued, else the field's.
        field: its name in the summary.
        needs_reason: whether its null must be explained.
        metric: the catalogue's entry, if there is one.
    """

    column: str
    field: str
    needs_reason: bool
    metric: Metric | None


@dataclass(frozen=True)
class ListColumn:
    """A metric of which one report holds many values outside its steps and layers: `path` leads to them."""

    metric: Metric
    path: tuple[str, ...]


@cache
def step_columns() -> tuple[CellColumn, ...]:
    """What the `steps` frame takes from a step's logit summary."""
    return _cells(LOGITS, LogitsSummary)


@cache
def hidden_columns() -> tuple[CellColumn, ...]:
    """What the `layers` frame takes from a layer's hidden summary."""
    return _cells(HIDDEN, HiddenSummary)


@cache
def attention_columns() -> tuple[CellColumn, ...]:
    """What the `layers` frame takes from a layer's self- or cross-attention summary."""
    return _cells(ATTENTION, AttentionSummary)


@cache
def layer_flags() -> tuple[str, ...]:
    """Fields of a layer itself whose null needs a reason (they hold models, not numbers)."""
    return tuple(sorted(measured_fields(LayerSummary)))


@cache
def list_columns() -> tuple[ListColumn, ...]:
    """Token and layer metrics that are in neither frame: lists, of which only the extremes are looked at."""
    taken = {cell.metric.name for cell in (*step_columns(), *hidden_columns(), *attention_columns()) if cell.metric}
    metrics = catalogue().of_scope("token", "layer")
    return tuple(ListColumn(m, tuple(m.report_path.split("."))) for m in metrics if m.name not in taken)


def _cells(prefix: str, model: type[LogitsSummary | HiddenSummary | AttentionSummary]) -> tuple[CellColumn, ...]:
    """Every measured field of a summary, and every other one that the catalogue names."""
    named = {
        metric.report_path.removeprefix(f"{prefix}."): metric
        for metric in catalogue().of_scope("token", "layer")
        if metric.report_path.startswith(f"{prefix}.")
    }
    measured = measured_fields(model)
    fields = [name for name in model.model_fields if name in measured or name in named]
    return tuple(
        CellColumn(named[name].name if name in named else name, name, name in measured, named.get(name))
        for name in fields
    )


FRAMES = ("run", "metrics", "reports", "steps", "layers")
"""The frames, from the whole to its parts."""

RUN_TEXTS = (
    "manifest_problem",
    "folder",
    "expected_folder",
    "manifest_digest",
    "index_digest",
    "verdict",
    "verdict_of_prompts",
)
RUN_NUMBERS = ("prompts_if_measured", "prompts", "reports", "prompts_unhealthy", "reports_unhealthy")

IDENTITY = ("run_id", "model_name", "suite", "prompt_id", "group")
"""Columns in which a report says whose it is; `manifest_*` beside them is what the manifest says."""
RESTATED = (
    "prompt_tokens",
    "generated_tokens",
    "entropy_bits_mean",
    "entropy_bits_max",
    "time_to_first_token_seconds",
    "time_per_output_token_seconds",
    "loop_period_tokens",
)
"""Metrics that the manifest states again: `restated_*` is the report's value, `manifest_*` beside it the manifest's."""
RESTATED_FLAGS = ("flags", "tolerated", "unhealthy_flags")

REPORT_TEXTS = (
    *("name", "exists", "listed", "in_place", "problem", "schema_version", "digest", "manifest_digest", "trace_id"),
    *IDENTITY,
    *(f"manifest_{name}" for name in IDENTITY),
    *RESTATED_FLAGS,
    *(f"manifest_{name}" for name in RESTATED_FLAGS),
    *("unknown_flags", "disagreeing_flags", "unexplained_null"),
)
"""Columns of the `reports` frame that hold text or yes and no."""

REPORT_COUNTS = (
    *("layers", "heads", "vocab", "log2_vocab", "log2_keys", "ln_keys"),
    *("experts", "log2_experts"),
    *("prompt_num_tokens", "prompt_token_ids", "generated_num_tokens", "generated_token_ids", "generated_steps"),
    *("total_steps", "prompt_and_generated", "max_new_tokens", "timeline_steps", "norms", "attention_layers"),
    *("transformations", "layers_less_one", "surprisals", "prompt_less_one", "largest_token_id", "vocab_less_one"),
    *("loop_end", "high_entropy_counted", "high_entropy_fraction", "high_entropy_allowed"),
)


@cache
def report_numbers() -> tuple[str, ...]:
    """Columns of the `reports` frame that hold numbers."""
    names = (
        *REPORT_COUNTS,
        *(f"{whose}_{name}" for name in RESTATED for whose in ("restated", "manifest")),
        *(metric.name for metric in catalogue().of_scope("prompt")),
        *(column.metric.name + suffix for column in list_columns() for suffix in (SMALLEST, LARGEST)),
        *(f"alarming_{flag}" for flag in ALL_FLAGS),
    )
    return tuple(dict.fromkeys(names))
