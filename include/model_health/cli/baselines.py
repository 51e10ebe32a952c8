"""`model-health baseline`: create, list, show, promote, diff. Each is one call into the library and a table."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from typing import TYPE_CHECKING, Any

from model_health.cli.arguments import positive
from model_health.cli.tables import print_rows
from model_health.config.load import load_project
from model_health.config.settings import load_settings, wait_politely
from model_health.errors import ExitCode

if TYPE_CHECKING:
    from model_health.baseline.document import BaselineDocument, Provenance
    from model_health.baseline.registry import Promotion

SHORT = 12


def add_parsers(sub: Any, epilog: str) -> None:
    """Add the command and its actions to the command line."""
    baseline = sub.add_parser("baseline", help="what models were when they were accepted", epilog=epilog)
    actions = baseline.add_subparsers(dest="action", required=True, metavar="action")

    create = actions.add_parser("create", help="make a baseline of healthy runs and a replay", epilog=epilog)
    create.add_argument("--model", required=True, metavar="NAME", help="a model of configs/models")
    create.add_argument("--suite", metavar="NAME", help="a suite of configs/canaries; default: the model's first")
    create.add_argument("--runs", type=positive, default=1, metavar="N", help="of the newest N healthy runs; default 1")
    create.add_argument("--run-id", action="append", default=[], metavar="ID", help="of this run instead (repeatable)")
    create.add_argument("--no-tolerances", action="store_true", help="do not learn what is harmless (quicker)")
    create.add_argument("--promote", action="store_true", help="let it count at once")

    create.add_argument("--result-file", metavar="PATH", help="write the result as JSON to this file too")

    listing = actions.add_parser("list", help="the baselines, and which of them count", epilog=epilog)
    listing.add_argument("--model", metavar="NAME", help="only this model's")
    listing.add_argument("--suite", metavar="NAME", help="only this suite's; needs --model")

    what = "MODEL/SUITE (the promoted one), MODEL/SUITE/ID or ID"
    show = actions.add_parser("show", help="what a baseline holds, and when it counted", epilog=epilog)
    show.add_argument("baseline", metavar="BASELINE", help=what)

    promote = actions.add_parser("promote", help="let a baseline count from now on", epilog=epilog)
    promote.add_argument("baseline", metavar="BASELINE", help=what)

    diff = actions.add_parser(
        "diff", help="what differs between two baselines: 0 nothing, 1 something, 4 not comparable", epilog=epilog
    )
    diff.add_argument("old", metavar="OLD", help=what)
    diff.add_argument("new", metavar="NEW", help=what)

    for action in (create, promote):
        action.add_argument("--reason", required=True, metavar="TEXT", help="why")
        action.add_argument("--by", metavar="WHO", help="on whose behalf; default: who runs this")
    for action in (create, listing, show, promote, diff):
        action.add_argument("--out", metavar="URI", help="the store; default: settings")
        action.add_argument("--json", action="store_true", help="print JSON")
    for action, call in (
        (create, run_create), (listing, run_list), (show, run_show), (promote, run_promote), (diff, run_diff)
    ):  # fmt: skip
        action.set_defaults(call=call)


def run_create(arguments: argparse.Namespace) -> int:
    """`model-health baseline create`."""
    settings = load_settings()
    provenance = _provenance(arguments)
    # Known names are checked before torch is imported: a typing error should cost a moment, not ten seconds.
    project = load_project(settings)
    project.get_suite(arguments.suite or project.get_model(arguments.model).suites[0])
    wait_politely()
    from model_health.runner.canary import utc_now
    from model_health.runner.replay_baseline import BaselineRequest, create_baseline

    request = BaselineRequest(
        model=arguments.model,
        suite=arguments.suite,
        provenance=provenance,
        runs=arguments.runs,
        run_ids=tuple(arguments.run_id),
        tolerances=not arguments.no_tolerances,
        promote=arguments.promote,
        store_uri=arguments.out,
    )
    made = create_baseline(request, settings, say=lambda line: print(line, file=sys.stderr, flush=True), clock=utc_now)
    row = {
        "baseline": f"{made.model}/{made.suite}/{made.baseline_id}",
        "size_bytes": made.size_bytes,
        "reproducible": made.reproducible,
        "promoted": arguments.promote,
        "uri": made.uri,
    }
    if arguments.result_file:
        from pathlib import Path

        from model_health.runner.request import write_result

        write_result(Path(arguments.result_file), row)
    if arguments.json:
        print(json.dumps(row))
    else:
        print_rows([row], False)
    return ExitCode.HEALTHY


def run_list(arguments: argparse.Namespace) -> int:
    """`model-health baseline list`."""
    from model_health.baseline.registry import current
    from model_health.errors import BadInput

    if arguments.suite and not arguments.model:
        raise BadInput("--suite needs --model", hint="name both")
    store = _store(arguments)
    counting = {}
    rows: list[dict[str, object]] = []
    for model, suite, baseline_id in store.baselines(arguments.model, arguments.suite):
        if (model, suite) not in counting:
            counting[model, suite] = current(store, model, suite)
        promotion = counting[model, suite]
        document = store.read_document(model, suite, baseline_id)
        rows.append(_row(document, baseline_id, promotion, short=not arguments.json))
    rows.sort(key=lambda row: (str(row["model"]), str(row["suite"]), str(row["created_at"])))
    print_rows(rows, arguments.json)
    return ExitCode.HEALTHY


def run_show(arguments: argparse.Namespace) -> int:
    """`model-health baseline show BASELINE`: reads it whole, so a changed byte is an error here."""
    from model_health.baseline.registry import history, load

    store = _store(arguments)
    found = load(store, arguments.baseline)
    document = found.document
    promotions = history(store, document.model_name, document.suite)
    if arguments.json:
        content = document.model_dump(mode="json")
        content |= {"baseline_id": found.baseline_id, "promotions": [one.model_dump(mode="json") for one in promotions]}
        print(json.dumps(content))
        return ExitCode.HEALTHY
    print_rows([_row(document, found.baseline_id, promotions[-1] if promotions else None, short=False)], False)
    golden = [item for item in found.observation.items if item.kind == "golden"]
    facts: list[dict[str, object]] = [
        {"what": "items, scored tokens", "is": f"{len(document.items)}, {found.observation.tokens}"},
        {"what": "states", "is": len(document.state_names)},
        {"what": "golden surprisal, bits per token", "is": _mean_surprisal(golden)},
        {"what": "healthy runs", "is": ", ".join(run.run_id for run in document.runs)},
        {"what": "loops raised", "is": "{} of {} generations".format(*document.flag_counts("loop_detected"))},
        {"what": "replayed, bits repeat", "is": f"{document.replays} times, {document.reproducible}"},
        {"what": "tolerances learned", "is": document.tolerances is not None},
        *({"what": f"key: {name}", "is": value} for name, value in _key_rows(document)),
    ]
    print_rows(facts, False)
    print_rows([_promotion_row(one) for one in promotions], False)
    return ExitCode.HEALTHY


def run_promote(arguments: argparse.Namespace) -> int:
    """`model-health baseline promote BASELINE --reason TEXT`."""
    from model_health.baseline.registry import find, promote
    from model_health.store.index.index import utc_now

    store = _store(arguments)
    promotion = promote(store, *find(store, arguments.baseline), _provenance(arguments), utc_now())
    if arguments.json:
        print(promotion.model_dump_json())
    else:
        print_rows([_promotion_row(promotion)], False)
    return ExitCode.HEALTHY


def run_diff(arguments: argparse.Namespace) -> int:
    """`model-health baseline diff OLD NEW`."""
    from model_health.baseline.difference import difference
    from model_health.baseline.registry import load

    store = _store(arguments)
    found = difference(load(store, arguments.old), load(store, arguments.new))
    if arguments.json:
        print(json.dumps(found.to_json()))
    else:
        print(f"keys differ in: {', '.join(found.axes) or 'nothing'}")
        if found.items is not None:
            print(f"{len(found.items)} of {found.compared} texts differ")
            print_rows(found.to_json()["items"], False) if found.items else None
    if found.why is not None:
        sys.stderr.write(f"model-health: not comparable: {found.why}\n")
        return ExitCode.INCONCLUSIVE
    return ExitCode.HEALTHY if found.identical else ExitCode.UNHEALTHY


def _store(arguments: argparse.Namespace) -> Any:
    from model_health.baseline.store import BaselineStore

    return BaselineStore.open(arguments.out or load_settings().store_uri)


def _provenance(arguments: argparse.Namespace) -> Provenance:
    from model_health.baseline.document import Provenance
    from model_health.errors import BadInput

    by, reason = (arguments.by or _whoami()).strip(), arguments.reason.strip()
    for name, text, most in (("--by", by, 200), ("--reason", reason, 2000)):
        if not text or len(text) > most:
            raise BadInput(f"{name} needs 1 to {most} characters")
    return Provenance(by=by, reason=reason)


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown user"


def _row(
    document: BaselineDocument, baseline_id: str, promotion: Promotion | None, *, short: bool
) -> dict[str, object]:
    counts = promotion is not None and promotion.baseline_id == baseline_id
    return {
        "model": document.model_name,
        "suite": document.suite,
        "baseline": baseline_id[:SHORT] if short else baseline_id,
        "promoted": counts,
        "created_at": document.created_at.isoformat(timespec="seconds"),
        "by": document.provenance.by,
        "reason": document.provenance.reason,
        "runs": len(document.runs),
        "dtype": document.key.dtype,
        "device": document.key.device_name or document.key.device_kind,
    }


def _promotion_row(promotion: Promotion) -> dict[str, object]:
    return {
        "promotion": promotion.number,
        "baseline": promotion.baseline_id[:SHORT],
        "replaced": promotion.replaced[:SHORT] if promotion.replaced else None,
        "promoted_at": promotion.promoted_at.isoformat(timespec="seconds"),
        "by": promotion.provenance.by,
        "reason": promotion.provenance.reason,
    }


def _key_rows(document: BaselineDocument) -> list[tuple[str, object]]:
    key = document.model_dump(mode="json")["key"]
    libraries = " ".join(f"{name} {version}" for name, version in sorted(key.pop("libraries").items()))
    shape = " ".join(f"{name}={value}" for name, value in key.pop("shape").items() if value is not None)
    return [*key.items(), ("libraries", libraries), ("shape", shape)]


def _mean_surprisal(golden: list[Any]) -> str:
    tokens = sum(item.tokens for item in golden)
    return f"{sum(float(item.surprisal_bits.sum()) for item in golden) / tokens:.4f}" if tokens else "no golden text"
