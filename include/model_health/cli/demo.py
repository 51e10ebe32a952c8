"""`model-health demo`: a folder with a made-up year of nights, for whoever wants something to look at."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from model_health.cli.arguments import positive
from model_health.config.settings import HOME_VARIABLE, load_settings
from model_health.errors import ExitCode

NIGHTS = 365
SEED = 2026


def add_parsers(sub: Any, epilog: str) -> None:
    """Add the command to the command line."""
    parser = sub.add_parser("demo", help="make up a year of nights with incidents, to look at", epilog=epilog)
    parser.add_argument("--out", required=True, metavar="DIR",
                        help="folder of the demonstration; an earlier one is replaced")  # fmt: skip
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help=f"of every number; default {SEED}")
    parser.add_argument("--nights", type=positive, default=NIGHTS, metavar="N", help=f"default {NIGHTS}")
    parser.set_defaults(call=run_demo)


def run_demo(arguments: argparse.Namespace) -> int:
    """`model-health demo`."""
    settings = load_settings()
    from model_health.demo.year import write_demonstration
    from model_health.store.index.index import utc_now

    made = write_demonstration(
        Path(arguments.out),
        settings.configs_dir,
        seed=arguments.seed,
        nights=arguments.nights,
        now=utc_now(),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(f"{made.runs} synthetic runs, {made.reports} reports, {made.comparisons} comparisons, {made.alerts} alerts")
    print(f"look at them: {HOME_VARIABLE}={made.home} make dashboard")
    return ExitCode.HEALTHY
