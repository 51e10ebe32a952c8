"""Measures how many reports a second the index takes: batches of recorded runs, written by one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from model_health.bench.scale.made import Load, database_of, opened, server_cpu
from model_health.bench.scale.process import index_bytes
from model_health.bench.scale.recorded import PlayedRun, Recording, model_name
from model_health.bench.scale.records import Ingest, IngestRound
from model_health.bench.scale.world import START, ingest
from model_health.store.index.index import Index


def measure_ingest(
    index_url: str, *, prompts: int, models: int, rounds: int, batch: int, say: Callable[[str], None]
) -> Ingest:
    """Put `rounds` runs of each model into an empty index, `batch` of them in one transaction."""
    load, recording = Load(), Recording(prompts=prompts, tokens=16, layers=4)
    found = []
    with opened(index_url) as index:
        for number in range(rounds):
            at = START + timedelta(hours=number)
            runs = [recording.play(model_name(model), f"hour-{number}", at) for model in range(models)]
            found.append(_round(index, runs, batch, known=number > 0))
            load.look()
            say(f"round {number}: {models * prompts / found[-1].wall:.0f} reports a second")
        return Ingest(
            made=load.made(),
            database=database_of(index),
            prompts=prompts,
            points=len(runs[0].samples),
            batch=batch,
            rounds=tuple(found),
        )


def _round(index: Index, runs: list[PlayedRun], batch: int, *, known: bool) -> IngestRound:
    server, wall, cpu = server_cpu(index), time.perf_counter(), time.process_time()
    for begin in range(0, len(runs), batch):
        ingest(index, runs[begin : begin + batch])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return IngestRound(
        known=known,
        runs=len(runs),
        wall=wall,
        cpu=cpu,
        server_cpu=max(0.0, server_cpu(index) - server),
        index_bytes=index_bytes(index),
    )
