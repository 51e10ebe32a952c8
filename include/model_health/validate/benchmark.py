"""Measures what validation costs: `python -m model_health.validate.benchmark`.

Stores a run of made-up reports, written as the runner writes them, and validates it as the operator does: manifest and
reports read from the store, digests, frames, suites, result. Great Expectations is imported before the clock starts.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from model_health.config.thresholds import Thresholds
from model_health.host import cpu_name, memory_gib
from model_health.report.identity import DeviceIdentity, ModelIdentity
from model_health.report.inputs import trace_id_of
from model_health.report.manifest import Manifest, PromptEntry
from model_health.report.samples import samples_of_report
from model_health.report.serialise import to_gzip, to_json
from model_health.report.trace import Trace
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from model_health.validate.collect import reports_of, run_facts
from model_health.validate.examine import examine
from model_health.validate.made_up import MODEL, NOW, RUN_ID, SUITE, made_up_report

VARIANTS = 8
"""Reports that differ in their numbers; the others repeat them under names of their own."""
PACKAGES = ("great-expectations", "pandas", "numpy", "pydantic")


def store_run(folder: Path, *, reports: int, steps: int, layers: int) -> tuple[ReportStore, RunFolder, int]:
    """Store a run; the store, the run's folder in it, and the bytes of its reports."""
    store, run = ReportStore.open(folder), RunFolder.of(MODEL, SUITE.name, RUN_ID)
    variants = [made_up_report(steps=steps, layers=layers, seed=seed) for seed in range(min(VARIANTS, reports))]
    entries, size = [], 0
    for number in range(reports):
        trace = _renamed(variants[number % len(variants)], f"prompt-{number:05d}")
        stored = store.write_report(run, str(trace.model_health.prompt_id), to_gzip(trace))
        size += stored.size
        entries.append(_entry(trace, stored.uri, stored.digest))
    manifest = Manifest(
        run_id=RUN_ID,
        model_name=MODEL,
        suite=SUITE,
        status="measured",
        verdict="healthy",
        started_at=NOW,
        ended_at=NOW,
        model=ModelIdentity(
            source=MODEL, architecture="Made", model_type="made", layers=layers, device=DeviceIdentity(kind="cpu")
        ),
        prompts=tuple(entries),
    )
    store.write_manifest(run, to_json(manifest, indent=2))
    return store, run, size


def _renamed(trace: Trace, prompt_id: str) -> Trace:
    ours = trace.model_health.model_copy(update={"prompt_id": prompt_id})
    return trace.model_copy(update={"model_health": ours, "trace_id": trace_id_of(RUN_ID, MODEL, prompt_id)})


def _entry(trace: Trace, uri: str, digest: str) -> PromptEntry:
    values = {sample.metric: sample.value for sample in samples_of_report(trace)}
    ours = trace.model_health
    stated = {name: values[name] for name in PromptEntry.model_fields if name in values}
    return PromptEntry.model_validate(
        {
            "prompt_id": ours.prompt_id,
            "group": ours.group,
            "report_uri": uri,
            "digest": digest,
            "flags": ours.flags,
            "tolerated": ours.tolerated,
            **stated,
        }
    )


@dataclass(frozen=True)
class Cost:
    """Seconds that one validation took: of this process's CPU, and on the clock (more where others are busy)."""

    cpu: float
    wall: float


def validate_once(store: ReportStore, run: RunFolder) -> Cost:
    """What one validation costs, reading included. Raises RuntimeError if the made-up run is not valid."""
    began, began_cpu = time.perf_counter(), time.process_time()
    facts = run_facts(store, run, None)
    found = examine(
        reports_of(store, run, facts.manifest), Thresholds(), datetime.now(UTC), facts=facts, run_key=run.key
    )
    cost = Cost(time.process_time() - began_cpu, time.perf_counter() - began)
    if not found.result.valid:
        raise RuntimeError(f"the made-up run is invalid: {found.result.reason}")
    return cost


def main(arguments: Sequence[str]) -> int:
    """Print the median over the repeats, and on what it was measured; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model_health.validate.benchmark", description=__doc__)
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    say = sys.stdout.write
    began = time.perf_counter()
    import great_expectations  # noqa: F401  # its import is not what is measured

    imported = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        size = {"reports": chosen.reports, "steps": chosen.steps, "layers": chosen.layers}
        store, run, stored = store_run(Path(folder), **size)
        costs = [validate_once(store, run) for _ in range(chosen.repeats)]
    say(
        f"{chosen.reports} reports of {chosen.steps} steps and {chosen.layers} layers, {stored / 2**20:.1f} MiB\n"
        f"validation, CPU:  {_spread([cost.cpu for cost in costs])}\n"
        f"validation, wall: {_spread([cost.wall for cost in costs])}, after an import of {imported:.2f} s\n"
        f"versions: Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}\n"
        f"machine: {platform.system()} {platform.machine()}, {cpu_name()}, {os.cpu_count()} CPUs, {memory_gib()},"
        f" load {os.getloadavg()[0]:.1f}\n"
        f"date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n"
    )
    return 0


def _spread(seconds: Sequence[float]) -> str:
    low, high = min(seconds), max(seconds)
    return f"median {statistics.median(seconds):.2f} s of {len(seconds)} (from {low:.2f} to {high:.2f} s)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
