"""`model-health compare`: is this candidate still the model that was accepted? One call, a page, an exit code."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, get_args

from model_health.cli.arguments import positive
from model_health.config.regression import Use
from model_health.config.settings import load_settings, wait_politely

PURPOSES = ("promotion", *get_args(Use))


def add_parsers(sub: Any, epilog: str) -> None:
    """Add the command to the command line."""
    command = sub.add_parser(
        "compare",
        help="hold a candidate against a baseline: 0 pass, 1 fail, 4 inconclusive",
        epilog=epilog,
    )
    command.add_argument(
        "--baseline", required=True, metavar="BASELINE", help="MODEL/SUITE (the promoted one), MODEL/SUITE/ID or ID"
    )
    command.add_argument(
        "--model",
        metavar="CANDIDATE",
        help="a configured model, a model folder, a .gguf file or owner/name on the hub; default: the baseline's own",
    )
    command.add_argument(
        "--use",
        choices=PURPOSES,
        default="promotion",
        help="whose rule of gates.yaml decides; promotion (default) picks revision, quantization or upgrade by what"
        " differs",
    )
    command.add_argument("--revision", metavar="COMMIT", help="of a model of the hub")
    command.add_argument("--quantization", choices=("none", "int8", "int4"), help="quantise the candidate when loading")
    command.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), help="of the candidate")
    command.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N; default: the model's")
    command.add_argument("--batch-size", type=positive, metavar="N", help="sequences per pass; default: the model's")
    command.add_argument("--out", metavar="URI", help="the store of the baseline and of the result; default: settings")
    command.add_argument("--json", action="store_true", help="print the result as one JSON object")
    command.set_defaults(call=run_compare)


def run_compare(arguments: argparse.Namespace) -> int:
    """`model-health compare`."""
    settings = load_settings()
    # What can be wrong with the names is found before torch is imported.
    from model_health.baseline.registry import find
    from model_health.baseline.store import BaselineStore

    find(BaselineStore.open(arguments.out or settings.store_uri), arguments.baseline)
    wait_politely()
    from model_health.runner.compare_candidate import CandidateChoices
    from model_health.runner.compare_run import CompareRequest, compare_candidate
    from model_health.store.index.index import utc_now

    request = CompareRequest(
        baseline=arguments.baseline,
        candidate=arguments.model,
        purpose=arguments.use,
        choices=CandidateChoices(
            revision=arguments.revision,
            quantization=arguments.quantization,
            dtype=arguments.dtype,
            device=arguments.device,
            batch_size=arguments.batch_size,
        ),
        store_uri=arguments.out,
    )
    result = compare_candidate(
        request, settings, say=lambda line: print(line, file=sys.stderr, flush=True), clock=utc_now
    )
    if arguments.json:
        print(json.dumps(result))
    else:
        for line in page(result):
            print(line)
    return int(result["exit_code"])


def page(result: dict[str, Any]) -> list[str]:
    """A comparison for people: the verdict first, then why, then where to read on."""
    policy, place, cause, flips = result["policy"], result["place"], result["cause"], result["flips"]
    lines = [f"{result['verdict']}: {result['candidate']} is {result['answer'].replace('_', ' ')}"]
    lines += [f"  {reason}" for reason in policy["reasons"]]
    lines.append(f"  use {policy['use']}, rule {policy['rule'] or 'none'}, baseline {result['baseline']}")
    if result["axes"]:
        lines.append(f"  differs in: {', '.join(result['axes'])}")
    if result["non_finite"] is not None:
        lines.append(f"  not finite from {result['non_finite']['state']} of {result['non_finite']['item_id']}")
    elif place is not None:
        at = "" if place["item_id"] is None else f", first at {place['item_id']}, scored token {place['row']}"
        lines.append(f"  begins at {place['state'] or 'no state that can be named'}{at}: {place['reason']}")
    if cause is not None and cause["cause"] != "nothing":
        lines.append(f"  cause: {cause['cause'].replace('_', ' ')}: {cause['reason']}")
    harm = result["harm"]
    if harm is not None and harm["effect"] is not None:
        effect = harm["effect"]
        low, high = (effect[name] for name in ("low", "high"))
        span = "no interval from so few prompts" if low is None or high is None else f"[{low:+.4f}, {high:+.4f}]"
        lines.append(f"  golden text: {effect['mean']:+.4f} bits per token {span}, {harm['margin']:.4g} allowed")
    if result["needed"] is not None:
        lines.append(f"  {result['needed']} prompts with golden text would decide")
    if flips is not None:
        lines.append(f"  {flips['flipped']} of {flips['of']} tokens flipped: {flips['page']}")
    return [*lines, f"  {result['result_uri']}"]
