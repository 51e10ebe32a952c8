"""The table of what a fleet needs in a day, with its formulas: for the page, and for the command `cost`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model_health.bench.scale.cost import (
    CALLS_OF_A_RUN,
    CONFIG_READS,
    SCRAPE_SECONDS,
    TASKS_OF_A_RUN,
    Fleet,
    Units,
    day,
)
from model_health.bench.scale.sources import cite
from model_health.bench.scale.words import prose, quantity, table

FLEETS = (10, 1_000, 100_000)


def section(units: Units) -> Iterator[str]:
    """The usual fleets, with what they assume."""
    usual = Fleet(1)
    yield "## The cost of a day"
    yield ""
    yield from prose(
        f"Each model runs hourly on one suite of {usual.prompts} prompts of {usual.tokens} tokens and has",
        f"{usual.layers} layers. Other fleets: `python -m model_health.bench.scale cost --models N --results F`.",
    )
    yield from day_table([Fleet(models) for models in FLEETS], units)
    yield from prose(
        "Device seconds are those of BENCHMARKS.md: a model of 12 layers on one thread of a CPU,",
        f"{usual.tokens_per_second:.0f} tokens a second at batch 16, {usual.overhead:.1%} more for watching, after an",
        f"import of torch and transformers that takes {units.import_cpu:.1f} CPU seconds. No GPU was measured, nor the",
        "loading of large weights: give your device's speed to the command. Great Expectations is not in the table;",
        "BENCHMARKS.md has what it takes to validate a thousand reports.",
    )


def day_table(fleets: Sequence[Fleet], units: Units) -> Iterator[str]:
    """A column for each fleet, and how it is computed."""
    other = units.other_bytes_per_run / 1000
    size = f"tokens x layers x {units.report_bytes_per_token_layer:.0f} + {units.manifest_bytes_per_prompt:.0f}"
    rows = (
        ("runs", "runs", "", "models x runs a day"),
        ("reports", "reports", "", "runs x prompts"),
        ("device seconds", "device_seconds", "", "runs x (import + prompts x tokens / speed x (1 + overhead))"),
        ("values", "points", "", f"reports x {units.points_per_prompt} + runs x {units.points_per_run}"),
        ("index", "index_bytes", "B", f"values x {units.index_bytes_per_point:.0f} B + runs x {other:.0f} kB"),
        ("reports and manifests", "report_bytes", "B", f"reports x ({size}) B"),
        ("CPU of writers of the index", "index_cpu", "s", f"values x {units.index_cpu_per_point * 1e6:.0f} us"),
        ("CPU of the database server", "server_cpu", "s", f"values x {units.server_cpu_per_point * 1e6:.0f} us"),
        ("CPU of delivery", "outbox_cpu", "s", f"runs x {units.outbox_cpu_per_run * 1e3:.0f} ms"),
        ("CPU of gates", "gates_cpu", "s", f"runs x {units.gates_cpu_per_run * 1e3:.0f} ms"),
        ("CPU of Airflow", "airflow_cpu", "s", f"runs x {TASKS_OF_A_RUN} tasks x {units.task_cpu:.2f} s"),
        ("CPU of reading configuration", "config_cpu", "s",
         f"runs x {CONFIG_READS} x models x {units.config_cpu_per_model * 1e3:.2f} ms"),
        ("series in Prometheus", "series", "", f"models x {units.prometheus_series}"),
        ("Prometheus", "scraped_bytes", "B", f"series, each {SCRAPE_SECONDS} s, x 2 B {cite('prometheus-bytes')}"),
        ("pushes to the gateway", "pushes", "", f"runs x {units.prometheus_pushes}"),
        ("custom metrics in Datadog", "datadog_series", "", f"models x {units.datadog_series}"),
        ("calls of Datadog's API", "api_calls", "", f"runs x {CALLS_OF_A_RUN}, one more for a change of verdict"),
    )  # fmt: skip
    days = [day(fleet, units) for fleet in fleets]
    head = ["a day of", *(f"{fleet.models:,} models" for fleet in fleets), "how"]
    yield from table(
        head,
        [(name, *(quantity(getattr(one, field), unit) for one in days), how) for name, field, unit, how in rows],
        last=1,
    )
