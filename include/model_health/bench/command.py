"""The benchmark's command line: what to measure, where results go. Owns words and exit codes, no work.

Imports of torch wait until a command needs it: how its threads wait is read from the environment when it loads.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from model_health.bench.records import WATCHED, Cell, Kind, parse_block, read_json
from model_health.config.base import did_you_mean
from model_health.config.settings import wait_politely
from model_health.errors import BadInput, ExitCode, ModelHealthError

ALL = 0
"""Stands for all cores until the command runs."""
KINDS: tuple[Kind, ...] = ("again", *WATCHED)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="python -m model_health.bench", description="What watching a model costs.")
    sub = parser.add_subparsers(dest="command", required=True, metavar="command")
    cell = sub.add_parser("cell", help="measure one cell in this process and print its ratios")
    cell.add_argument("--model", default="llama-12", metavar="NAME")
    cell.add_argument("--batch", type=positive, default=1)
    cell.add_argument("--prompt", type=positive, default=256, metavar="TOKENS")
    cell.add_argument("--new-tokens", type=positive, default=64, metavar="TOKENS")
    cell.add_argument("--preset", "--presets", type=kinds, default=["standard"], metavar="A,B",
                      help=f"of {', '.join(KINDS)}; `again` is plain once more: its ratio is noise")  # fmt: skip
    cell.add_argument("--rounds", type=positive, default=5)
    cell.add_argument("--memory-rounds", type=int, default=1, metavar="N", help="0 leaves peak memory out")
    cell.add_argument("--threads", type=positive, default=1)
    cell.add_argument("--device", default="cpu")
    cell.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    cell.add_argument("--cache", choices=("dynamic", "static"), default="dynamic")
    cell.add_argument("--how", choices=("lockstep", "whole"),
                      help="in turn pass by pass (default on a CPU: far less noise), or run by run")  # fmt: skip
    cell.add_argument("--seed", type=int, default=0, help="of the order of runs")
    cell.add_argument("--json", type=Path, metavar="FILE", help="write the raw result there")
    cell.add_argument("--against", type=Path, metavar="FILE",
                      help="an earlier raw result: say where the price rose by more than its noise")  # fmt: skip
    cell.set_defaults(call=one_cell)

    counts = sub.add_parser(
        "operations", help="count operations and waits; fail where the probes add more than they did"
    )
    counts.add_argument("--check", type=Path, metavar="FILE", help="compare with this file; exit 1 if a price rose")
    counts.add_argument("--write", type=Path, metavar="FILE", help="write the counts there, as what is expected")
    counts.set_defaults(call=operations)

    matrix = sub.add_parser("matrix", help="measure many cells, each in fresh processes; results go to a folder")
    matrix.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="results there count, and are kept")
    matrix.add_argument("--models", type=words, default=["gpt2-small", "llama-12", "t5-small", "smollm2-135m"],
                        metavar="A,B")  # fmt: skip
    matrix.add_argument("--batch", type=numbers, default=[1, 16], metavar="N,M")
    matrix.add_argument("--prompt", type=numbers, default=[16, 256, 1024], metavar="N,M")
    matrix.add_argument("--threads", type=numbers, default=[1, ALL], metavar="N,all")
    matrix.add_argument("--presets", type=kinds, default=list(KINDS), metavar="A,B")
    matrix.add_argument("--rounds", type=positive, default=3, help="in each process")
    matrix.add_argument("--processes", type=positive, default=2, help="for each cell")
    matrix.add_argument("--budget-minutes", type=float, metavar="N",
                        help="stop in time; what is left goes to the cells with the widest intervals")  # fmt: skip
    matrix.add_argument("--memory-rounds", type=int, default=1, metavar="N")
    matrix.add_argument("--new-tokens", type=positive, default=64, metavar="TOKENS")
    matrix.add_argument("--device", default="cpu")
    matrix.add_argument("--dtypes", type=words, default=["float32"], metavar="A,B")
    matrix.add_argument("--caches", type=words, default=["dynamic"], metavar="A,B")
    matrix.add_argument("--how", choices=("lockstep", "whole"))
    matrix.set_defaults(call=many_cells)

    extras = sub.add_parser("extras", help="measure a whole suite, its reports, validation and the Dag folder")
    extras.add_argument("--parts", type=words, default=["suite", "parse", "validate", "profile"], metavar="A,B")
    extras.add_argument("--rounds", type=positive, default=5)
    extras.add_argument("--json", type=Path, metavar="FILE", help="write the raw result there")
    extras.set_defaults(call=extra_parts)

    render = sub.add_parser("render", help="print BENCHMARKS.md from result files")
    render.add_argument("results", type=Path, nargs="+", metavar="FILE")
    render.set_defaults(call=render_page)
    return parser


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def words(text: str) -> list[str]:
    """Names, separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str) -> list[int]:
    """Positive numbers, separated by commas; `all` stands for the number of cores."""
    return [ALL if word == "all" else positive(word) for word in words(text)]


