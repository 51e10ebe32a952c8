"""Tells the enabled sinks what gates answered: what `judge_runs` and `look_at_the_clock` take as `announce`.

Owns which samples say so and to whom. Judges nothing. The series are bounded: one per configured gate, model and suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from model_health.alerting.record import Announce
from model_health.config.settings import Settings, load_settings
from model_health.config.sinks import load_sinks
from model_health.delivery.enqueue import samples_items
from model_health.delivery.operation_samples import gate_samples
from model_health.gates.result import GateResult
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext
from model_health.store.index.outbox import OutboxItem

CONTEXT = PublishContext("gates")


def verdict_items(sinks: Sequence[str], results: Sequence[GateResult], now: datetime) -> list[OutboxItem]:
    """One item per sink with the verdict of every answer.

    They belong to no run: what a gate said stays true of the moment, whatever becomes of a newer try or of a later
    validation of the run.
    """
    samples: list[Sample] = []
    for model, suite in dict.fromkeys((result.model, result.suite) for result in results):
        mine = {one.gate: str(one.verdict) for one in results if (one.model, one.suite) == (model, suite)}
        samples += gate_samples(model, suite, mine, now)
    return samples_items(None, sinks, samples, CONTEXT, now)


def announce_verdicts(settings: Settings | None = None) -> Announce:
    """What announces verdicts to the sinks that `sinks.yaml` enables. Raises `ConfigError` if that file is wrong."""
    enabled = load_sinks(settings or load_settings()).enabled

    def announce(connection: Connection, results: Sequence[GateResult], now: datetime) -> Sequence[OutboxItem]:
        return verdict_items(enabled, results, now)

    return announce
