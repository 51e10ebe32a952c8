"""Where each part saturates, and what to change: figures from results and sources, put against three sizes of a fleet.

Owns the comparisons and the advice. Capacities are of one core, or one server, or one queue, as each line says.
"""

from __future__ import annotations

from collections.abc import Iterator

from model_health.bench.scale.cost import SECONDS_A_DAY, TASKS_OF_A_RUN, Fleet, Units, day
from model_health.bench.scale.days import FLEETS
from model_health.bench.scale.sources import cite
from model_health.bench.scale.units import Results
from model_health.bench.scale.words import bullets, prose, rough, table

XCOM_BYTES = 4096
PLACE_BYTES = 3
"""Of the XCom that is mapped over: a zero, a comma and a space for each run (`model_health_airflow.targets`)."""
MILLIONS = 2_000_000
"""Series that one server surely handles: the fewest that are "millions"."""
EVENTS_AN_HOUR = 500_000
WRITES_A_SECOND = 3_500


def section(results: Results, units: Units) -> Iterator[str]:
    """The table."""
    fleet = Fleet(1)
    one = day(fleet, units)
    yield "## Where each part saturates"
    yield ""
    yield from prose(
        "Models with an hourly run as above that one unit of each part bears if it does nothing else all day. An",
        "hourly schedule starts everything at the full hour; the queue is what takes the hour.",
    )
    cores = (
        ("writers of the index", one.index_cpu),
        ("PostgreSQL, the index", one.server_cpu),
        ("delivery", one.outbox_cpu),
        ("gates", one.gates_cpu),
        ("Airflow, all services", one.airflow_cpu),
    )
    rows: list[tuple[str, str, str, str]] = [
        (name, "a core", rough(SECONDS_A_DAY / seconds), f"{seconds / fleet.runs * 1e3:,.0f} ms a run")
        for name, seconds in cores
        if seconds > 0
    ]
    # It takes models x models: a core is full at the root.
    config = (SECONDS_A_DAY / one.config_cpu) ** 0.5
    writes = WRITES_A_SECOND * SECONDS_A_DAY / fleet.runs / (fleet.prompts + 2)
    device = f"{one.device_seconds / fleet.runs:.1f} s a run"
    costly = f"{units.datadog_series} custom metrics each are billed {cite('datadog-custom')}"
    size = f"{results.facts.datadog_bytes / 1000:.1f} kB of at most 512 kB {cite('datadog-size')}"
    rows += [
        ("configuration", "a core", rough(config), "each task reads all models: it grows with the square"),
        ("capture", "a device of BENCHMARKS.md", rough(SECONDS_A_DAY / one.device_seconds), device),
        ("SQLite", "a file", "one host", f"one writer at a time {cite('sqlite')}"),
        ("mapped tasks", "a Dag run", "1,024", f"a setting of Airflow {cite('map-length')}"),
        ("XCom that is mapped over", "a queue", f"{XCOM_BYTES // PLACE_BYTES:,}",
         f"{PLACE_BYTES} bytes a run; with more it is larger than the 4 KB that all others keep"),
        ("Prometheus", "a server", rough(MILLIONS / units.prometheus_series),
         f"{units.prometheus_series} series each, of two million {cite('prometheus-series')}"),
        ("Pushgateway", "one", "fewer than that", f"a bottleneck, a single point of failure {cite('pushgateway')}"),
        ("Datadog, series", "an organisation", "no limit of calls", f"{costly} {cite('datadog-rate')}"),
        ("Datadog, events", "an organisation", rough(EVENTS_AN_HOUR * 24 / fleet.runs),
         f"if every run changed its verdict {cite('datadog-rate')}"),
        ("Datadog, a request", "a run", "fits", size),
        ("object store", "a prefix", rough(writes), f"a write for each report, manifest, validation {cite('s3')}"),
    ]  # fmt: skip
    yield from table(("part", "unit", "models", "because"), rows, left=2, last=1)


def advice(units: Units) -> Iterator[str]:
    """What to change at each size."""
    few, many, most = (day(Fleet(models), units) for models in FLEETS)

    def cores(seconds: float) -> str:
        count = seconds / SECONDS_A_DAY
        return f"{rough(count) if count >= 10 else f'{count:.1f}'} cores"

    yield "## What to change"
    yield ""
    yield from prose(
        "**At 10 models** nothing: SQLite, LocalExecutor and the sink of files, as `make run` sets them up. A day is",
        f"{few.runs:,.0f} runs and {few.index_bytes / 1e6:,.0f} MB of index; `MODEL_HEALTH_RETENTION_DAYS` bounds it.",
    )
    yield from prose("**At 1,000 models** `docker-compose.yaml`, or the values for Helm:")
    yield from bullets(
        f"PostgreSQL. The index grows by {many.index_bytes / 1e9:,.1f} GB a day: `MODEL_HEALTH_RETENTION_RUNS` bounds"
        " it, daily trends stay.",
        f"Airflow takes {cores(many.airflow_cpu)} for {many.runs * TASKS_OF_A_RUN:,.0f} tasks a day: Celery or"
        f" Kubernetes, and more than one scheduler {cite('airflow-schedulers')}. `core.max_map_length` has to"
        f" reach the number of runs of a queue {cite('map-length')}.",
        f"Reading the configuration takes {cores(many.config_cpu)}: several installations of some hundreds of models,"
        " or fewer runs a day.",
        f"Reports are {many.report_bytes / 1e9:,.0f} GB a day: an object store, retention of days, and fewer layers or"
        " steps (`measure` in a model's file) for models that are watched often.",
        f"{many.series:,.0f} series: `by_group: false` where groups of prompts are not looked at.",
        f"In Datadog {many.datadog_series:,.0f} custom metrics are billed: let Prometheus have what no monitor needs.",
    )
    yield from prose("**At 100,000 models** one installation is the wrong shape, whatever it runs on:")
    yield from bullets(
        f"Every task reads every model's file: {cores(most.config_cpu)}. Cells of some hundreds of models, each with"
        " its own Airflow, index and Pushgateway; the store may be one.",
        f"{most.points:,.0f} values a day, {most.index_bytes / 1e12:,.1f} TB: keep values for days and daily trends"
        f" for good, partition `metric_points` by time {cite('postgres-partitions')}. Its three foreign keys, checked"
        " row by row, are most of what PostgreSQL does for an insert: a cell that is too slow drops them.",
        f"{most.series:,.0f} series: a server of Prometheus for each cell, federated {cite('prometheus-series')}.",
        f"{most.report_bytes / 1e12:,.1f} TB of reports a day: keep those of unhealthy runs, and of one run a day.",
        f"The outbox delivers in order, one item of a target at a time: {cores(most.outbox_cpu)} of delivery do not fit"
        " into one queue. A cell has queues of its own.",
        "Or run daily: a twenty-fourth of everything above, but for series and custom metrics.",
    )
