"""Slow drift over nights: which nights make a chart, when the gate fails, and since when it says that things move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from model_health.config.gates import GateRule
from model_health.config.regression import RegressionStatistics
from model_health.gates.compared import judge_comparison
from model_health.gates.result import GateResult
from model_health.store.index.comparisons import ComparisonRecord, save_comparison
from model_health.store.index.index import Index
from support.monitor_inputs import shipped
from support.settled_comparisons import a_comparison

START = datetime(2026, 1, 1, 3, tzinfo=UTC)
STATISTICS = RegressionStatistics()
HISTORY = STATISTICS.history_nights
RULE: GateRule = shipped().gates.rules["drifting-model"]


def nights(bits: Sequence[float | None], **fields: object) -> list[ComparisonRecord]:
    """A settled night per number; None is one whose golden text was not measured."""
    return [
        a_comparison(key=f"m/s/{n}", at=START + timedelta(days=n), night=f"d/{n}", golden_mean=value, **fields)
        for n, value in enumerate(bits)
    ]


def noise(count: int, shift: float = 0.0, seed: int = 3) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(shift, 0.002, count)]


def judged(tmp_path: Path, records: Sequence[ComparisonRecord]) -> list[GateResult]:
    with Index.open(tmp_path / "index.db") as index:
        with index.transaction("test") as connection:
            for record in records:
                save_comparison(connection, record)
        now = max(record.at for record in records) + timedelta(hours=1)
        return list(judge_comparison("m", "s", index, [RULE], now, STATISTICS))


def test_nights_that_each_pass_and_together_drift_fail_the_gate_and_say_since_when(tmp_path: Path) -> None:
    records = nights([*noise(HISTORY), *noise(20, seed=4), *noise(25, shift=0.004, seed=5)])
    [found] = judged(tmp_path, records)
    assert (str(found.verdict), found.level) == ("fail", 1.0)
    assert (found.value or 0.0) > 1.0
    begun = found.runs[1]
    assert abs(int(begun.run_key.split("/")[-1]) - (HISTORY + 20)) <= 6
    day = START + timedelta(days=int(begun.run_key.split("/")[-1]))
    assert f"since {day:%Y-%m-%d}" in found.reason
    assert "begins here" in (begun.reason or "")
    assert (found.run_key, found.run_at) == (records[-1].key, records[-1].at)


def test_healthy_nights_pass(tmp_path: Path) -> None:
    [found] = judged(tmp_path, nights(noise(HISTORY + 60)))
    assert str(found.verdict) == "pass"
    assert (found.value or 9.0) < 1.0


@pytest.mark.parametrize("bits", [noise(HISTORY), [0.0] * (HISTORY + 50)], ids=["too few", "the same bits every night"])
def test_without_a_chart_there_is_no_answer(tmp_path: Path, bits: list[float]) -> None:
    assert judged(tmp_path, nights(bits)) == []


def test_a_night_whose_golden_text_was_not_measured_says_nothing_new(tmp_path: Path) -> None:
    assert judged(tmp_path, nights([*noise(HISTORY + 30), None])) == []


def test_another_configuration_and_another_baseline_have_charts_of_their_own(tmp_path: Path) -> None:
    before = nights(noise(HISTORY + 30))
    later = [replace(one, key=f"{one.key}-x", at=one.at + timedelta(days=200)) for one in nights(noise(10, shift=0.02))]
    elsewhere = [replace(one, axes=("batch", "libraries")) for one in later]
    assert judged(tmp_path / "a", [*before, *elsewhere]) == []
    assert judged(tmp_path / "b", [*before, *(replace(one, baseline_id="2" * 32) for one in later)]) == []
    assert [str(one.verdict) for one in judged(tmp_path / "c", [*before, *later])] == ["fail"]


def test_the_reference_is_made_of_healthy_nights_only(tmp_path: Path) -> None:
    sick = nights(noise(30, shift=0.05, seed=8), outcome="fail")
    well = [replace(one, key=f"{one.key}-x", at=one.at + timedelta(days=30)) for one in nights(noise(HISTORY + 30))]
    [found] = judged(tmp_path, [*sick, *well])
    assert str(found.verdict) == "pass"


@pytest.mark.parametrize("levels", [{"fail": 0.9}, {"fail": 2.0}, {"fail": 1.0, "warn": 1.0}, {"warn": -0.1}])
def test_a_level_that_would_spend_more_than_the_alarm_budget_is_refused(levels: dict[str, float]) -> None:
    fields = {**RULE.model_dump(exclude_none=True), "fail": None, **levels}
    with pytest.raises(ValidationError, match=r"fails at 1|must not be reached"):
        GateRule.model_validate(fields)
