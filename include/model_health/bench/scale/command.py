"""The command line of these measurements. Owns words, folders and exit codes, no work."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from model_health.bench.command import positive, write
from model_health.bench.scale.cost import Fleet
from model_health.bench.scale.records import Airflow, Part, TaskRun, read_part
from model_health.config.settings import find_home
from model_health.errors import ExitCode, ModelHealthError


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="python -m model_health.bench.scale", description="What a fleet costs.")
    sub = parser.add_subparsers(dest="command", required=True, metavar="command")
    facts = sub.add_parser("facts", help="sizes and costs of single things")
    ingest = sub.add_parser("ingest", help="how many reports a second an empty index takes")
    ingest.add_argument("--models", type=positive, default=100)
    ingest.add_argument("--rounds", type=positive, default=3)
    ingest.add_argument("--prompts", type=positive, default=16)
    ingest.add_argument("--batch", type=positive, default=10, help="runs in one transaction")
    hour = sub.add_parser("hour", help="many models' runs through index, outbox and gates")
    hour.add_argument("--models", type=positive, default=10_000)
    hour.add_argument("--prompts", type=positive, default=6)
    hour.add_argument("--minutes", type=float, default=60.0, help="at most")
    soak = sub.add_parser("soak", help="hours of simulated operation: what does it hold after each?")
    soak.add_argument("--hours", type=positive, default=8)
    soak.add_argument("--models", type=positive, default=20)
    soak.add_argument("--prompts", type=positive, default=4)
    soak.add_argument("--minutes", type=positive, default=10, help="between two runs of a model")
    soak.add_argument("--keep", type=positive, default=10, help="runs of each model that retention keeps")
    for one in (ingest, hour, soak):
        one.add_argument("--index", metavar="URL", help="of an empty index; SQLite in a scratch folder by default")
    airflow = sub.add_parser("airflow", help="take over what tests/support/airflow_scale.py measured")
    airflow.add_argument("--measured", type=Path, required=True, metavar="FILE")
    for one in (facts, ingest, hour, soak, airflow):
        one.add_argument("--json", type=Path, required=True, metavar="FILE", help="write the result there")
    render = sub.add_parser("render", help="print SCALE.md from result files")
    cost = sub.add_parser("cost", help="print what a fleet of yours needs in a day, from result files")
    usual = Fleet(1)
    cost.add_argument("--models", type=positive, nargs="+", required=True, metavar="N")
    for name, kind in (("prompts", positive), ("tokens", positive), ("layers", positive), ("runs", float),
                       ("tokens-per-second", float), ("overhead", float), ("load-seconds", float)):  # fmt: skip
        value = getattr(usual, name.replace("-", "_"))
        cost.add_argument(f"--{name}", type=kind, default=value, metavar="X", help=f"default: {value:g}")
    for one in (render, cost):
        one.add_argument("--results", type=Path, nargs="+", required=True, metavar="FILE")
    return parser


def measure(arguments: argparse.Namespace, folder: Path) -> Part:
    """What the arguments ask for; `folder` is empty."""
    shipped = find_home(Path.cwd()) / "configs"
    index_url = getattr(arguments, "index", None) or f"sqlite:///{folder}/index.db"
    if arguments.command == "facts":
        from model_health.bench.scale.facts import measure_facts

        return measure_facts(folder / "home", shipped)
    if arguments.command == "ingest":
        from model_health.bench.scale.ingest import measure_ingest

        size = {name: getattr(arguments, name) for name in ("prompts", "models", "rounds", "batch")}
        return measure_ingest(index_url, **size, say=say)
    if arguments.command == "hour":
        from model_health.bench.scale.hour import measure_hour

        size = {"models": arguments.models, "prompts": arguments.prompts}
        limit = arguments.minutes * 60
        return measure_hour(folder / "home", shipped, index_url, **size, limit_seconds=limit, say=say)
    if arguments.command == "soak":
        from model_health.bench.scale.soak import measure_soak

        size = {name: getattr(arguments, name) for name in ("models", "prompts", "hours", "minutes", "keep")}
        return measure_soak(folder / "home", shipped, **size, index_url=arguments.index, say=say)
    return taken_over(arguments.measured)


def taken_over(path: Path) -> Airflow:
    """A result of the script that starts Airflow, which the library does not know."""
    from model_health.bench.scale.made import Load

    content = json.loads(path.read_text(encoding="utf-8"))
    runs = tuple(TaskRun.model_validate(one) for one in content["runs"])
    loads = [load for run in runs for load in run.load]
    made = Load().made().model_copy(update={"made_at": content["made_at"], "load": (min(loads), max(loads))})
    return Airflow(
        made=made,
        executor=content["executor"],
        task_slots=content["task_slots"],
        asked=content["asked"],
        runs=runs,
    )


def say(line: str) -> None:
    """Tell a person how far it is."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        if arguments.command == "render":
            from model_health.bench.scale.render import document

            sys.stdout.write(document([read_part(path) for path in arguments.results]))
            return ExitCode.HEALTHY
        if arguments.command == "cost":
            from model_health.bench.scale.days import day_table
            from model_health.bench.scale.units import Results, units_of

            units = units_of(Results.of([read_part(path) for path in arguments.results]))
            names = [field.name for field in fields(Fleet) if field.name != "models"]
            fleets = [
                Fleet(models, **{name: getattr(arguments, name) for name in names}) for models in arguments.models
            ]
            sys.stdout.write("\n".join(day_table(fleets, units)))
            return ExitCode.HEALTHY
        with tempfile.TemporaryDirectory(prefix="model-health-scale-") as folder:
            write(arguments.json, measure(arguments, Path(folder)).model_dump_json(indent=1))
        return ExitCode.HEALTHY
    except ModelHealthError as error:
        sys.stderr.write(f"scale: {error}\n")
        return error.exit_code
