"""The measurements of SCALE.md as tables: ingest, an hour of many models, hours of operation, mapped tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model_health.bench.scale.process import slope
from model_health.bench.scale.records import Airflow, Hour, Ingest, Soak
from model_health.bench.scale.units import CANARIES, NOTHING, Results, per_run, run_of, task_cpu
from model_health.bench.scale.words import load, prose, quantity, table

WARM = 2
"""Hours of a simulation that fill what is kept; growth is looked for after them."""
BAR = 500
"""Reports a second that the index is to take."""


def ingests(results: Results) -> Iterator[str]:
    """How many reports a second."""
    yield "## Reports into the index"
    yield ""
    yield from prose(
        "Recorded runs, written by one process, several runs in one transaction; a model's first run also makes its",
        "series. The last rate is that of a second of CPU, the server's counted too. PostgreSQL, here and up to the",
        "hours, syncs nothing to its disk (`fsync` off): what a commit waits for a disk is to be added.",
    )
    head = ("database", "values a report", "runs in a batch", "models", "reports/s, wall", "CPU of the writer",
            "of the server", "reports a CPU second", "load")  # fmt: skip
    rows = [row for one in results.ingests for known in (True, False) for row in _ingest(one, known)]
    yield from table(head, rows)
    said = []
    for one in results.ingests:
        rate = one.prompts / (per_run(one, "cpu") + per_run(one, "server_cpu"))
        said.append(
            f"{one.database} {rate:.0f} a second ({'met' if rate >= BAR else f'{BAR / rate:.1f} cores for it'})"
        )
    yield from prose(
        f"The bar is {BAR} reports a second in batches. By the CPU that it takes, one core does, of known models:",
        "; ".join(said) + ".",
    )


def _ingest(one: Ingest, known: bool) -> Iterator[tuple[object, ...]]:
    rounds = [item for item in one.rounds if item.known is known]
    reports = sum(item.runs for item in rounds) * one.prompts
    if reports:
        wall, cpu, server = (sum(getattr(item, clock) for item in rounds) for clock in ("wall", "cpu", "server_cpu"))
        yield (
            one.database, f"{one.points / one.prompts:.0f}", one.batch, "known" if known else "new",
            f"{reports / wall:.0f}", f"{cpu / reports * 1e3:.2f} ms", f"{server / reports * 1e3:.2f} ms",
            f"{reports / (cpu + server):.0f}", load(one.made),
        )  # fmt: skip


def hours(results: Results) -> Iterator[str]:
    """Many models in an hour."""
    yield "## Ten thousand models in an hour"
    yield ""
    yield from prose(
        "One run of each of many models through index, outbox and gates, from recorded reports, by one process, as",
        "fast as it goes; sinks and webhook are an HTTP server in another process. The shipped gates judge every run,",
        "one model in a hundred is sick. Configuration is read once. Every model is new to an index that was empty, so",
        "all of its series are made as well, which costs more than a further run (above).",
    )
    for one in results.hours:
        yield from _hour(one)


def _hour(one: Hour) -> Iterator[str]:
    models = max(1, one.models)
    cores = (sum(one.cpu.values()) + one.server_cpu) / models * 10_000 / 3600
    steps = ", ".join(f"{step} {seconds / models * 1e3:.0f} ms a run" for step, seconds in one.cpu.items())
    short = "" if one.models == one.asked else " (then the time that a measurement may take was over)"
    yield from prose(
        f"**{one.database}**, {load(one.made)}: {one.models:,} of {one.asked:,} models, {one.prompts} prompts each, in",
        f"{one.wall:,.0f} s on the wall{short}. CPU: {steps}, the server {one.server_cpu / models * 1e3:.0f} ms:",
        f"10,000 models an hour take {cores:.2f} cores; on the wall of this shared machine it would have been",
        f"{one.models / one.wall * 3600:,.0f} an hour. {one.gates:,} answers of gates,",
        f"{one.delivered:,} items delivered in {one.requests:,} requests, {one.waiting:,} left waiting.",
        f"The index holds {one.rows['metric_points']:,} values in {quantity(one.index_bytes, 'B')}.",
    )


def soaks(results: Results) -> Iterator[str]:
    """What a process holds after hours."""
    yield "## Hours of operation"
    yield ""
    yield from prose(
        "A simulated clock, one process for everything: runs with their files, heartbeats, deliveries of which the far",
        "side refuses some, gates, alerts, looks at the clock, the reaper, hourly retention. Every model is sick for",
        "an hour in four, and one run in seventeen dies.",
    )
    for one in results.soaks:
        yield from _soak(one)


def _soak(one: Soak) -> Iterator[str]:
    yield from prose(
        f"**{one.database}**, {load(one.made)}: {one.models} models, {one.prompts} prompts, a run every {one.minutes}",
        f"minutes; retention keeps {one.keep} runs of each. {one.wall:,.0f} s on the wall, {one.cpu:,.0f} CPU seconds,",
        f"{one.requests.get('all', 0):,} requests, {one.requests.get('refused', 0):,} of them refused.",
    )
    head = ("hour", "resident MiB", "open files", "sockets", "threads", "files", "MiB on disk", "runs kept", "values",
            "outbox", "runs", "reaped", "pruned", "delivered", "failed", "alerts")  # fmt: skip
    rows = [
        (
            hour.hour, f"{hour.resident_bytes / 2**20:.1f}", hour.open_files, hour.sockets, hour.threads, hour.files,
            f"{hour.bytes / 2**20:.1f}", hour.rows["runs"], hour.rows["metric_points"], hour.rows["outbox"], hour.runs,
            hour.reaped, hour.pruned, hour.delivered, hour.failed, hour.alerts,
        )
        for hour in one.hours
    ]  # fmt: skip
    yield from table(head, rows, left=0)
    late = [hour for hour in one.hours if hour.hour > WARM]
    if len(late) < 2:
        return
    held: dict[str, Sequence[float]] = {
        "resident MiB": [hour.resident_bytes / 2**20 for hour in late],
        "open files": [hour.open_files for hour in late],
        "sockets": [hour.sockets for hour in late],
        "threads": [hour.threads for hour in late],
        "files": [hour.files for hour in late],
    }
    growth = ", ".join(f"{name} {slope(values):+.2f}" for name, values in held.items())
    tables = {name: slope([hour.rows[name] for hour in late]) for name in late[0].rows}
    growing = ", ".join(f"{name} {value:+.0f}" for name, value in tables.items() if value > 0.5)
    end = slope(held["resident MiB"][-3:])
    yield from prose(
        f"Growth an hour, after hour {WARM} (least squares): {growth};",
        f"resident MiB in the last three hours {end:+.2f}.",
        f"Rows that grow: {growing or 'none'}. What was",
        "delivered stays on record for 90 days, and what was said to people for good; all else follows the runs that",
        "retention keeps.",
    )


def tasks(results: Results) -> Iterator[str]:
    """Airflow under mapped tasks."""
    yield "## A thousand mapped tasks"
    yield ""
    yield from prose(
        "A Dag run that maps over as many models as were asked for: once tasks that do nothing, once the operator of",
        "canary runs, whose capture child is a stub. PostgreSQL; Redis for Celery. Where fewer tasks ended than were",
        "mapped, the time that a measurement may take was over.",
    )
    head = ("executor", "slots", "tasks", "ended", "in", "tasks/s", "a task, median (95 %)", "queued to started",
            "CPU a task", "largest XCom", "load")  # fmt: skip
    rows = [_task(one, dag) for one in results.airflows for dag in (NOTHING, CANARIES)]
    yield from table(head, rows)
    for one in results.airflows:
        run = run_of(one, NOTHING)
        nothing, canary = task_cpu(run), task_cpu(run_of(one, CANARIES))
        services = ", ".join(
            f"{name} {seconds / max(1.0, run.succeeded):.2f}"
            for name, seconds in run.cpu_seconds.items()
            if seconds > 1
        )
        yield from prose(
            f"{one.executor}: {nothing:.2f} CPU seconds for a task that does nothing ({services}), {canary:.2f} for a",
            f"canary task with a stub: the former is {nothing / canary:.0%} of the latter. What services spend while",
            "they wait is in both.",
        )


def _task(one: Airflow, dag: str) -> tuple[object, ...]:
    run = run_of(one, dag)
    rate = run.succeeded / run.seconds if run.seconds else 0.0
    return (
        one.executor, one.task_slots, "nothing" if dag == NOTHING else "canary, stub",
        f"{run.succeeded:.0f} of {run.tasks:.0f}", f"{run.seconds or 0:.0f} s", f"{rate:.2f}",
        f"{run.task_median or 0:.1f} s ({run.task_p95 or 0:.1f} s)", f"{run.wait_median or 0:.1f} s",
        f"{task_cpu(run):.2f} s", f"{run.largest_xcom_bytes or 0:,} B",
        f"load {run.load[0]:g} to {run.load[1]:g}, {one.made.made_at[:10]}",
    )  # fmt: skip
