"""Runs one generation of each kind side by side, forward pass by forward pass in turn, on a CPU.

Whole generations that follow each other differ by what else the machine did meanwhile, often by more than the probes
cost. Here the next pass of each kind follows within milliseconds of the others', so that whatever slows the machine
slows all of them alike. Each kind has a thread and a copy of the model of its own (the weights are shared); only the
thread whose turn it is runs, and only its own turns are timed.

Two things differ from a run alone: the caches of all kinds are alive at once, and the plain turns pass through the
wrapped attention table (about a microsecond per layer and pass), so peak memory is measured elsewhere.
"""

from __future__ import annotations

import copy
import gc
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from time import perf_counter, process_time
from typing import Any

import torch
from transformers import PreTrainedModel

from model_health.bench.records import Kind, Run, Span, switches_of
from model_health.bench.single import Work
from model_health.errors import BadInput
from model_health.metrics.recording import Recording, record
from model_health.runner.loading_quiet import quiet_transformers


class _Turns:
    """Whose turn it is; a lane that is done is left out from then on."""

    def __init__(self, lanes: int) -> None:
        self._change = threading.Condition()
        self._waiting = list(range(lanes))
        self._now = 0

    def wait(self, lane: int) -> None:
        with self._change:
            self._change.wait_for(lambda: self._waiting[self._now] == lane)

    def hand_on(self, lane: int) -> None:
        with self._change:
            self._now = (self._now + 1) % len(self._waiting)
            self._change.notify_all()

    def leave(self, lane: int) -> None:
        with self._change:
            self._waiting.remove(lane)  # it was this lane's turn, so the next one has moved into its place
            self._now = self._now % len(self._waiting) if self._waiting else 0
            self._change.notify_all()


class _Lane:
    """One kind's generation, on a thread of its own. `turns` holds what each of its turns took, the prefill first."""

    def __init__(self, number: int, work: Work, kind: Kind, turns: _Turns, threads: int) -> None:
        self.number, self.work, self.kind = number, work, kind
        self.turns: list[Span] = []
        self.recording: Recording | None = None
        self._baton, self._threads = turns, threads
        self._wall = self._cpu = 0.0

    def run(self) -> None:
        """Wait for the first turn, generate, and leave the others to themselves."""
        self._baton.wait(self.number)
        try:
            torch.set_num_threads(self._threads)
            with torch.inference_mode():
                self._generate()
        finally:
            self._baton.leave(self.number)

    def _generate(self) -> None:
        model = self.work.model
        arguments = self.work.arguments()
        kind = self.kind
        self._begin()
        switches = switches_of(kind)
        with nullcontext() if switches is None else record(model, switches) as recording:
            # registered after the probes, so it runs after them
            handle = model.register_forward_hook(self._forward_ended)
            try:
                generate: Any = model.generate  # looked up here: capture shadows it on the instance
                generate(**arguments)
            finally:
                handle.remove()
        self._end()
        self.recording = recording

    def _begin(self) -> None:
        self._cpu, self._wall = process_time(), perf_counter()

    def _end(self) -> None:
        self.turns.append(Span(wall=perf_counter() - self._wall, cpu=process_time() - self._cpu))

    def _forward_ended(self, module: Any, args: Any, output: Any) -> None:
        self._end()
        self._baton.hand_on(self.number)
        self._baton.wait(self.number)
        self._begin()


def twins(work: Work, count: int) -> list[Work]:
    """`count` pieces of work on copies of the model that share its weights; the first is the work itself.

    Raises:
        BadInput: the model is not on a CPU, where turns could not be told apart.
    """
    if work.model.device.type != "cpu":
        raise BadInput("runs in lockstep are for the CPU", subject=str(work.model.device), hint="use --how whole")
    return [work, *(replace(work, model=_twin(work.model)) for _ in range(count - 1))]


def _twin(model: PreTrainedModel) -> PreTrainedModel:
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def run_in_lockstep(works: Sequence[Work], kinds: Sequence[Kind], *, round_number: int = 0) -> list[Run]:
    """One generation of each kind, in turns that go round in the order of `kinds`.

    Args:
        works: as many as kinds, from `twins`.
        kinds: what to run.
        round_number: written into the runs.

    Raises:
        CaptureError, UnsupportedGeneration: as capture does; the other kinds have run to their end.
    """
    gc.collect()
    turns = _Turns(len(kinds))
    lanes = [
        _Lane(number, work, kind, turns, torch.get_num_threads())
        for number, (work, kind) in enumerate(zip(works, kinds, strict=True))
    ]
    with quiet_transformers(), ThreadPoolExecutor(max_workers=len(lanes), thread_name_prefix="bench") as pool:
        running = [pool.submit(lane.run) for lane in lanes]
    for done in running:
        done.result()
    return [_run_of(lane, round_number) for lane in lanes]


def _run_of(lane: _Lane, round_number: int) -> Run:
    assembled: Span | None = None
    if lane.recording is not None:
        cpu, wall = process_time(), perf_counter()
        with torch.inference_mode():
            lane.recording.telemetry()
        assembled = Span(cpu=process_time() - cpu, wall=perf_counter() - wall)
    return Run(
        kind=lane.kind,
        round=round_number,
        place=lane.number,
        prefill=lane.turns[0],
        generate=Span(cpu=sum(turn.cpu for turn in lane.turns), wall=sum(turn.wall for turn in lane.turns)),
        assemble=assembled,
        probe_seconds=lane.recording.capture.probe_seconds if lane.recording is not None else None,
    )
