"""Runs one generation, plain or watched, and says how long its parts took and how much memory it needed.

Plain and watched runs do the same work in the same way: the same call, the same hook that marks the end of the prefill,
a device that is idle before the clock starts and after it stops.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import torch
from transformers import PreTrainedModel

from model_health.bench.records import Kind, Peak, Run, Span, switches_of
from model_health.metrics.recording import Recording, record
from model_health.runner.loading_quiet import quiet_transformers
from model_health.runner.memory import PeakMemory


@dataclass(frozen=True)
class Work:
    """What every run of a cell does."""

    model: PreTrainedModel
    inputs: dict[str, torch.Tensor]
    new_tokens: int
    cache: str = "dynamic"

    def arguments(self, new_tokens: int | None = None) -> dict[str, Any]:
        """The arguments of `generate`: greedy, and exactly as many tokens as asked for."""
        tokens = self.new_tokens if new_tokens is None else new_tokens
        arguments = {**self.inputs, "max_new_tokens": tokens, "do_sample": False, "num_beams": 1}
        settings: Any = self.model.generation_config
        if settings.eos_token_id is not None:
            arguments["min_new_tokens"] = tokens
        if self.cache != "dynamic":
            arguments["cache_implementation"] = self.cache
        return arguments


class _Stopwatch:
    """Wall and CPU time since the start; on a GPU, wall time from events, so that nothing waits in between."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cuda = device.type == "cuda"
        self._events: list[torch.cuda.Event] = []
        self.wait()
        self._mark()
        self._cpu, self._wall = process_time(), perf_counter()

    def wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize(self.device)

    def _mark(self) -> None:
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self._events.append(event)

    def lap(self) -> Span:
        """Time since the start, as the host sees it; `device_lap` corrects it for a GPU afterwards."""
        self._mark()
        return Span(cpu=process_time() - self._cpu, wall=perf_counter() - self._wall)

    def device_lap(self, lap: Span) -> Span:
        """The same lap with the time at which the GPU, not the host, got there; waits."""
        if not self._cuda:
            return lap
        self.wait()
        return Span(cpu=lap.cpu, wall=self._events[0].elapsed_time(self._events[1]) / 1000.0)


def run_once(work: Work, kind: Kind, *, round_number: int = 0, place: int = 0, new_tokens: int | None = None) -> Run:
    """One generation of `work`.

    Raises:
        CaptureError, UnsupportedGeneration: as capture does.
    """
    device = work.model.device
    arguments = work.arguments(new_tokens)
    laps: list[Span] = []
    assembled: Span | None = None
    probes: float | None = None
    gc.collect()
    with torch.inference_mode(), quiet_transformers():
        switches = switches_of(kind)
        watching = nullcontext() if switches is None else record(work.model, switches)
        watch = _Stopwatch(device)
        with watching as recording:

            def first_forward_ended(module: Any, args: Any, output: Any) -> None:
                handle.remove()
                laps.append(watch.lap())

            # registered after the probes, so it runs after them: what they do in the prefill belongs to the prefill
            handle = work.model.register_forward_hook(first_forward_ended)
            generate: Any = work.model.generate  # looked up here: capture shadows it on the instance
            generate(**arguments)
        watch.wait()
        generated = watch.lap()
        if isinstance(recording, Recording):
            recording.telemetry()
            after = watch.lap()
            assembled = Span(cpu=after.cpu - generated.cpu, wall=after.wall - generated.wall)
            probes = recording.capture.probe_seconds
    return Run(
        kind=kind,
        round=round_number,
        place=place,
        prefill=watch.device_lap(laps[0]),
        generate=generated,
        assemble=assembled,
        probe_seconds=probes,
    )


def peak_of(work: Work, kind: Kind) -> Peak | None:
    """Peak memory of one generation; None where this platform offers none. Not timed: trimming costs page faults."""
    gc.collect()
    release_freed_memory()
    with PeakMemory(work.model.device) as memory:
        run_once(work, kind)
    if memory.peak_bytes is None or memory.start_bytes is None or memory.method is None:
        return None
    return Peak(kind=kind, peak_bytes=memory.peak_bytes, start_bytes=memory.start_bytes, method=memory.method)


def release_freed_memory() -> None:
    """Hand memory that was freed back to the system (glibc keeps it, and it would count as in use)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return
    trim(0)
