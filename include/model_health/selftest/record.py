"""A self-test as a record of the index. Owns the translation."""

from __future__ import annotations

from datetime import datetime

from model_health.selftest.figures import Figures
from model_health.selftest.result import HarmlessTrial, SelfTest, Trial
from model_health.store.index.self_tests import SelfTestRecord, TrialRecord


def record_of(test: SelfTest, found: Figures) -> SelfTestRecord:
    """The record of a self-test and its figures."""
    trials = [_trial(one) for one in test.trials]
    trials += [_harmless(one, "harmless") for one in test.harmless]
    trials += [_harmless(one, "healthy") for one in test.healthy]
    return SelfTestRecord(
        model=test.model,
        suite=test.suite.split()[0],
        started_at=datetime.fromisoformat(test.started_at),
        dtype=test.dtype,
        device=test.device,
        reduced=test.reduced,
        passed=not found.shortfalls,
        figures=found.to_json(),
        libraries=test.libraries,
        wall_seconds=test.wall_seconds,
        trials=tuple(trials),
    )


def _trial(one: Trial) -> TrialRecord:
    return TrialRecord(
        role="fault",
        name=one.fault,
        kind=one.kind,
        configuration=one.configuration,
        answer=one.answer,
        raised=one.detected if one.applicable and not one.no_number else None,
        place=one.place,
        attributed=one.attributed,
        placement=one.placement,
        delay_nights=one.delay_nights,
        ratio=_finite(one.ratio),
        reason=one.reason,
        missed=one.missed,
    )


def _harmless(one: HarmlessTrial, role: str) -> TrialRecord:
    return TrialRecord(
        role=role,
        name=one.change,
        kind="harmless change",
        configuration="other" if one.axes else "same",
        answer=one.answer,
        raised=one.false_alarm if one.applicable else None,
        place=None,
        attributed=None,
        placement="not asked",
        delay_nights=None,
        ratio=_finite(one.ratio),
        reason=one.reason,
        missed=None,
    )


def _finite(value: float | None) -> float | None:
    return value if value is None or abs(value) != float("inf") else None
