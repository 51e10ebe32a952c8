"""The commands about what happens after a run: outbox, gates, alerts, monitors. Each is one call and a table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from model_health.cli.arguments import positive
from model_health.cli.tables import print_rows
from model_health.config.load import load_project
from model_health.config.settings import load_settings
from model_health.errors import ExitCode, one_line

OUTBOX = ("list", "deliver", "retry", "ledger", "retire")
MONITORS = ("render", "diff", "apply")


def add_parsers(sub: Any, epilog: str) -> None:
    """Add these commands to the command line."""
    outbox = sub.add_parser("outbox", help="what waits for sinks and alert transports", epilog=epilog)
    outbox.add_argument("action", choices=OUTBOX, help="retire takes models away that are no longer configured")
    outbox.add_argument("--target", metavar="NAME", help="only this sink or transport")
    outbox.add_argument("--state", action="append", default=[], metavar="STATE", help="list: items in this state")
    outbox.add_argument("--item", action="append", type=positive, metavar="ID", help="retry, ledger: only this item")
    outbox.add_argument("--json", action="store_true", help="print JSON")
    outbox.set_defaults(call=run_outbox)

    gates = sub.add_parser("gates", help="judge the newest runs by the gates, and change nothing", epilog=epilog)
    gates.add_argument("--model", metavar="NAME", help="only this model; default: every enabled one")
    gates.add_argument("--json", action="store_true", help="print JSON")
    gates.set_defaults(call=run_gates)

    alerts = sub.add_parser("alerts", help="alerts that stand, or a test message", epilog=epilog)
    alerts.add_argument("action", choices=("list", "test"), help="test sends a message to the alert transports")
    alerts.add_argument("--target", action="append", default=[], metavar="NAME", help="test: only this transport")
    alerts.add_argument("--history", action="store_true", help="every change of verdict, newest first")
    alerts.add_argument("--model", metavar="NAME", help="history of this model only")
    alerts.add_argument("--json", action="store_true", help="print JSON")
    alerts.set_defaults(call=run_alerts)

    monitors = sub.add_parser("monitors", help="the gates as Prometheus rules or Datadog monitors", epilog=epilog)
    monitors.add_argument("action", choices=MONITORS)
    monitors.add_argument("--target", required=True, choices=("prometheus", "datadog"))
    monitors.add_argument("--out", metavar="DIR", help="render: write here")
    monitors.add_argument("--dry-run", action="store_true", help="apply: only say what would change")
    monitors.set_defaults(call=run_monitors)


def run_outbox(arguments: argparse.Namespace) -> int:
    """`model-health outbox list|deliver|retry|ledger|retire`."""
    from model_health.delivery import status
    from model_health.delivery.drain import drain
    from model_health.sinks.retire import retire
    from model_health.store.index.index import Index, utc_now

    settings = load_settings()
    if arguments.action == "retire":
        retired = retire(settings, targets=[arguments.target] if arguments.target else None)
        for sink, count in retired.taken.items():
            print(f"{sink}: {count} taken away")
        for problem in retired.problems.values():
            sys.stderr.write(f"model-health: {problem}\n")
        return ExitCode.COULD_NOT_MEASURE if retired.problems else ExitCode.HEALTHY
    with Index.open(settings.index_url) as index:
        if arguments.action == "list" and not (arguments.target or arguments.state):
            print_rows(status.count_rows(index, utc_now()), arguments.json)
        elif arguments.action == "list":
            print_rows(status.item_rows(index, target=arguments.target, states=arguments.state), arguments.json)
        elif arguments.action == "ledger":
            item = arguments.item[0] if arguments.item else None
            print_rows(status.ledger_rows(index, target=arguments.target, item_id=item), arguments.json)
        elif arguments.action == "retry":
            print(f"{status.retry(index, target=arguments.target, item_ids=arguments.item)} will be tried again")
        else:
            report = drain(index, settings, targets=[arguments.target] if arguments.target else None)
            for line in report.lines:
                print(line)
            return ExitCode.HEALTHY if report.drained else ExitCode.COULD_NOT_MEASURE
    return ExitCode.HEALTHY


def run_gates(arguments: argparse.Namespace) -> int:
    """`model-health gates`: exit code 1 where a critical gate fails, 4 where too little is known to judge."""
    from model_health.alerting.status import result_rows
    from model_health.alerting.watch import judge_runs

    settings = load_settings()
    project = load_project(settings)
    chosen = [project.get_model(arguments.model)] if arguments.model else list(project.enabled_models)
    judgements = [judge_runs(m.name, suite, settings=settings, write=False) for m in chosen for suite in m.suites]
    print_rows([row for one in judgements for row in result_rows(one.results)], arguments.json)
    verdicts = {str(one.verdict) for one in judgements}
    for judgement in judgements:
        sys.stderr.write(f"{judgement.model} on {judgement.suite}: {judgement.verdict}\n")
    if "fail" in verdicts:
        return ExitCode.UNHEALTHY
    return ExitCode.INCONCLUSIVE if "inconclusive" in verdicts else ExitCode.HEALTHY


def run_alerts(arguments: argparse.Namespace) -> int:
    """`model-health alerts list [--history]`, `model-health alerts test [--target NAME]`."""
    if arguments.action == "test":
        return _test_alerts(arguments)
    from model_health.alerting.status import history_rows, standing_rows
    from model_health.store.index.index import Index

    with Index.open(load_settings().index_url) as index:
        rows = history_rows(index, model=arguments.model) if arguments.history else standing_rows(index)
    print_rows(rows, arguments.json)
    return ExitCode.HEALTHY


def _test_alerts(arguments: argparse.Namespace) -> int:
    from model_health.delivery.trial import send_test
    from model_health.store.index.index import utc_now

    answers = send_test(load_settings(), utc_now(), arguments.target)
    for target, problem in answers.items():
        if problem is None:
            print(f"{target}: delivered")
        else:
            named = target in problem or repr(target) in problem
            sys.stderr.write(f"model-health: {one_line(problem if named else f'{target}: {problem}')}\n")
    return ExitCode.COULD_NOT_MEASURE if any(answers.values()) else ExitCode.HEALTHY


def run_monitors(arguments: argparse.Namespace) -> int:
    """`model-health monitors render|diff|apply`."""
    from model_health.monitors import apply as monitors

    settings = load_settings()
    if arguments.action == "render":
        outcome = monitors.render(arguments.target, Path(arguments.out) if arguments.out else None, settings)
    elif arguments.action == "diff":
        outcome = monitors.diff(arguments.target, settings)
    else:
        outcome = monitors.apply(arguments.target, settings, dry_run=arguments.dry_run)
    sys.stdout.write(outcome.text)
    return int(outcome.exit_code)
