"""Kill -9 at random moments: `cd tests && python -m support.chaos --out FOLDER --moments 200`.

Adds to the moments in FOLDER, writes their summary there as JSON, and with `--markdown` as a page. Ends with 1 where a
promise was broken. What is killed, and where, is the business of `chaos_supervised` and `chaos_stack`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from support.chaos_results import LEVELS, VICTIMS, Moment, Results, markdown, summary

SUPERVISED = ("child", "task")
"""Victims that need no stack."""


def main(argv: Sequence[str] | None = None) -> int:
    """Kill as often as was asked for and not yet seen; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder that keeps what was seen")
    parser.add_argument("--moments", type=int, default=200, help="per victim; those that were seen count")
    parser.add_argument("--levels", nargs="*", choices=LEVELS, default=LEVELS)
    parser.add_argument("--victims", nargs="*", choices=VICTIMS, default=VICTIMS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--together", type=int, default=1, help="stack: kills during one Dag run")
    parser.add_argument("--markdown", type=Path, help="write the summary as a page, too")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left behind, whoever ends it
    results = Results(arguments.out / "moments.jsonl")
    for level in arguments.levels:
        victims = [one for one in arguments.victims if level == "stack" or one in SUPERVISED]
        numbers = {victim: results.missing(level, victim, arguments.moments) for victim in victims}
        # In turns, so that whoever is interrupted has seen as much of each.
        order = sorted((number, victim) for victim in victims for number in numbers[victim])
        if not order:
            continue
        seen = _stack(order, arguments) if level == "stack" else _supervised(level, order, arguments)
        for moment in seen:
            told = {text for one in results.moments for text in one.violations}
            # What a whole installation breaks stays broken: it is told once.
            results.add(replace(moment, violations=tuple(text for text in moment.violations if text not in told)))
            print(_line(moment), flush=True)
    return _tell(results, arguments.out / "summary.json", arguments.markdown)


def _supervised(level: str, order: Sequence[tuple[int, str]], arguments: argparse.Namespace) -> Iterator[Moment]:
    from support.chaos_supervised import Installation, kill_at

    home = Path(tempfile.mkdtemp(prefix="model-health-chaos-"))
    try:
        place = Installation.make(home, quick=level == "made-up")
        clean, usual = place.calibrate("undisturbed")
        for number, victim in order:
            yield kill_at(place, victim, number, arguments.seed, clean, usual)
    finally:
        shutil.rmtree(home)


def _stack(order: Sequence[tuple[int, str]], arguments: argparse.Namespace) -> Iterator[Moment]:
    from support.chaos_stack import kill_in_turn

    yield from kill_in_turn(order, arguments.seed, arguments.together)


def _line(moment: Moment) -> str:
    where = f"{moment.level} {moment.victim} {moment.number}"
    line = f"{where}: killed after {moment.after_seconds:.1f} s ({moment.hit or 'nothing left'}), {moment.ended}"
    return "\n  ".join([f"{line} after {moment.seconds:.1f} s {moment.notes}", *moment.violations])


def _tell(results: Results, path: Path, page: Path | None) -> int:
    found = summary(results.moments)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    if page is not None:
        page.write_text(markdown(found))
    print(markdown(found).split("\n\n", 5)[-1])
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
