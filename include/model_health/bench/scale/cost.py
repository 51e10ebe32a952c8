"""The cost model: models x prompts x tokens, to what they need in a day. Multiplication, of figures that are given.

Owns the formulas. What a unit costs is measured elsewhere and handed in; how quick a device is, is the reader's to say:
the defaults are those of BENCHMARKS.md, one thread of a CPU and a model of 12 layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SECONDS_A_DAY: Final = 86_400
BYTES_PER_SAMPLE: Final = 2
"""Of Prometheus, the conservative figure of its own people (`sources`)."""
SCRAPE_SECONDS: Final = 30
"""Of `configs/deploy/prometheus.yml`."""
TASKS_OF_A_RUN: Final = 7
"""Mapped tasks of `run_canaries` for each model, the one that does nothing included."""
CONFIG_READS: Final = 5
"""How often a run's tasks read the configuration: time limit, supervisor, child, validation, gates."""
CALLS_OF_A_RUN: Final = 2
"""Of Datadog's API: series and a check; an event is one more, where the verdict changed."""


@dataclass(frozen=True)
class Fleet:
    """What is watched, one suite for each model.

    Args:
        models: how many.
        runs: of each, in a day.
        prompts: of the suite.
        tokens: generated for each.
        layers: of the model: a report's size goes with tokens x layers.
        tokens_per_second: of one device, over all prompts that are generated together, unwatched.
        overhead: what watching adds, as a share of that.
        load_seconds: until the first token, beside imports.
    """

    models: int
    runs: float = 24.0
    prompts: int = 16
    tokens: int = 64
    layers: int = 12
    tokens_per_second: float = 16 * 64 / 6.60
    overhead: float = 0.059
    load_seconds: float = 0.0


@dataclass(frozen=True)
class Units:
    """What one of each costs. CPU seconds are of one core."""

    report_bytes_per_token_layer: float
    manifest_bytes_per_prompt: float
    points_per_prompt: int
    points_per_run: int
    index_bytes_per_point: float
    other_bytes_per_run: float
    index_cpu_per_point: float
    server_cpu_per_point: float
    outbox_cpu_per_run: float
    gates_cpu_per_run: float
    task_cpu: float
    config_cpu_per_model: float
    import_cpu: float
    prometheus_series: int
    prometheus_pushes: int
    datadog_series: int


@dataclass(frozen=True)
class Day:
    """What a fleet needs in a day; CPU seconds of one core."""

    runs: float
    reports: float
    device_seconds: float
    points: float
    index_bytes: float
    report_bytes: float
    index_cpu: float
    server_cpu: float
    outbox_cpu: float
    gates_cpu: float
    airflow_cpu: float
    config_cpu: float
    series: float
    scraped_bytes: float
    pushes: float
    datadog_series: float
    api_calls: float


def day(fleet: Fleet, units: Units) -> Day:
    """Multiply."""
    runs = fleet.models * fleet.runs
    reports = runs * fleet.prompts
    generating = fleet.prompts * fleet.tokens / fleet.tokens_per_second * (1 + fleet.overhead)
    points = reports * units.points_per_prompt + runs * units.points_per_run
    size = fleet.tokens * fleet.layers * units.report_bytes_per_token_layer + units.manifest_bytes_per_prompt
    series = float(fleet.models * units.prometheus_series)
    return Day(
        runs=runs,
        reports=reports,
        device_seconds=runs * (units.import_cpu + fleet.load_seconds + generating),
        points=points,
        index_bytes=points * units.index_bytes_per_point + runs * units.other_bytes_per_run,
        report_bytes=reports * size,
        index_cpu=points * units.index_cpu_per_point,
        server_cpu=points * units.server_cpu_per_point,
        outbox_cpu=runs * units.outbox_cpu_per_run,
        gates_cpu=runs * units.gates_cpu_per_run,
        airflow_cpu=runs * TASKS_OF_A_RUN * units.task_cpu,
        config_cpu=runs * CONFIG_READS * fleet.models * units.config_cpu_per_model,
        series=series,
        scraped_bytes=series * SECONDS_A_DAY / SCRAPE_SECONDS * BYTES_PER_SAMPLE,
        pushes=runs * units.prometheus_pushes,
        datadog_series=float(fleet.models * units.datadog_series),
        api_calls=runs * CALLS_OF_A_RUN,
    )
