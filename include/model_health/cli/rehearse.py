"""`model-health rehearse`: does `compare` judge candidates as it should? Made, compared and thrown away on the spot.

Exit code 0 where every answer is right, 1 where one is not.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from model_health.cli.arguments import positive
from model_health.cli.pages import place_of, write_whole
from model_health.cli.tables import print_rows
from model_health.config.load import load_project
from model_health.config.settings import load_settings, wait_politely
from model_health.errors import ExitCode

FEW = 4


def add_parsers(sub: Any, epilog: str) -> None:
    """Add the command to the command line."""
    parser = sub.add_parser(
        "rehearse", help="make candidates of a model and see whether compare judges them rightly", epilog=epilog
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="a model of configs/models")
    parser.add_argument("--suite", metavar="NAME", help="a suite of configs/canaries; default: the model's first")
    parser.add_argument("--few", type=positive, default=FEW, metavar="N",
                        help=f"prompts with golden text that are too few; default {FEW}")  # fmt: skip
    parser.add_argument("--quick", action="store_true",
                        help="only short prompts with golden text, and short continuations")  # fmt: skip
    parser.add_argument("--candidate", action="append", default=[], metavar="TEXT",
                        help="only candidates whose name holds this (repeatable)")  # fmt: skip
    parser.add_argument("--markdown", metavar="PATH", help="write the whole result as a page of Markdown")
    parser.add_argument("--result-file", metavar="PATH", help="write the whole result as JSON to this file too")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.set_defaults(call=run_rehearse)


def run_rehearse(arguments: argparse.Namespace) -> int:
    """`model-health rehearse`."""
    settings = load_settings()
    project = load_project(settings)
    project.get_suite(arguments.suite or project.get_model(arguments.model).suites[0])
    page, result = place_of("--markdown", arguments.markdown), place_of("--result-file", arguments.result_file)
    wait_politely()
    from model_health.selftest.rehearsal import RehearsalRequest, rehearse
    from model_health.selftest.rehearsed import render
    from model_health.store.index.index import utc_now

    request = RehearsalRequest(
        model=arguments.model,
        suite=arguments.suite,
        few=arguments.few,
        quick=arguments.quick,
        only=tuple(arguments.candidate),
    )
    found = rehearse(request, settings, say=lambda line: print(line, file=sys.stderr, flush=True), clock=utc_now)
    content = json.dumps(found.to_json(), allow_nan=False)
    if page is not None:
        write_whole(page, render(found))
    if result is not None:
        write_whole(result, content)
    if arguments.json:
        print(content)
    else:
        shown = ("candidate", "suite", "use", "answer", "verdict", "exit_code", "state", "needed")
        print_rows([{name: getattr(one, name) for name in shown} for one in found.rows], False)
    for line in found.shortfalls:
        sys.stderr.write(f"model-health: {line}\n")
    return ExitCode.UNHEALTHY if found.shortfalls else ExitCode.HEALTHY
