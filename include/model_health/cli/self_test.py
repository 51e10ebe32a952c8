"""`model-health self-test`: puts faults and harmless changes into a model; does the monitor tell them apart?

Exit code 0 where all promises are kept, 1 where one is not.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_health.cli.pages import place_of, write_whole
from model_health.cli.tables import print_rows
from model_health.config.load import load_project
from model_health.config.settings import load_settings, wait_politely
from model_health.errors import BadInput, ExitCode
from model_health.selftest.request import DEFAULT_HEALTHY, DEFAULT_ITEMS, DTYPES, SelfTestRequest, in_dtype

if TYPE_CHECKING:
    from model_health.config.settings import Settings
    from model_health.selftest.figures import Figures
    from model_health.selftest.result import SelfTest


def add_parsers(sub: Any, epilog: str) -> None:
    """Add the command to the command line."""
    parser = sub.add_parser("self-test", help="put faults into a model and see whether they are noticed", epilog=epilog)
    parser.add_argument("--model", required=True, metavar="NAME", help="a model of configs/models")
    parser.add_argument("--suite", metavar="NAME", help="a suite of configs/canaries; default: the model's first")
    parser.add_argument("--items", type=int, default=DEFAULT_ITEMS, metavar="N",
                        help=f"texts of the suite that are replayed; default {DEFAULT_ITEMS}")  # fmt: skip
    parser.add_argument("--healthy", type=int, default=DEFAULT_HEALTHY, metavar="N",
                        help=f"healthy replays in random ways to run; default {DEFAULT_HEALTHY}")  # fmt: skip
    parser.add_argument("--dtype", action="append", default=[], metavar="DTYPE[:items=N][:longest=N]...",
                        help=f"{', '.join(DTYPES)}, instead of the model's own (repeatable); less may be asked of one"
                             " that is slow, by items=N, longest=N (tokens of a text), healthy=N and reduced; the page"
                             " says what was left out")  # fmt: skip
    parser.add_argument("--fault", action="append", default=[], metavar="TEXT",
                        help="only faults whose name or kind holds this (repeatable); no harmless change")  # fmt: skip
    parser.add_argument("--reduced", action="store_true", help="each fault in as few layers as possible, no restart")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every choice of layers and weights")
    parser.add_argument("--markdown", metavar="PATH", help="write the whole result as a page of Markdown")
    parser.add_argument("--include", action="append", default=[], metavar="PATH",
                        help="an earlier --result-file, which comes first on the page (repeatable)")  # fmt: skip
    parser.add_argument("--result-file", metavar="PATH", help="write the whole result as JSON to this file too")
    parser.add_argument("--no-record", action="store_true", help="leave no rows in the index")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.set_defaults(call=run_self_test)


def run_self_test(arguments: argparse.Namespace) -> int:
    """`model-health self-test`."""
    for name, least in (("items", 1), ("healthy", 0), ("seed", 0)):
        if getattr(arguments, name) < least:
            raise BadInput(f"--{name} must be at least {least}, not {getattr(arguments, name)}")
    settings = load_settings()
    # Known names are checked before torch is imported: a typing error should cost a moment, not ten seconds.
    project = load_project(settings)
    project.get_suite(arguments.suite or project.get_model(arguments.model).suites[0])
    page, result = place_of("--markdown", arguments.markdown), place_of("--result-file", arguments.result_file)
    request = SelfTestRequest(
        model=arguments.model,
        suite=arguments.suite,
        items=arguments.items,
        healthy=arguments.healthy,
        reduced=arguments.reduced,
        seed=arguments.seed,
        faults=tuple(arguments.fault),
    )
    requests = [in_dtype(request, text) for text in arguments.dtype] or [request]
    earlier = [test for path in arguments.include for test in _earlier(path)]
    wait_politely()
    from model_health.runner.canary import utc_now
    from model_health.selftest.figures import figures
    from model_health.selftest.markdown import render
    from model_health.selftest.run import self_test

    done: list[tuple[SelfTest, Figures]] = []
    for one in requests:
        test = self_test(one, settings, say=lambda line: print(line, file=sys.stderr, flush=True), clock=utc_now)
        done.append((test, figures(test)))
        if not arguments.no_record:
            _record(*done[-1], settings)
        if page is not None:
            # after each: a dtype that takes too long does not cost the page of those before it
            write_whole(page, render([*earlier, *(test for test, _ in done)]))
    content = json.dumps([{**test.to_json(), "figures": found.to_json()} for test, found in done], allow_nan=False)
    if result is not None:
        write_whole(result, content)
    if arguments.json:
        print(content)
    else:
        for test, found in done:
            _print(test, found)
    shortfalls = [f"{test.model}, {test.dtype}: {why}" for test, found in done for why in found.shortfalls]
    for line in shortfalls:
        sys.stderr.write(f"model-health: {line}\n")
    return ExitCode.UNHEALTHY if shortfalls else ExitCode.HEALTHY


def _record(test: SelfTest, found: Figures, settings: Settings) -> None:
    from model_health.delivery.verdicts import self_test_items
    from model_health.selftest.record import record_of
    from model_health.store.index.index import Index, utc_now
    from model_health.store.index.outbox import enqueue
    from model_health.store.index.self_tests import write_self_test

    record = record_of(test, found)
    with Index.open(settings.index_url) as index, index.transaction("record a self-test") as connection:
        write_self_test(connection, record)
        enqueue(connection, self_test_items(record, utc_now(), settings))


def _print(test: SelfTest, found: Figures) -> None:
    print_rows(
        [
            {
                "fault": one.fault,
                "configuration": one.configuration,
                "answer": one.answer if one.applicable else "not tried",
                "caught": one.detected if one.applicable else None,
                "named": one.attributed,
                "place": one.placement,
                "why not": one.missed or ("" if one.applicable else one.reason),
            }
            for one in test.trials
        ],
        False,
    )
    changes = [*test.harmless, *test.healthy]
    print_rows(
        [{"harmless": one.change, "answer": one.answer, "false alarm": one.false_alarm} for one in changes], False
    )
    counted = {name: value for name, value in asdict(found).items() if isinstance(value, dict)}
    print_rows([{"figure": name, "found": str(getattr(found, name))} for name in counted], False)


def _earlier(path: str) -> list[SelfTest]:
    from pydantic import ValidationError

    from model_health.selftest.result import self_test_of

    try:
        return [self_test_of(one) for one in json.loads(Path(path).read_text(encoding="utf-8"))]
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", subject=f"--include {path}") from error
    except (ValueError, AttributeError, TypeError, ValidationError) as error:
        raise BadInput("is no result of a self-test", subject=f"--include {path}") from error
