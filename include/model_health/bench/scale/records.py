"""What measurements of scale write down. Knows neither how they are made nor how they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from model_health.bench.records import read_json
from model_health.config.base import ConfigModel
from model_health.errors import BadInput

Seconds = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=0)]


class Made(ConfigModel):
    """When and on what a part was measured. `load` is the lowest and the highest load average meanwhile."""

    made_at: str
    machine: str
    versions: dict[str, str]
    load: tuple[float, float]


class IngestRound(ConfigModel):
    """One round of runs; CPU of this process, and of the database server where there is one."""

    known: bool
    """Whether the models had runs before: the first run of a model also makes its series."""
    runs: Count
    wall: Seconds
    cpu: Seconds
    server_cpu: Seconds
    index_bytes: Count
    """Of the whole index after it."""


class Ingest(ConfigModel):
    """Recorded runs into an empty index."""

    what: Literal["ingest"] = "ingest"
    made: Made
    database: str
    prompts: Count
    points: Count
    """Of one run."""
    batch: Count
    """Runs in one transaction."""
    rounds: tuple[IngestRound, ...]


class Hour(ConfigModel):
    """Runs of many models through index, outbox and gates. Seconds are of the whole, `cpu` by step."""

    what: Literal["hour"] = "hour"
    made: Made
    database: str
    asked: Count
    models: Count
    prompts: Count
    wall: Seconds
    cpu: dict[str, Seconds]
    server_cpu: Seconds
    gates: Count
    """Answers of gates."""
    delivered: Count
    requests: Count
    rows: dict[str, Count]
    table_bytes: dict[str, Count]
    """By table, keys included; empty where the database does not tell."""
    index_bytes: Count
    waiting: Count
    """Items that were not delivered at the end."""


class SoakHour(ConfigModel):
    """What there was after a simulated hour."""

    hour: Count
    resident_bytes: Count
    open_files: Count
    sockets: Count
    threads: Count
    files: Count
    bytes: Count
    rows: dict[str, Count]
    runs: Count
    reaped: Count
    pruned: Count
    delivered: Count
    failed: Count
    alerts: Count


class Soak(ConfigModel):
    """Hours of simulated operation."""

    what: Literal["soak"] = "soak"
    made: Made
    database: str
    models: Count
    prompts: Count
    minutes: Count
    """Between two runs of a model."""
    keep: Count
    """Runs of each model that retention keeps."""
    wall: Seconds
    cpu: Seconds
    requests: dict[str, Count]
    hours: tuple[SoakHour, ...]


class Facts(ConfigModel):
    """Sizes and costs of single things, which the cost model multiplies."""

    what: Literal["facts"] = "facts"
    made: Made
    report_bytes: Count
    """Of a report of `tokens` tokens and `layers` layers, packed."""
    tokens: Count
    layers: Count
    manifest_bytes_per_prompt: float
    points_per_prompt: Count
    points_per_run: Count
    """Beside those of its prompts."""
    prometheus_series: Count
    """Of one model on one suite."""
    prometheus_pushes: Count
    """Of one run."""
    datadog_series: Count
    datadog_bytes: Count
    """Of one run's series, compressed."""
    config_cpu: dict[str, Seconds]
    """CPU seconds that reading the configuration takes, by number of models."""
    import_cpu: Seconds
    """CPU seconds of a new interpreter until torch and transformers are imported: every run's child pays them."""


class TaskRun(ConfigModel):
    """One Dag run of mapped tasks. Times in seconds; `cpu_seconds` by service."""

    dag: str
    tasks: float
    succeeded: float
    failed: float
    seconds: float | None
    task_median: float | None
    task_p95: float | None
    wait_median: float | None
    wait_p95: float | None
    in_tasks: float | None
    largest_xcom_bytes: int | None
    whole: bool
    waited_seconds: float
    cpu_seconds: dict[str, Seconds]
    load: tuple[float, float]


class Airflow(ConfigModel):
    """One executor."""

    what: Literal["airflow"] = "airflow"
    made: Made
    executor: str
    task_slots: Count
    asked: Count
    runs: tuple[TaskRun, ...]


Part = Annotated[Ingest | Hour | Soak | Facts | Airflow, Field(discriminator="what")]
_PART: TypeAdapter[Part] = TypeAdapter(Part)


def read_part(path: Path) -> Part:
    """One result file.

    Raises:
        BadInput: it cannot be read, or is none of ours.
    """
    try:
        return _PART.validate_json(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput(f"is no result of a measurement of scale: {place}: {first['msg']}", subject=str(path)) from error
