"""Judges every architecture of transformers' text-generating auto mappings, each in a process of its own.

One parent has everything imported and forks a child per architecture, with a limit on its time and its memory: what
hangs or dies is a finding, not the end of the sweep. Findings are appended to a file as they come, so an interrupted
sweep goes on where it stopped. `python -m support.coverage_sweep` writes COVERAGE.md (see `coverage_document`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

import torch
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from support.conformance import Finding, Outcome, examine
from support.coverage_document import Row, document, versions

SECONDS = 600
"""Longest time for one architecture; the slowest takes about 40 s on one busy core."""
MEMORY = 12 << 30


@dataclass(frozen=True)
class Architecture:
    """An entry of an auto mapping: its key, the class it names, and which mapping (`causal` or `seq2seq`)."""

    name: str
    class_name: str
    mapping: str


def architectures() -> list[Architecture]:
    """Every entry of both mappings, in a fixed order."""
    pairs = (
        ("causal", MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        ("seq2seq", MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
    )
    return [Architecture(name, str(cls), mapping) for mapping, names in pairs for name, cls in sorted(names.items())]


def share(entries: list[Architecture], part: int, parts: int) -> list[Architecture]:
    """One of several equal parts of the entries, every `parts`-th of them."""
    return entries[part - 1 :: parts]


def judged(entry: Architecture) -> Finding:
    """The finding of one architecture, from a child that may not outlive its limits."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(entry, writer)
    os.close(writer)
    deadline, chunks, late = monotonic() + SECONDS, [], False
    with os.fdopen(reader, "rb") as answers:
        while True:
            ready, _, _ = select.select([answers], [], [], max(0.0, deadline - monotonic()))
            if not ready:
                late = True
                os.kill(child, signal.SIGKILL)
                break
            chunk = os.read(answers.fileno(), 1 << 16)
            if not chunk:
                break
            chunks.append(chunk)
    _, status = os.waitpid(child, 0)
    if chunks and status == 0:
        told = json.loads(b"".join(chunks))
        return Finding(Outcome(told["outcome"]), told["reason"], told.get("routers", ""))
    how = f"took more than {SECONDS} s" if late else f"died with status {status}"
    return Finding(Outcome.WRONG, f"the process {how}")


def _work(entry: Architecture, writer: int) -> None:
    """In the child: judge, tell, and leave without running what the parent set up to run at its exit."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
        os.write(writer, json.dumps(asdict(examine(entry.name, entry.mapping))).encode())
        status = 0
    finally:
        os._exit(status)


def sweep(entries: Iterable[Architecture], progress: Path | None = None) -> Iterator[Row]:
    """Judge the entries in turn. With `progress`, findings of the same versions in that file are not made again."""
    known: dict[tuple[str, str], Finding] = {}
    if progress is not None and progress.exists():
        for line in progress.read_text().splitlines():
            told = json.loads(line)
            if told["versions"] == versions():
                known[told["mapping"], told["name"]] = Finding(
                    Outcome(told["outcome"]), told["reason"], told.get("routers", "")
                )
    for entry in entries:
        finding = known.get((entry.mapping, entry.name))
        if finding is None:
            finding = judged(entry)
            if progress is not None:
                with progress.open("a") as file:
                    file.write(json.dumps({**asdict(entry), **asdict(finding), "versions": versions()}) + "\n")
        yield Row(entry.name, entry.class_name, entry.mapping, finding.outcome, finding.reason, finding.routers)


def main() -> int:
    """Run the whole sweep, or the named architectures; write the table unless some were named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these architectures, and no file is written")
    parser.add_argument("--output", type=Path, default=Path("COVERAGE.md"))
    parser.add_argument("--progress", type=Path, help="a file of findings to add to, and to go on from")
    parser.add_argument("--date", help="the date that the table bears (default: today)")
    parser.add_argument("--share", default="1/1", help="judge a part only, such as 2/4; no table is written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    part, parts = (int(number) for number in arguments.share.split("/"))
    chosen = share(architectures(), part, parts)
    entries = [entry for entry in chosen if not arguments.names or entry.name in arguments.names]
    rows = []
    for row in sweep(entries, arguments.progress):
        rows.append(row)
        print(f"{len(rows):3}/{len(entries)}  {row.mapping:8} {row.name:28} {row.outcome:13} {row.reason}", flush=True)
    if not arguments.names and parts == 1:
        arguments.output.write_text(document(rows, arguments.date))
    return 1 if any(row.outcome is Outcome.WRONG for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
