"""Measures many cells, each in fresh processes, within a time budget. Owns which cell comes next; measures nothing.

First every cell gets its processes; what is left of the budget goes, a process at a time, to the cell whose interval is
widest. Results that lie in the folder already count, so an interrupted matrix goes on where it stopped.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_health.bench.ratios import estimate, paired
from model_health.bench.records import Block, Cell, How, Kind, parse_block, read_json
from model_health.bench.summary import kinds_of, lines_of
from model_health.config.settings import child_environment, load_settings

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to measure. `minutes` None: every cell gets its processes, then it ends."""

    cells: tuple[Cell, ...]
    kinds: tuple[Kind, ...]
    out: Path
    how: How = "lockstep"
    rounds: int = 3
    memory_rounds: int = 1
    processes: int = 2
    minutes: float | None = None


def cells_of(
    models: Sequence[str],
    batches: Sequence[int],
    prompts: Sequence[int],
    threads: Sequence[int],
    *,
    new_tokens: int = 64,
    device: str = "cpu",
    dtypes: Sequence[str] = ("float32",),
    caches: Sequence[str] = ("dynamic",),
) -> tuple[Cell, ...]:
    """Every combination."""
    return tuple(
        Cell.model_validate(
            {"model": model, "batch": batch, "prompt": prompt, "threads": count, "new_tokens": new_tokens,
             "device": device, "dtype": dtype, "cache": cache}
        )
        for model, dtype, cache, count, batch, prompt in itertools.product(
            models, dtypes, caches, threads, batches, prompts
        )
    )  # fmt: skip


class Matrix:
    """A plan under way."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self.plan, self.say = plan, say
        self.blocks: dict[str, list[Block]] = {cell.name: [] for cell in plan.cells}
        self.failed: dict[str, str] = {}
        self._took: dict[str, float] = {}
        self._ends = None if plan.minutes is None else time.monotonic() + 60.0 * plan.minutes
        for cell in plan.cells:
            self.blocks[cell.name] = [parse_block(read_json(file), str(file)) for file in self._files(cell)]

    def run(self) -> bool:
        """Measure until nothing is left to do or the time is over; whether every cell has a result and none failed."""
        while (cell := self.next_cell()) is not None:
            self._measure(cell)
        for cell in self.plan.cells:
            if self.blocks[cell.name]:
                for line in lines_of(self.blocks[cell.name]):
                    self.say(line)
        for name, reason in self.failed.items():
            self.say(f"{name}: failed: {reason}")
        missing = [name for name, blocks in self.blocks.items() if not blocks]
        if missing:
            self.say(f"no result for: {', '.join(missing)}")
        return not self.failed and not missing

    def next_cell(self) -> Cell | None:
        """The cell that gets the next process: one that lacks some, else the one that is least certain."""
        cells = [cell for cell in self.plan.cells if cell.name not in self.failed and self._fits(cell)]
        lacking = [cell for cell in cells if len(self.blocks[cell.name]) < self.plan.processes]
        if lacking:
            return min(lacking, key=lambda cell: len(self.blocks[cell.name]))
        if self._ends is None or not cells:
            return None
        return max(cells, key=lambda cell: uncertainty(self.blocks[cell.name]))

    def _fits(self, cell: Cell) -> bool:
        """Whether a process for this cell, as long as its last one, would end in time."""
        return self._ends is None or time.monotonic() + self._took.get(cell.name, 0.0) < self._ends

    def _files(self, cell: Cell) -> list[Path]:
        return sorted(self.plan.out.glob(f"{cell.name}-{self.plan.how}-[0-9][0-9].json"))

    def _measure(self, cell: Cell) -> None:
        number = len(self._files(cell))
        file = self.plan.out / f"{cell.name}-{self.plan.how}-{number:02d}.json"
        self.say(f"{cell.name}: process {number + 1}")
        environment = child_environment(load_settings())
        environment["OMP_NUM_THREADS"] = str(cell.threads)
        words = [sys.executable, "-m", "model_health.bench", "cell", "--json", str(file), "--how", self.plan.how,
                 "--presets", ",".join(self.plan.kinds), "--rounds", str(self.plan.rounds),
                 "--memory-rounds", str(self.plan.memory_rounds), "--seed", str(number),
                 "--model", cell.model, "--batch", str(cell.batch), "--prompt", str(cell.prompt),
                 "--new-tokens", str(cell.new_tokens), "--threads", str(cell.threads),
                 "--device", cell.device, "--dtype", cell.dtype, "--cache", cell.cache]  # fmt: skip
        began = time.monotonic()
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        self._took[cell.name] = time.monotonic() - began
        if done.returncode != 0 or not file.is_file():
            last = done.stderr.strip().splitlines()[-1:] or ["no word"]
            self.failed[cell.name] = f"exit {done.returncode}: {last[0]}"
            return
        self.blocks[cell.name].append(parse_block(read_json(file), str(file)))


def uncertainty(blocks: Sequence[Block]) -> float:
    """The widest interval among the decode ratios of a cell's presets, in CPU time."""
    found = [estimate(paired(blocks, kind, "decode", "cpu")) for kind in kinds_of(blocks) if kind != "again"]
    return max((one.width for one in found if one is not None), default=float("inf"))
