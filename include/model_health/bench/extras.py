"""What is measured besides cells: a whole suite, reports, validation, the Dag folder. Owns their names and units."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from model_health.bench.machine import commit, machine, now, versions
from model_health.bench.records import Extra, Extras

Say = Callable[[str], None]
REPORTS = 1000
ABOUT: dict[str, tuple[str, str]] = {
    "suite_cpu": ("ratio", "a whole run of 16 prompts x 64 tokens over one plain batched generation, CPU time"),
    "suite_wall": ("ratio", "a whole run of 16 prompts x 64 tokens over one plain batched generation, wall time"),
    "writing_share": ("share", "making and storing reports, of generate + report + store"),
    "storing_share": ("share", "turning reports into bytes and storing them, of generate + report + store"),
    "report_bytes": ("bytes", "one stored report, 64 tokens x 12 layers, `standard`, compressed, on average"),
    "validate_seconds": ("s", "Great Expectations over 1,000 reports, after its import, CPU time"),
    "parse_cpu": ("s", "reading the Dag folder with 1,000 configured models, after Airflow's own imports, CPU time"),
    "parse_wall": ("s", "reading the Dag folder with 1,000 configured models, after Airflow's own imports, wall time"),
}
PARTS = ("suite", "parse", "validate", "profile")


def measure_extras(parts: Sequence[str], rounds: int, say: Say) -> Extras:
    """Measure the parts whose libraries are installed; the others are named and left out."""
    found: dict[str, list[float]] = {}
    if "suite" in parts:
        from model_health.bench.suite import measure_suite

        found |= measure_suite(rounds, say)
    if "parse" in parts:
        from model_health.bench.parsing import can_parse, parse_seconds

        if can_parse():
            found |= parse_seconds(rounds)
        else:
            say("parse: left out, Airflow is not installed or there is no Dag folder")
    if "validate" in parts:
        if find_spec("great_expectations") is not None:
            found["validate_seconds"] = _validate(rounds)
        else:
            say("validate: left out, Great Expectations is not installed")
    about = dict(ABOUT)
    if "profile" in parts:
        from model_health.bench.profile import measure_profiles

        for name, (what, shares) in measure_profiles(rounds, say).items():
            about[name] = ("share", what)
            found[name] = shares
    here, made, code, installed = machine(torch.device("cpu")), now(), commit(), versions()
    extras = [
        Extra(
            made_at=made,
            commit=code,
            machine=here,
            versions=installed,
            name=name,
            unit=about[name][0],
            about=about[name][1],
            values=tuple(values),
        )
        for name, values in found.items()
    ]
    return Extras(extras=tuple(extras))


def _validate(rounds: int) -> list[float]:
    from time import process_time

    import great_expectations  # noqa: F401  # its import is not what is measured

    from model_health.validate.benchmark import store_run, validate_once

    spent = []
    with tempfile.TemporaryDirectory(prefix="model-health-bench-") as folder:
        store, run, _ = store_run(Path(folder), reports=REPORTS, steps=16, layers=12)
        for _ in range(rounds):
            began = process_time()
            validate_once(store, run)
            spent.append(process_time() - began)
    return spent
