"""What a dashboard shows, in no tool's language: rows of charts over catalogued metrics.

Owns the choice and its order: fleet, model, latency, flags, operation. Grafana's and Datadog's dashboards are drawn
from it, titles and units come from the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model_health.catalog.loader import catalogue
from model_health.catalog.metric import Metric
from model_health.catalog.published import LAST_SUCCESS, OverPrompts

Form = Literal["lines", "bars", "number", "state", "age"]


@dataclass(frozen=True)
class Chart:
    """One chart.

    Args:
        metric: in the catalogue.
        form: `state` shows 0 and 1 as words, `age` shows the time since the moment that the metric holds.
        over: which aggregates over prompts; empty for a metric that has one value per run.
        by: labels that tell its lines apart.
        width: of 24.
    """

    metric: Metric
    form: Form
    over: tuple[OverPrompts, ...] = ()
    by: tuple[str, ...] = ("model", "suite")
    width: int = 12

    @property
    def title(self) -> str:
        """The metric's title, with what is said of it."""
        return f"Time since: {self.metric.title.lower()}" if self.form == "age" else self.metric.title


@dataclass(frozen=True)
class Row:
    """Charts under a heading."""

    title: str
    charts: tuple[Chart, ...]


def rows() -> tuple[Row, ...]:
    """The whole dashboard."""
    return (
        Row(
            "Fleet",
            (
                _run("run_healthy", "state", width=8),
                _run("run_measured", "state", width=8),
                _run(LAST_SUCCESS, "age", width=8),
                _run("comparison_completed_timestamp_seconds", "age"),
                _run("self_test_completed_timestamp_seconds", "age"),
                _run("prompts_unhealthy", "bars"),
                _run("gate_verdict", "lines", by=("gate", "model", "suite")),
            ),
        ),
        Row(
            "Model",
            (
                _prompts("entropy_bits_mean", "mean", "max"),
                _prompts("surprisal_bits_mean", "mean", "max"),
                _prompts("hidden_l2_norm_middle_mean", "mean", "max"),
                _prompts("final_hidden_l2_norm_mean", "mean", "max"),
                _prompts("hidden_max_abs_max", "max"),
                _prompts("top1_top2_margin_mean", "mean", "min"),
                _run("peak_memory_bytes", "lines"),
                _run("run_duration_seconds", "lines"),
            ),
        ),
        Row(
            "Latency",
            (
                _prompts("time_to_first_token_seconds", "mean", "max"),
                _prompts("time_per_output_token_seconds", "mean", "max"),
                _run("output_tokens_per_second", "lines"),
                _run("stage_duration_seconds", "lines", by=("model", "suite", "stage")),
            ),
        ),
        Row(
            "Flags",
            (
                _run("prompts_flagged_untolerated", "bars", by=("model", "suite", "flag")),
                _run("prompts_flagged", "bars", by=("model", "suite", "flag")),
                _prompts("loop_length_tokens", "max"),
                _prompts("non_finite_steps", "max"),
            ),
        ),
        Row(
            "Operation",
            (
                _operation("outbox_pending", "lines"),
                _operation("outbox_oldest_pending_seconds", "lines"),
                _operation("outbox_dead", "bars"),
                _operation("notifications_failed", "bars"),
            ),
        ),
    )


def _run(name: str, form: Form, *, by: tuple[str, ...] = ("model", "suite"), width: int = 12) -> Chart:
    return Chart(catalogue()[name], form, by=by, width=width)


def _prompts(name: str, *over: OverPrompts) -> Chart:
    return Chart(catalogue()[name], "lines", over)


def _operation(name: str, form: Form) -> Chart:
    return Chart(catalogue()[name], form, by=("target",))
