"""`model-health`: parses arguments, calls the library, and turns every error of ours into one line and an exit code.

Owns words and exit codes, no work. Imports of a command's own libraries wait until that command runs, so that `--help`
and errors are quick.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from model_health import __version__
from model_health.cli import baselines, commands, compare, demo, operations, rehearse, self_test, store
from model_health.cli.arguments import positive
from model_health.errors import BadInput, ExitCode, ModelHealthError

INTERRUPTED = 130

_EPILOG = """exit codes: 0 healthy, 1 a flag or gate failed, 2 bad input, 3 could not measure, 4 inconclusive"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="model-health", description="Canary runs that tell when a language model broke, and where.", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"model-health {__version__}")
    sub = parser.add_subparsers(dest="command", required=True, metavar="command")

    run = sub.add_parser("run", help="run a canary suite through a model", epilog=_EPILOG)
    run.add_argument(
        "--model", required=True, metavar="NAME", help="a model of configs/models (see: model-health models)"
    )
    run.add_argument("--suite", metavar="NAME", help="a suite of configs/canaries; default: the model's first")
    run.add_argument("--out", metavar="URI", help="where reports go: a folder or s3://bucket/prefix; default: settings")
    run.add_argument(
        "--sink", action="append", default=[], metavar="NAME", help="publish metrics there (repeatable): local"
    )
    run.add_argument("--no-prompt-telemetry", action="store_true", help="leave prompt_analysis out of the reports")
    run.add_argument(
        "--compare", action="store_true", help="hold it against the promoted baseline too, with the model once loaded"
    )
    run.add_argument("--perf", choices=("summary", "detailed", "strict"), default="summary",
                     help="how closely to time; strict also measures the overhead of the probes")  # fmt: skip
    run.add_argument("--batch-size", type=positive, metavar="N", help="prompts per generate call; default: the model's")
    run.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N; default: the model's")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object, and no table")
    run.add_argument("--run-id", default="", metavar="ID", help="name of the run; a run with the same name is replaced")
    run.add_argument("--result-file", metavar="PATH", help="write the result as JSON to this file too")
    for name in ("dag-id", "run-id", "task-id"):
        run.add_argument(f"--airflow-{name}", metavar="ID", help=argparse.SUPPRESS)
    for name in ("map-index", "try"):
        run.add_argument(f"--airflow-{name}", type=int, metavar="N", help=argparse.SUPPRESS)
    run.set_defaults(call=commands.run)

    validate = sub.add_parser("validate", help="check reports, or the configuration", epilog=_EPILOG)
    validate.add_argument(
        "paths", nargs="*", metavar="REPORT", help="reports or runs; none: the project's configuration"
    )
    validate.add_argument(
        "--record", action="store_true", help="a run: write down what is found, and publish or withhold its numbers"
    )
    validate.set_defaults(call=commands.validate)

    show = sub.add_parser("show", help="show a report as a page in the terminal", epilog=_EPILOG)
    show.add_argument("report", metavar="REPORT", help="path or URI of a report (any readable version) or a manifest")
    show.add_argument("--json", action="store_true", help="print the report as JSON, in today's version")
    show.set_defaults(call=commands.show)

    convert = sub.add_parser("convert", help="rewrite an old report in today's version", epilog=_EPILOG)
    convert.add_argument("source", metavar="SOURCE", help="a v0.2.0, v0.3.0 or v0.4.0 trace (JSON, .gz or SQLite)")
    convert.add_argument(
        "target", metavar="TARGET", help="file to write; a folder for a SQLite file of several reports"
    )
    convert.set_defaults(call=commands.convert)

    models = sub.add_parser("models", help="list the configured models", epilog=_EPILOG)
    models.add_argument("--json", action="store_true", help="print JSON")
    models.set_defaults(call=commands.models)

    suites = sub.add_parser("suites", help="list the canary suites, or the prompts of one", epilog=_EPILOG)
    suites.add_argument("suite", nargs="?", metavar="NAME", help="show this suite's prompts")
    suites.add_argument("--json", action="store_true", help="print JSON")
    suites.set_defaults(call=commands.suites)

    baselines.add_parsers(sub, _EPILOG)
    compare.add_parsers(sub, _EPILOG)
    operations.add_parsers(sub, _EPILOG)
    self_test.add_parsers(sub, _EPILOG)
    rehearse.add_parsers(sub, _EPILOG)
    demo.add_parsers(sub, _EPILOG)
    store.add_parsers(sub, _EPILOG)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        _check_text(sys.argv[1:] if argv is None else argv)
        arguments = build_parser().parse_args(argv)
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        return int(arguments.call(arguments))
    except ModelHealthError as error:
        for line in (str(error), *getattr(error, "__notes__", ())):
            sys.stderr.write(f"model-health: {line}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("model-health: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader went away (a pager that was closed): nothing is wrong, and nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.HEALTHY


def _check_text(argv: Sequence[str]) -> None:
    """Raise `BadInput` for bytes that are no UTF-8: no table, log or index could hold them."""
    for argument in argv:
        if "\x00" in argument or any("\ud800" <= character <= "\udfff" for character in argument):
            raise BadInput("is not text", subject=ascii(argument), hint="arguments and file names are UTF-8")


if __name__ == "__main__":
    sys.exit(main())
