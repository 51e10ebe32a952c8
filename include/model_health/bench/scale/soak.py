"""Simulates hours of operation in one process, and looks after each hour at what the process holds.

Owns what happens when: runs, of which some are sick and some die, deliveries to a far side that refuses some, gates,
looks at the clock, the reaper, retention. A real installation does this in a process per task, where nothing can
accumulate; one process for all shows what would.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

from model_health.alerting.watch import judge_runs, look_at_the_clock
from model_health.baseline.prune import prune
from model_health.bench.scale.far_side import far_side
from model_health.bench.scale.made import Load, database_of, opened
from model_health.bench.scale.process import files_below, open_files, resident_bytes, rows, sockets
from model_health.bench.scale.recorded import SUITE, Recording, model_name
from model_health.bench.scale.records import Soak, SoakHour
from model_health.bench.scale.world import START, Clock, World, make_home
from model_health.delivery.drain import drain
from model_health.delivery.verdicts import announce_look, announce_verdicts
from model_health.runner.reap import reap

MINUTE: Final = timedelta(minutes=1)
LOOK_MINUTES: Final = 15
DIES_EVERY: Final = 17
"""One run in so many starts and says no more."""
REFUSE_EVERY: Final = 40
SICK_HOURS: Final = 4
"""Every model is sick for an hour in so many."""


def measure_soak(
    folder: Path,
    shipped: Path,
    *,
    models: int,
    prompts: int,
    hours: int,
    minutes: int,
    keep: int,
    say: Callable[[str], None],
    index_url: str | None = None,
) -> Soak:
    """Simulate some hours.

    Args:
        folder: empty; the installation's home.
        shipped: the folder of configurations that gates are taken from.
        models: how many.
        prompts: of each run.
        hours: simulated.
        minutes: between two runs of a model.
        keep: runs of each model that retention keeps (never fewer than `prune.SPARED`).
        say: told what was seen after each hour.
        index_url: of an empty index; None: SQLite in `folder`.
    """
    load, clock = Load(), Clock()
    names = [model_name(number) for number in range(models)]
    recording = Recording(prompts=prompts, tokens=16, layers=4)
    began, began_cpu = time.perf_counter(), time.process_time()
    with far_side(refuse_every=REFUSE_EVERY) as other:
        settings = make_home(folder, shipped, names, other.url, local=True, index_url=index_url)
        with opened(settings.index_url, clock) as index:
            operation = _Operation(World(settings, index, recording, clock, ("prometheus", "local")), names, keep)
            seen = []
            for hour in range(1, hours + 1):
                for minute in range(60):
                    operation.minute((hour - 1) * 60 + minute, minutes)
                    clock.forward(MINUTE)
                operation.retention()
                seen.append(operation.look(hour))
                load.look()
                say(
                    f"hour {hour}: {seen[-1].resident_bytes / 2**20:.1f} MiB, {seen[-1].open_files} open files,"
                    f" {seen[-1].files} files, {seen[-1].rows['runs']} runs kept"
                )
            requests = other.counts()
            database = database_of(index)
    return Soak(
        made=load.made(),
        database=database,
        models=models,
        prompts=prompts,
        minutes=minutes,
        keep=keep,
        wall=time.perf_counter() - began,
        cpu=time.process_time() - began_cpu,
        requests=requests,
        hours=tuple(seen),
    )


class _Operation:
    """What happens in the minutes of an installation."""

    def __init__(self, world: World, names: list[str], keep: int) -> None:
        self.world, self.names, self.keep = world, names, keep
        self.done: Counter[str] = Counter()
        self._rng = Random(0)  # noqa: S311  # jitter
        self._verdicts, self._looks = announce_verdicts(world.settings), announce_look(world.settings)

    def minute(self, number: int, between: int) -> None:
        """The runs that start in this minute, and what the clock asks for."""
        for place, name in enumerate(self.names):
            if number % between == place % between:
                self._run(name, place, number)
        if number % LOOK_MINUTES == LOOK_MINUTES - 1:
            clock, settings = self.world.clock, self.world.settings
            self.done["alerts"] += len(look_at_the_clock(settings=settings, announce=self._looks, clock=clock).said)
            found = reap(settings=settings, clock=clock, sleep=lambda seconds: None)
            self.done["reaped"] += len(found.reaped)
            self._deliver()

    def _run(self, name: str, place: int, number: int) -> None:
        run_id = f"scheduled__{(START + number * MINUTE).isoformat()}"
        self.done["runs"] += 1
        if self.done["runs"] % DIES_EVERY == 0:
            self.world.died(name, run_id)
            return
        self.world.measured_with_files(name, run_id, sick=(number // 60 + place) % SICK_HOURS == 0)
        self._deliver()
        judged = judge_runs(
            name, SUITE.name, settings=self.world.settings, announce=self._verdicts, clock=self.world.clock
        )
        self.done["alerts"] += len(judged.said)
        self._deliver()

    def _deliver(self) -> None:
        world = self.world
        found = drain(world.index, world.settings, clock=world.clock, rng=self._rng, budget_seconds=600)
        self.done["delivered"] += found.deliveries.delivered
        self.done["failed"] += sum(target.failed for target in found.deliveries.targets.values())

    def retention(self) -> None:
        """What is done once an hour."""
        found = prune(runs=self.keep, delete=True, settings=self.world.settings, clock=self.world.clock)
        self.done["pruned"] += len(found.runs)

    def look(self, hour: int) -> SoakHour:
        """What there is now."""
        names = open_files()
        files, size = files_below(self.world.settings.home)
        return SoakHour(
            hour=hour,
            resident_bytes=resident_bytes(),
            open_files=len(names),
            sockets=sockets(names),
            threads=threading.active_count(),
            files=files,
            bytes=size,
            rows=rows(self.world.index),
            **{name: self.done[name] for name in ("runs", "reaped", "pruned", "delivered", "failed", "alerts")},
        )