def kinds(text: str) -> list[Kind]:
    """Kinds of runs, separated by commas."""
    chosen: list[Kind] = []
    for name in text.split(","):
        known = next((kind for kind in KINDS if kind == name.strip()), None)
        if known is None:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(KINDS)}")
        chosen += [] if known in chosen else [known]
    return chosen


def one_cell(arguments: argparse.Namespace) -> int:
    """`cell`: measure, print, and write the raw result if asked to."""
    from model_health.bench.rounds import measure_cell
    from model_health.bench.summary import lines_of, risen

    earlier = None if arguments.against is None else parse_block(read_json(arguments.against), str(arguments.against))
    cell = Cell(
        model=arguments.model,
        batch=arguments.batch,
        prompt=arguments.prompt,
        new_tokens=arguments.new_tokens,
        threads=arguments.threads,
        device=arguments.device,
        dtype=arguments.dtype,
        cache=arguments.cache,
    )
    block = measure_cell(
        cell,
        arguments.preset,
        rounds=arguments.rounds,
        memory_rounds=arguments.memory_rounds,
        how=arguments.how or ("lockstep" if arguments.device == "cpu" else "whole"),
        seed=arguments.seed,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if arguments.json is not None:
        write(arguments.json, block.model_dump_json())
    for line in (*lines_of([block]), *(() if earlier is None else risen(earlier, block))):
        print(line)
    return ExitCode.HEALTHY


def operations(arguments: argparse.Namespace) -> int:
    """`operations`: count, print, compare."""
    from model_health.bench.operations import count_all, read_expected, table, worse

    expected = None if arguments.check is None else read_expected(arguments.check)
    counted = count_all()
    print(*table(counted), sep="\n")
    if arguments.write is not None:
        write(arguments.write, counted.model_dump_json(indent=1))
    rises = [] if expected is None else list(worse(expected, counted))
    for line in rises:
        print(f"bench: {line}", file=sys.stderr)
    return ExitCode.UNHEALTHY if rises else ExitCode.HEALTHY


def many_cells(arguments: argparse.Namespace) -> int:
    """`matrix`: measure what lacks, print each cell."""
    from model_health.bench.matrix import Matrix, Plan, cells_of
    from model_health.bench.models import check_name

    for name in arguments.models:
        check_name(name)
    threads = list(dict.fromkeys(number or cores() for number in arguments.threads))
    cells = cells_of(
        arguments.models,
        arguments.batch,
        arguments.prompt,
        threads,
        new_tokens=arguments.new_tokens,
        device=arguments.device,
        dtypes=arguments.dtypes,
        caches=arguments.caches,
    )
    plan = Plan(
        cells,
        tuple(arguments.presets),
        arguments.out,
        how=arguments.how or ("lockstep" if arguments.device == "cpu" else "whole"),
        rounds=arguments.rounds,
        memory_rounds=arguments.memory_rounds,
        processes=arguments.processes,
        minutes=arguments.budget_minutes,
    )
    plan.out.mkdir(parents=True, exist_ok=True)
    whole = Matrix(plan, lambda line: print(line, flush=True)).run()
    return ExitCode.HEALTHY if whole else ExitCode.COULD_NOT_MEASURE


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def extra_parts(arguments: argparse.Namespace) -> int:
    """`extras`: measure, print, write."""
    from model_health.bench.extras import PARTS, measure_extras
    from model_health.bench.ratios import estimate

    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown:
        raise BadInput("is no part of the extras", subject=unknown[0], hint=did_you_mean(unknown[0], PARTS))
    found = measure_extras(arguments.parts, arguments.rounds, lambda line: print(line, file=sys.stderr, flush=True))
    if arguments.json is not None:
        write(arguments.json, found.model_dump_json())
    for extra in found.extras:
        middle = estimate(extra.values)
        assert middle is not None
        print(f"{extra.name}: {middle.median:.4g} {extra.unit} [{middle.low:.4g}, {middle.high:.4g}]: {extra.about}")
    return ExitCode.HEALTHY


def render_page(arguments: argparse.Namespace) -> int:
    """`render`: the page on standard output."""
    from model_health.bench.render import document
    from model_health.bench.results import read_results

    print(document(*read_results(arguments.results)), end="")
    return ExitCode.HEALTHY


def write(path: Path, text: str) -> None:
    """Write a result whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = build_parser().parse_args(argv)
    wait_politely()
    try:
        return int(arguments.call(arguments))
    except ModelHealthError as error:
        sys.stderr.write(f"bench: {error}\n")
        return error.exit_code
