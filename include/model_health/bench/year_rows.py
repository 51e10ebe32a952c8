"""Fills an index with a made-up year of many models, in bulk: what the dashboard's benchmark reads. It has no reports.

Owns the size and the shape of the rows. Points are made inside the database, which takes a minute where the library's
own writers would take a day; what is counted per day is then counted by the library. Everything follows from the size:
the same call gives the same rows. Model names say that they are synthetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, Double, Integer, case, cast, func, insert, literal, select, text

from model_health.bench.year_beside import write_beside
from model_health.errors import StoreError
from model_health.store.index import rollup
from model_health.store.index.index import Index
from model_health.store.index.tables import metric_points, reasons, runs, samples, series
from model_health.store.index.tables_validation import validations

SUITE: Final = "core"
PROMPTS: Final = ("fact-capital", "arithmetic-square", "code-sum", "story-sea")
RUN_SERIES: Final = (
    ("run_measured", ""),
    ("run_healthy", ""),
    ("run_duration_seconds", ""),
    ("output_tokens_per_second", ""),
    ("peak_memory_bytes", ""),
    ("prompts_total", ""),
    ("prompts_unhealthy", ""),
    ("prompts_flagged", "flag=loop_detected"),
    ("prompts_flagged", "flag=high_entropy"),
    ("prompts_flagged", "flag=nan_detected"),
)
PROMPT_METRICS: Final = (
    "entropy_bits_mean",
    "surprisal_bits_mean",
    "attention_entropy_bits_mean",
    "time_to_first_token_seconds",
    "time_per_output_token_seconds",
)
POINTS_PER_RUN: Final = len(RUN_SERIES) + len(PROMPTS) * len(PROMPT_METRICS)
_CHUNK: Final = 5_000
_COUNTS: Final = {"reports": len(PROMPTS), "invalid_reports": 0, "expectations": 171, "critical": 0, "warnings": 0}


@dataclass(frozen=True)
class Size:
    """How large the year is. The default is what the dashboard is held to."""

    models: int = 20
    runs_per_day: int = 24
    days: int = 365

    @property
    def runs(self) -> int:
        """Runs in all."""
        return self.models * self.runs_per_day * self.days

    @property
    def points(self) -> int:
        """Metric points in all."""
        return self.runs * POINTS_PER_RUN


def model_name(number: int) -> str:
    """Name of a model, from 0."""
    return f"synthetic-{number + 1:02}"


def fill(url: str, size: Size, end: datetime) -> bool:
    """Fill an empty index. False, changing nothing, where it holds a year of just this size already, of any time.

    Args:
        url: of the index.
        size: how much.
        end: the last day is the one that ends at the midnight (UTC) before this.

    Raises:
        StoreError: the index holds something else.
    """
    with Index.open(url) as index:
        with index.reading("count runs") as connection:
            found = connection.execute(select(func.count()).select_from(runs)).scalar_one()
        if found == size.runs:
            return False
        if found:
            raise StoreError(
                f"holds {found} runs, not {size.runs} of a benchmark", subject=index.shown, hint="name another"
            )
        with index.transaction("fill the index") as connection:
            _fill(connection, size, _midnight(end) - timedelta(days=size.days))
        return True


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _fill(connection: Connection, size: Size, first: datetime) -> None:
    if connection.dialect.name == "sqlite":
        # Points come by series, their second key is by run: its pages have to stay in memory meanwhile.
        connection.exec_driver_sql("PRAGMA cache_size = -1000000")
    rows = _runs(size, first)
    while chunk := list(islice(rows, _CHUNK)):
        connection.execute(insert(runs), chunk)
    connection.execute(insert(reasons), [{"id": 1, "text": "attention of this family is not dispatched"}])
    connection.execute(insert(series), list(_series(size)))
    connection.execute(text("ANALYZE"))
    _points(connection)
    _samples(connection)
    counts = {name: literal(value, Integer) for name, value in _COUNTS.items()}
    columns = ["run_id", "valid", "validated_at", "wall_seconds", *counts]
    valid = select(runs.c.id, literal(value=True), runs.c.ended_at, literal(0.5, Double), *counts.values())
    connection.execute(insert(validations).from_select(columns, valid))
    names = [model_name(number) for number in range(size.models)]
    nights = [first + timedelta(days=day, hours=3) for day in range(size.days)]
    write_beside(connection, names, SUITE, nights)
    # Before anything is joined: a planner that takes these tables for small ones takes minutes per model.
    connection.execute(text("ANALYZE"))
    rollup.rebuild(connection)
    connection.execute(text("ANALYZE"))


def _runs(size: Size, first: datetime) -> Iterator[dict[str, Any]]:
    gap = timedelta(days=1) / size.runs_per_day
    number = 0
    for slot in range(size.runs_per_day * size.days):
        for model in range(size.models):
            number += 1
            started = first + slot * gap + timedelta(seconds=model)
            name = model_name(model)
            # Each model changes its libraries every quarter, its revision once and its device once.
            quarter, half = slot * 4 // (size.runs_per_day * size.days), slot * 2 // (size.runs_per_day * size.days)
            sick = (slot * 31 + model * 17) % 211 == 0
            run_id = f"scheduled__{started.isoformat()}"
            yield {
                "id": number,
                "run_key": f"{name}/{SUITE}/run-{slot:06}",
                "attempt": f"{number:032x}",
                "model": name,
                "suite": SUITE,
                "suite_version": "1.0.0",
                "suite_digest": "sha256:" + "c0" * 32,
                "run_id": run_id,
                "dag_id": "run_canaries",
                "dag_run_id": run_id,
                "try_number": 1,
                "status": "measured",
                "verdict": "unhealthy" if sick else "healthy",
                "started_at": started,
                "heartbeat_at": started + timedelta(seconds=80),
                "ended_at": started + timedelta(seconds=95),
                "manifest_uri": f"file:///synthetic/{name}/{slot}/manifest.json",
                "manifest_digest": "sha256:" + f"{number:064x}",
                "report_schema_version": "0.3.0",
                "manifest_schema_version": "1.0.0",
                "identity_digest": f"sha256:{model:032x}{quarter:016x}{half:016x}",
                "revision": f"{model:02x}{half:02x}" * 10,
                "weights_digest": f"sha256:{model:032x}{half:032x}",
                "dtype": "bfloat16",
                "quantization": "none",
                "attention_backend": "sdpa",
                "device_class": ("a processor", "an accelerator")[half],
                "libraries": {"torch": f"2.{10 + quarter}.0", "transformers": "5.23.0", "numpy": "2.4.0"},
                "flags": {"attention_collapse_detected": len(PROMPTS), "loop_detected": int(sick)},
                "unhealthy_flags": {"loop_detected": 1} if sick else {},
            }


def _series(size: Size) -> Iterator[dict[str, Any]]:
    number = 0
    for model in range(size.models):
        named = [(metric, "", "", labels) for metric, labels in RUN_SERIES]
        named += [(metric, prompt, prompt.split("-")[0], "") for metric in PROMPT_METRICS for prompt in PROMPTS]
        for metric, prompt, group, labels in named:
            number += 1
            yield {
                "id": number,
                "model": model_name(model),
                "suite": SUITE,
                "metric": metric,
                "prompt_id": prompt,
                "prompt_group": group,
                "labels": labels,
            }


def _points(connection: Connection) -> None:
    """Every run gets every point of its model: a level per series, noise that no run shares, some nulls."""
    mixed = (series.c.id * 37 + runs.c.id * 13) % 40_009  # its square still fits an integer
    noise = (mixed * mixed) % 1009
    level = cast(1 + series.c.id % 7, Double)
    null = (series.c.metric == "attention_entropy_bits_mean") & (noise < 20)
    value = level + cast(noise, Double) / 1009.0
    rows = (
        select(series.c.id, runs.c.ended_at, runs.c.id, case((~null, value)), case((null, literal(1, Integer))))
        .select_from(series.join(runs, (series.c.model == runs.c.model) & (series.c.suite == runs.c.suite)))
        .order_by(series.c.id, runs.c.ended_at)
    )
    connection.execute(insert(metric_points).from_select(["series_id", "at", "run_id", "value", "reason_id"], rows))


def _samples(connection: Connection) -> None:
    for prompt in PROMPTS:
        values = {
            "prompt_id": literal(prompt),
            "prompt_group": literal(prompt.split("-")[0]),
            "report_uri": literal("file:///synthetic/report.json.gz"),
            "report_digest": literal("sha256:00"),
            "prompt_tokens": literal(12, Integer),
            "generated_tokens": literal(48, Integer),
            "stopped_by": literal("length"),
            "time_to_first_token_seconds": literal(0.2, Double),
            "time_per_output_token_seconds": literal(0.05, Double),
        }
        lists = {name: literal([], samples.c[name].type) for name in ("flags", "unhealthy_flags")}
        values |= {**lists, "not_measured": literal({}, samples.c.not_measured.type)}
        rows = select(runs.c.id, *values.values())
        connection.execute(insert(samples).from_select(["run_id", *values], rows))
