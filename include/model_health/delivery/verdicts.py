"""Tells the enabled sinks what gates answered, and what was done when: comparisons, self-tests, looks at the clock.

These are what `judge_runs`, `look_at_the_clock` and `settle_night` take as `announce`. A moment is published once, when
the thing is done, so that its age tells that it stopped. Owns which samples say so and to whom. Judges nothing. The
series are bounded: one per configured gate, model and suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from model_health.alerting.record import Announce
from model_health.config.settings import Settings, load_settings
from model_health.config.sinks import load_sinks
from model_health.delivery.enqueue import samples_items
from model_health.delivery.operation_samples import comparison_sample, gate_samples, look_sample, self_test_sample
from model_health.gates.night import AnnounceNight
from model_health.gates.result import GateResult
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext
from model_health.store.index.comparisons import ComparisonRecord
from model_health.store.index.outbox import OutboxItem
from model_health.store.index.self_tests import SelfTestRecord

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


def announce_look(settings: Settings | None = None) -> Announce:
    """`announce_verdicts`, and that the clock was looked at: the heartbeat of the watch over everything else."""
    enabled = load_sinks(settings or load_settings()).enabled

    def announce(connection: Connection, results: Sequence[GateResult], now: datetime) -> Sequence[OutboxItem]:
        items = verdict_items(enabled, results, now)
        return [*items, *samples_items(None, enabled, [look_sample(now)], CONTEXT, now)]

    return announce


def announce_night(settings: Settings | None = None) -> AnnounceNight:
    """What tells the enabled sinks which models a night compared. Raises `ConfigError` if `sinks.yaml` is wrong."""
    enabled = load_sinks(settings or load_settings()).enabled

    def announce(records: Sequence[ComparisonRecord], now: datetime) -> Sequence[OutboxItem]:
        samples = [comparison_sample(one.model, one.suite, one.at, now) for one in records]
        return samples_items(None, enabled, samples, CONTEXT, now)

    return announce


def self_test_items(record: SelfTestRecord, now: datetime, settings: Settings | None = None) -> list[OutboxItem]:
    """What tells the enabled sinks of a whole self-test; one of selected faults is not what is waited for.

    Raises `ConfigError` if `sinks.yaml` is wrong.
    """
    if not any(trial.role == "harmless" for trial in record.trials):
        return []
    enabled = load_sinks(settings or load_settings()).enabled
    sample = self_test_sample(record.model, record.suite, record.started_at, now)
    return samples_items(None, enabled, [sample], CONTEXT, now)
