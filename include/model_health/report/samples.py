"""What leaves a report or a manifest for sinks and trends: one sample per emitted metric of the catalogue.

A value that was not measured is a sample without a value and with its reason: a sink skips it, it never becomes 0.
Labels take few values (model, suite, group, flag, stage); the prompt and the time are not labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from model_health.catalog.loader import catalogue
from model_health.report.aggregates import PROMPT_METRICS, Measurement
from model_health.report.manifest import Manifest
from model_health.report.run_metrics import RUN_METRICS
from model_health.report.trace import Trace


@dataclass(frozen=True)
class Sample:
    """One value of one catalogued metric.

    Args:
        metric: its name in the catalogue.
        value: None where it was not measured.
        reason: why there is no value; None where there is one.
        timestamp: when the report was made, or the run ended.
        labels: with few values each.
        prompt_id: of a prompt metric.

    Raises:
        ValueError: a value and a reason, or neither.
    """

    metric: str
    value: float | None
    reason: str | None
    timestamp: datetime
    labels: dict[str, str] = field(default_factory=dict)
    prompt_id: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"sample of {self.metric}: either a value or a reason")

    @property
    def prometheus_name(self) -> str:
        """Name of the series in Prometheus."""
        return catalogue()[self.metric].prometheus_name


def measurements_of_report(trace: Trace) -> dict[str, Measurement]:
    """The value of each prompt metric of the catalogue, or why there is none, in its order."""
    return {metric.name: PROMPT_METRICS[metric.name](trace) for metric in catalogue().of_scope("prompt")}


def samples_of_report(trace: Trace) -> list[Sample]:
    """One sample per prompt metric of the catalogue, in its order."""
    ours = trace.model_health
    labels = {"model": ours.model_name or trace.model.hf_id}
    if ours.suite is not None:
        labels["suite"] = ours.suite.name
    if ours.group is not None:
        labels["group"] = ours.group
    prompt_id = ours.prompt_id or trace.trace_id
    return [
        Sample(name, value, reason, trace.created_at_utc, dict(labels), prompt_id)
        for name, (value, reason) in measurements_of_report(trace).items()
    ]


def samples_of_manifest(manifest: Manifest) -> list[Sample]:
    """The run metrics of the catalogue, in its order; a metric with a label gives one sample per value of the label."""
    labels = {"model": manifest.model_name, "suite": manifest.suite.name}
    return [
        Sample(metric.name, value, reason, manifest.ended_at, {**labels, **extra})
        for metric in catalogue().of_scope("run")
        for extra, (value, reason) in RUN_METRICS[metric.name](manifest)
    ]
