"""Drives the runs of many models through index, outbox and gates, as fast as this machine can, in one process.

The clock is simulated: the models' runs are spread over an hour. Owns the order of the steps; each is the call that an
Airflow task makes, with the configuration read once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

from model_health.alerting.links import LinkMaker
from model_health.alerting.record import record
from model_health.bench.scale.far_side import far_side
from model_health.bench.scale.made import Load, database_of, opened, server_cpu
from model_health.bench.scale.process import index_bytes, rows, table_bytes
from model_health.bench.scale.recorded import SUITE, Recording, model_name
from model_health.bench.scale.records import Hour
from model_health.bench.scale.world import START, Clock, World, make_home
from model_health.config.gates import load_gates
from model_health.delivery.drain import drain
from model_health.delivery.verdicts import announce_verdicts
from model_health.gates.evaluate import evaluate

STEPS: Final = ("index", "outbox", "gates")
BETWEEN_DELIVERIES: Final = 50
"""Runs after which the outbox is drained: every task of a run does it, and finds what others left as well."""
SICK_EVERY: Final = 100
"""One model in so many has NaN in its run, and an alert."""


def measure_hour(
    folder: Path,
    shipped: Path,
    index_url: str,
    *,
    models: int,
    prompts: int,
    limit_seconds: float,
    say: Callable[[str], None],
) -> Hour:
    """One run of each of `models` models; fewer, where the limit ends it.

    Args:
        folder: empty, for the configuration.
        shipped: the folder of configurations that gates are taken from.
        index_url: of an empty index.
        models: how many.
        prompts: of each run.
        limit_seconds: on the clock.
        say: told how far it is.
    """
    load, clock, spent = Load(), Clock(), _Spent()
    recording = Recording(prompts=prompts, tokens=16, layers=4)
    with far_side() as other, opened(index_url) as index:
        settings = make_home(folder, shipped, (), other.url, local=False, index_url=index_url)
        world = World(settings, index, recording, clock, ("prometheus",))
        gates, announce = load_gates(settings), announce_verdicts(settings)
        links, rules = LinkMaker(index, settings, gates), tuple(gates.rules.values())
        began, before = time.perf_counter(), server_cpu(index)
        answers = delivered = played = 0
        for number in range(models):
            clock.now = START + number * timedelta(hours=1) / models
            run = recording.play(model_name(number), "hour-0", clock(), sick=number % SICK_EVERY == SICK_EVERY - 1)
            with spent.on("index"):
                world.measured(run)
            with spent.on("gates"):
                model = run.manifest.model_name
                results = evaluate(model, SUITE.name, index, rules, clock(), statistics=gates.regression.statistics)
                record(index, results, gates, links, clock(), announce=announce)
            answers, played = answers + len(results), number + 1
            over = time.perf_counter() - began > limit_seconds
            if over or played % BETWEEN_DELIVERIES == 0 or played == models:
                with spent.on("outbox"):
                    done = drain(index, settings, clock=clock, rng=Random(0), budget_seconds=600)  # noqa: S311
                delivered += done.deliveries.delivered
                load.look()
                say(f"{played} models, {time.perf_counter() - began:.0f} s")
            if over:
                break
        wall = time.perf_counter() - began
        return Hour(
            made=load.made(),
            database=database_of(index),
            asked=models,
            models=played,
            prompts=prompts,
            wall=wall,
            cpu=spent.seconds,
            server_cpu=max(0.0, server_cpu(index) - before),
            gates=answers,
            delivered=delivered,
            requests=other.counts().get("all", 0),
            rows=rows(index),
            table_bytes=table_bytes(index),
            index_bytes=index_bytes(index),
            waiting=sum(done.waiting.values()),
        )


class _Spent:
    """CPU seconds of this process by step; all its threads, which deliver."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STEPS, 0.0)

    @contextmanager
    def on(self, step: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[step] += time.process_time() - began
