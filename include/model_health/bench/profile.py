"""Where the time of a watched decode step goes: every event of the probes, timed by itself.

Owns the timing of events; what they cost together is measured in lockstep elsewhere. On a CPU an operation is over when
its call returns, so the clock of the thread tells events apart.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from time import thread_time
from typing import Any

import torch

from model_health.bench.records import EVENTS, PROFILE, PROFILED, Cell, Kind, switches_of
from model_health.bench.rounds import work_of
from model_health.capture.session import Capture
from model_health.errors import BadInput
from model_health.metrics.recorder import HealthRecorder
from model_health.runner.loading_quiet import quiet_transformers

_METHODS = {
    "logits": "logits",
    "forward_started": "choose",
    "hidden_state": "hidden",
    "final_state": "final",
    "attention": "attention",
    "forward_ended": "reduce",
}
CELLS: tuple[Cell, ...] = (
    Cell(model=PROFILED, batch=1, prompt=16, new_tokens=65),
    Cell(model=PROFILED, batch=16, prompt=256, new_tokens=65),
)


class _Timed:
    """Adds up what each event of decode steps takes, in seconds of this thread."""

    def __init__(self, recorder: HealthRecorder) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._step = 0
        for method, event in _METHODS.items():
            setattr(recorder, method, self._timed(getattr(recorder, method), event, method == "forward_started"))

    def _timed(self, call: Callable[..., None], event: str, begins: bool) -> Callable[..., None]:
        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> None:
            if begins:
                self._step = args[0]
            began = thread_time()
            call(*args, **kwargs)
            if self._step > 0:
                self.seconds[event] += thread_time() - began

        return timed


def profile(cell: Cell, kind: Kind, rounds: int) -> dict[str, list[float]]:
    """What each event adds to a decode step, as a share of a plain one, by event and round.

    Raises:
        BadInput: the cell is not on a CPU, where a call returns before its work is done; or nothing watches.
    """
    switches = switches_of(kind)
    if switches is None or cell.device != "cpu":
        raise BadInput("a profile is of watched runs on a CPU", subject=f"{cell.name}, {kind}")
    work = work_of(cell)
    found: dict[str, list[float]] = {event: [] for event in EVENTS}
    with torch.inference_mode(), quiet_transformers():
        for number in range(rounds + 1):
            plain = _decode_seconds(work.model, work.arguments())
            recorder = HealthRecorder(switches)
            timed = _Timed(recorder)
            with Capture(work.model, recorder):
                generate: Any = work.model.generate  # looked up here: capture shadows it on the instance
                generate(**work.arguments())
            if number:  # the first round warms up
                for event in EVENTS:
                    found[event].append(timed.seconds[event] / plain)
    return found


def _decode_seconds(model: Any, arguments: dict[str, Any]) -> float:
    """Seconds of this thread between the ends of the prefill and of the last forward pass."""
    ends: list[float] = []
    handle = model.register_forward_hook(lambda *_: ends.append(thread_time()))
    try:
        model.generate(**arguments)
    finally:
        handle.remove()
    return statistics.median(b - a for a, b in pairwise(ends)) * (len(ends) - 1)


def measure_profiles(rounds: int, say: Callable[[str], None]) -> dict[str, tuple[str, list[float]]]:
    """By name: what it is about, and shares of a plain decode step."""
    torch.set_num_threads(1)
    found: dict[str, tuple[str, list[float]]] = {}
    for cell in CELLS:
        for event, shares in profile(cell, "standard", rounds).items():
            about = f"of a plain decode step, {cell.model}, {cell.batch} x {cell.prompt}, `standard`: {EVENTS[event]}"
            found[f"{PROFILE}{cell.batch}x{cell.prompt}_{event}"] = (about, shares)
        say(f"profile of {cell.name}: measured")
    return found
