"""Measures one cell in this process: rounds of interleaved runs, then peak memory. Owns the order of runs.

Every round runs each kind once, in a new order, so that a machine that slows down slows all of them and no kind always
follows the same other one. Ratios are taken within a round.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from model_health.bench.lockstep import run_in_lockstep, twins
from model_health.bench.machine import commit, load_average, machine, now, versions
from model_health.bench.models import build, prompt
from model_health.bench.records import Block, Cell, How, Kind, Peak, Run
from model_health.bench.single import Work, peak_of, run_once
from model_health.runner.devices import use_threads

WARM_TOKENS = 20
"""Beyond a whole block of decode steps, so that every kind of product has run once."""

Say = Callable[[str], None]


def work_of(cell: Cell, model: PreTrainedModel | None = None) -> Work:
    """The cell's model and prompt; sets torch's number of threads for the process."""
    use_threads(cell.threads)
    model = model or build(cell.model, cell.device, cell.dtype)
    return Work(model, prompt(model, cell.batch, cell.prompt), cell.new_tokens, cell.cache)


def measure_cell(
    cell: Cell,
    kinds: Sequence[Kind],
    *,
    rounds: int,
    memory_rounds: int = 1,
    how: How = "whole",
    seed: int = 0,
    model: PreTrainedModel | None = None,
    say: Say = lambda line: None,
) -> Block:
    """Measure `kinds` against plain generation.

    Args:
        cell: where.
        kinds: what, besides `plain`.
        rounds: how many runs of each.
        how: whole generations one after the other, or pass by pass in turn (CPU only, far less noise).
        memory_rounds: runs of each for peak memory, not timed.
        seed: of the order of runs.
        model: one that is loaded already, for a cell that does not differ in model, device or dtype.
        say: told about each round.

    Raises:
        BadInput: no such model, or no such device.
        CouldNotMeasure: the model or a probe failed.
    """
    load = load_average()
    work = work_of(cell, model)
    everyone: list[Kind] = ["plain", *kinds]
    works = twins(work, len(everyone)) if how == "lockstep" else []
    for kind in everyone:
        run_once(work, kind, new_tokens=min(WARM_TOKENS, cell.new_tokens))
    runs: list[Run] = []
    order = random.Random(seed)  # noqa: S311  # an order of runs, not a secret
    for number in range(rounds):
        order.shuffle(everyone)
        done = (
            [run_once(work, kind, round_number=number, place=at) for at, kind in enumerate(everyone)]
            if how == "whole"
            else run_in_lockstep(works, everyone, round_number=number)
        )
        runs += done
        took = ", ".join(f"{run.kind} {run.generate.cpu:.2f}" for run in sorted(done, key=lambda run: run.kind))
        say(f"round {number + 1} of {rounds}, CPU seconds: {took}")
    peaks: list[Peak] = []
    for _ in range(memory_rounds):
        order.shuffle(everyone)
        peaks += [peak for kind in everyone if (peak := peak_of(work, kind)) is not None]
    return Block(
        made_at=now(),
        commit=commit(),
        machine=machine(work.model.device),
        versions=versions(),
        cell=cell.model_copy(update={"threads": torch.get_num_threads()}),
        load_average=load,
        how=how,
        runs=tuple(runs),
        peaks=tuple(peaks),
    )
