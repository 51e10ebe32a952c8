"""Benchmark results made by hand: runs that take what a test says, and blocks of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_health.bench.records import Block, Cell, Extra, Extras, How, Kind, Machine, Peak, Run, Span

MACHINE = Machine(system="Linux x86_64", processor="Some CPU", cores=2, memory_bytes=8 * 2**30)
CELL = Cell(model="llama-12", batch=16, prompt=256)
WHEN = "2026-01-02T03:04:05+00:00"


def span(seconds: float) -> Span:
    return Span(wall=seconds, cpu=seconds)


def run(
    kind: Kind, number: int, seconds: float, *, prefill: float = 0.25, assemble: float | None = None,
    probes: float | None = None,
) -> Run:  # fmt: skip
    """A run that takes `seconds` in `generate`, on both clocks."""
    return Run(
        kind=kind,
        round=number,
        place=0,
        prefill=span(prefill),
        generate=span(seconds),
        assemble=None if assemble is None else span(assemble),
        probe_seconds=probes,
    )


def block(
    runs: Sequence[Run], *, cell: Cell = CELL, machine: Machine = MACHINE, how: How = "lockstep",
    peaks: Sequence[tuple[Kind, int]] = (),
) -> Block:  # fmt: skip
    """A block of these runs."""
    return Block(
        made_at=WHEN,
        commit="abc",
        machine=machine,
        versions={"python": "3.11", "torch": "2.13"},
        cell=cell,
        how=how,
        runs=tuple(runs),
        peaks=tuple(Peak(kind=kind, peak_bytes=size, start_bytes=1, method="made up") for kind, size in peaks),
    )


def rounds(kind: Kind, factors: Sequence[float], *, prefill: float = 1.08, **fields: Any) -> Block:
    """A block in which `kind` takes so many times the decode time of plain, and its prefill `prefill` times."""
    runs = []
    for number, factor in enumerate(factors):
        runs += [run("plain", number, 2.0, prefill=1.0), run(kind, number, prefill + factor, prefill=prefill)]
    return block(runs, **fields)


def extras(machine: Machine = MACHINE, **values: Sequence[float]) -> Extras:
    """Extras by name."""
    return Extras(
        extras=tuple(
            Extra(
                made_at=WHEN,
                machine=machine,
                versions={},
                name=name,
                unit="s",
                values=tuple(found),
                about=f"about {name}",
            )
            for name, found in values.items()
        )
    )


def save(folder: Path, *results: Block | Extras) -> list[Path]:
    """Write them as result files."""
    folder.mkdir(exist_ok=True)
    files = []
    for number, result in enumerate(results):
        files.append(folder / f"{number}.json")
        files[-1].write_text(result.model_dump_json())
    return files
