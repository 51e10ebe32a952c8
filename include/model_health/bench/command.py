"""The benchmark's command line: what to measure, where results go. Owns words and exit codes, no work.

Imports of torch wait until a command needs it: how its threads wait is read from the environment when it loads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model_health.bench.records import WATCHED, Cell, Kind
from model_health.config.settings import wait_politely
from model_health.errors import ExitCode, ModelHealthError

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
    cell.add_argument("--seed", type=int, default=0, help="of the order of runs")
    cell.add_argument("--json", type=Path, metavar="FILE", help="write the raw result there")
    cell.set_defaults(call=one_cell)
    return parser


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


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
    from model_health.bench.summary import lines_of

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
        seed=arguments.seed,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if arguments.json is not None:
        write(arguments.json, block.model_dump_json())
    for line in lines_of([block]):
        print(line)
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
