"""From results of measurements to the cost model's units. Owns which result each unit is taken from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from model_health.bench.scale.cost import Units
from model_health.bench.scale.records import Airflow, Facts, Hour, Ingest, IngestRound, Part, Soak, TaskRun
from model_health.errors import BadInput

NOTHING: Final = "many_nothings"
CANARIES: Final = "many_canaries"
BESIDE: Final = ("outbox", "outbox_attempts", "gate_results", "alert_states", "alert_history", "validations")
"""Tables that a run fills beside its own, its samples and its values."""


@dataclass(frozen=True)
class Results:
    """All results that there are, the newest of each part."""

    facts: Facts
    hour: Hour
    ingests: tuple[Ingest, ...] = ()
    soaks: tuple[Soak, ...] = ()
    airflows: tuple[Airflow, ...] = ()
    hours: tuple[Hour, ...] = field(default=())

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Results:
        """Sort them. Raises `BadInput` where one lacks that the cost model needs."""
        facts = [part for part in parts if isinstance(part, Facts)]
        hours = [part for part in parts if isinstance(part, Hour)]
        ingests = tuple(part for part in parts if isinstance(part, Ingest))
        airflows = tuple(part for part in parts if isinstance(part, Airflow))
        for found, name in ((facts, "facts"), (hours, "hour"), (ingests, "ingest"), (airflows, "airflow")):
            if not found:
                raise BadInput(f"no result of '{name}' is among them", hint="the cost model multiplies its figures")
        soaks = tuple(part for part in parts if isinstance(part, Soak))
        return cls(facts[-1], hours[-1], ingests, soaks, airflows, tuple(hours))

    @property
    def served(self) -> Ingest:
        """The ingest that the cost model takes: into a server's database, where there is one."""
        return max(self.ingests, key=lambda one: one.rounds[-1].server_cpu)


def known_rounds(ingest: Ingest) -> list[IngestRound]:
    """The rounds of models that had runs before; all, where there are none such."""
    return [one for one in ingest.rounds if one.known] or list(ingest.rounds)


def per_run(ingest: Ingest, clock: str) -> float:
    """Seconds for one run, over the known rounds."""
    found = known_rounds(ingest)
    return sum(float(getattr(one, clock)) for one in found) / sum(one.runs for one in found)


def task_cpu(run: TaskRun) -> float:
    """CPU seconds of all services for one task that succeeded."""
    return sum(run.cpu_seconds.values()) / max(1.0, run.succeeded)


def run_of(airflow: Airflow, dag: str) -> TaskRun:
    """One of its Dag runs. Raises `BadInput` if it has no such one."""
    for run in airflow.runs:
        if run.dag == dag:
            return run
    raise BadInput(f"has no run of {dag}", subject=f"the result of {airflow.executor}")


def _bytes_per_point(ingest: Ingest) -> float:
    """What a further run of a known model adds to the index, over its values."""
    first, *later = ingest.rounds
    if not later:
        raise BadInput("has one round only: a second one shows what a further run adds", subject="the result of ingest")
    return max(0, later[-1].index_bytes - first.index_bytes) / (sum(one.runs for one in later) * ingest.points)


def units_of(results: Results) -> Units:
    """The figures that the cost model multiplies."""
    facts, hour, ingest = results.facts, results.hour, results.served
    most = max(facts.config_cpu, key=int)
    return Units(
        report_bytes_per_token_layer=facts.report_bytes / (facts.tokens * facts.layers),
        manifest_bytes_per_prompt=facts.manifest_bytes_per_prompt,
        points_per_prompt=facts.points_per_prompt,
        points_per_run=facts.points_per_run,
        index_bytes_per_point=_bytes_per_point(ingest),
        other_bytes_per_run=sum(hour.table_bytes.get(name, 0) for name in BESIDE) / max(1, hour.models),
        index_cpu_per_point=per_run(ingest, "cpu") / ingest.points,
        server_cpu_per_point=per_run(ingest, "server_cpu") / ingest.points,
        outbox_cpu_per_run=hour.cpu["outbox"] / max(1, hour.models),
        gates_cpu_per_run=hour.cpu["gates"] / max(1, hour.models),
        task_cpu=task_cpu(run_of(results.airflows[0], NOTHING)),
        config_cpu_per_model=facts.config_cpu[most] / int(most),
        import_cpu=facts.import_cpu,
        prometheus_series=facts.prometheus_series,
        prometheus_pushes=facts.prometheus_pushes,
        datadog_series=facts.datadog_series,
    )
