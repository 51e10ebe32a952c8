"""What gates answer reaches the enabled sinks: in the verdict's own transaction, and in a fixed number of series."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from model_health.alerting.links import LinkMaker
from model_health.alerting.record import record
from model_health.alerting.watch import judge_runs, look_at_the_clock
from model_health.config.gates import load_gates
from model_health.config.settings import Settings
from model_health.delivery.drain import drain
from model_health.delivery.verdicts import (
    announce_look,
    announce_night,
    announce_verdicts,
    self_test_items,
    verdict_items,
)
from model_health.errors import ConfigError, StoreError
from model_health.gates.night import settle_night
from model_health.gates.result import GateResult, GateVerdict
from model_health.sinks.payload import decode
from model_health.store.index.comparisons import save_comparison
from model_health.store.index.index import Index
from model_health.store.index.self_tests import SelfTestRecord, TrialRecord
from support.airflow import REPOSITORY
from support.configs import MODEL, SUITE, make_settings, write_files
from support.gate_runs import HEALTHY, NAN, NOON, measured
from support.outbox import Clock, stored
from support.settled_comparisons import a_comparison

HOUR = timedelta(hours=1)
WHERE = {"model": "tiny", "suite": "smoke"}
COMMON = "tier: critical, owner: o, runbook: r, reason: because"
GATES = f"""
rules:
  non-finite: {{flags: [nan_detected], fail: 0, {COMMON}}}
  loops: {{flags: [loop_detected], fail: 0, for_runs: 2, of_last: 3, {COMMON}}}
  no-report: {{condition: no_report, fail: 18000, {COMMON}}}
  outbox-stuck: {{condition: outbox_stuck, fail: 36000, {COMMON}}}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    files = {"models/tiny.yaml": MODEL, "canaries/smoke.yaml": SUITE, "gates.yaml": GATES}
    sinks = "local: {enabled: true}\ntextfile: {enabled: true, folder: metrics}\n"
    return make_settings(write_files(tmp_path, {**files, "sinks.yaml": sinks}))


@pytest.fixture
def index(settings: Settings) -> Iterator[Index]:
    with Index.open(settings.index_url) as opened:
        yield opened


def judge(settings: Settings, hours: float = 0) -> Any:
    announce = announce_verdicts(settings)
    return judge_runs("tiny", "smoke", settings=settings, announce=announce, clock=lambda: NOON + hours * HOUR)


def told(index: Index, target: str = "local") -> list[dict[tuple[str, str, str], float | None]]:
    """What each item for a sink says: the value by gate, model and suite."""
    found = []
    for one in stored(index, target):
        samples = decode(one.payload)[0]
        assert {sample.metric for sample in samples} == {"gate_verdict"}
        labels = [sample.labels for sample in samples]
        names = [(label["gate"], label["model"], label["suite"]) for label in labels]
        found.append({name: sample.value for name, sample in zip(names, samples, strict=True)})
    return found


def test_every_enabled_sink_is_told_what_each_gate_said(settings: Settings, index: Index) -> None:
    measured(index, "r1", NOON, [NAN, HEALTHY], **WHERE)
    judge(settings)
    for sink in ("local", "textfile"):
        assert told(index, sink) == [{("loops", "tiny", "smoke"): -1.0, ("non-finite", "tiny", "smoke"): 2.0}]
    assert {item.state for item in stored(index)} == {"pending"}
    assert {item.run_key for item in stored(index)} == {None}


def test_only_looking_tells_no_sink(settings: Settings, index: Index) -> None:
    measured(index, "r1", NOON, [NAN], **WHERE)
    announce = announce_verdicts(settings)
    judge_runs("tiny", "smoke", settings=settings, write=False, announce=announce, clock=lambda: NOON)
    assert stored(index) == []


def test_a_verdict_and_its_publication_are_written_together_or_not_at_all(settings: Settings, index: Index) -> None:
    measured(index, "r1", NOON, [NAN], **WHERE)

    def broken(*_: Any) -> Any:
        raise StoreError("the disk is full")

    with pytest.raises(StoreError, match="the disk is full"):
        judge_runs("tiny", "smoke", settings=settings, announce=broken, clock=lambda: NOON)
    with index.reading("test") as connection:
        for table in ("gate_results", "alert_states", "alert_history", "outbox"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == 0


def test_many_judgements_make_as_many_series_as_there_are_gates(settings: Settings, index: Index) -> None:
    clock = Clock()
    for number in range(12):
        measured(index, f"r{number}", clock(), [NAN if number % 3 else HEALTHY], **WHERE)
        judge(settings, (clock() - NOON) / HOUR)
        look_at_the_clock(settings=settings, announce=announce_verdicts(settings), clock=clock)
        clock.forward(60)
    names = {name for item in told(index) for name in item}
    assert names == {
        ("loops", "tiny", "smoke"),
        ("no-report", "tiny", "smoke"),
        ("non-finite", "tiny", "smoke"),
        ("outbox-stuck", "all", "all"),
    }
    assert drain(index, settings, targets=["local", "textfile"], clock=clock).drained
    shown = "".join(path.read_text() for path in (settings.home / "metrics").glob("*.prom"))
    lines = [line for line in shown.splitlines() if line.startswith("model_health_gate_verdict{")]
    assert len(lines) == len(names)


def test_the_clock_s_gates_are_published_too(settings: Settings, index: Index) -> None:
    for hours in (0, 6):
        announce = announce_verdicts(settings)
        look_at_the_clock(settings=settings, announce=announce, clock=lambda: NOON + hours * HOUR)  # noqa: B023
    values = [item["no-report", "tiny", "smoke"] for item in told(index)]
    assert values == [0.0, 2.0]
    assert [item["outbox-stuck", "all", "all"] for item in told(index)] == [0.0, 0.0]


def test_an_answer_about_an_older_run_does_not_replace_a_newer_one(settings: Settings, index: Index) -> None:
    config, links = load_gates(settings), LinkMaker(index, settings, load_gates(settings))
    newer = GateResult("loops", "critical", "tiny", "smoke", GateVerdict.PASS, NOON, None, None, "fine", NOON)
    older = replace(newer, verdict=GateVerdict.FAIL, run_at=NOON - HOUR)
    for result in (newer, older):
        record(index, [result], config, links, NOON, announce=announce_verdicts(settings))
    assert told(index) == [{("loops", "tiny", "smoke"): 0.0}]


def test_no_answers_and_no_sinks_make_no_items() -> None:
    result = GateResult("g", "critical", "m", "s", GateVerdict.PASS, NOON, None, None, "fine")
    assert verdict_items(["local"], [], NOON) == []
    assert verdict_items([], [result], NOON) == []


def test_a_broken_sinks_file_is_named_before_anything_is_judged(settings: Settings) -> None:
    (settings.configs_dir / "sinks.yaml").write_text("lokal: {}")
    with pytest.raises(ConfigError, match=r"sinks\.yaml.*lokal"):
        announce_verdicts(settings)


def moments(index: Index) -> list[tuple[str, dict[str, str], float | None]]:
    samples = [one for item in stored(index, "local") for one in decode(item.payload)[0]]
    return [(one.metric, one.labels, one.value) for one in samples if one.metric.endswith("_timestamp_seconds")]


def test_each_look_at_the_clock_leaves_a_heartbeat(settings: Settings, index: Index) -> None:
    for hours in (0, 1):
        moment = NOON + hours * HOUR
        look_at_the_clock(settings=settings, announce=announce_look(settings), clock=lambda: moment)  # noqa: B023
    beats = [("freshness_checked_timestamp_seconds", {}, (NOON + hours * HOUR).timestamp()) for hours in (0, 1)]
    assert moments(index) == beats


def test_a_settled_night_is_told_once_with_the_moment_of_each_comparison(settings: Settings, index: Index) -> None:
    shutil.copy(REPOSITORY / "configs/gates.yaml", settings.configs_dir / "gates.yaml")
    rows = [
        a_comparison(key=f"{name}/smoke/1", model=name, suite="smoke", at=NOON - HOUR, screened=False)
        for name in ("a", "b")
    ]
    with index.transaction("test") as connection:
        for row in rows:
            save_comparison(connection, row)
    for _ in range(2):
        settle_night("d", "1", settings=settings, announce=announce_night(settings), clock=lambda: NOON)
    name = "comparison_completed_timestamp_seconds"
    assert moments(index) == [
        (name, {"model": one.model, "suite": "smoke"}, one.at.timestamp()) for one in rows
    ]  # fmt: skip


@pytest.mark.parametrize(("role", "told_of"), [("harmless", 1), ("fault", 0)])
def test_a_whole_self_test_is_told_and_one_of_selected_faults_is_not(
    settings: Settings, role: str, told_of: int
) -> None:
    trial = TrialRecord(role, "t", "k", "same", None, None, None, None, "not asked", None, None, "", None)
    test = SelfTestRecord("tiny", "smoke", NOON, "float32", "cpu", False, True, {}, {}, 1.0, (trial,))
    items = self_test_items(test, NOON + HOUR, settings)
    assert len(items) == 2 * told_of
    for item in items:
        [sample] = decode(item.payload)[0]
        assert (sample.metric, sample.value) == ("self_test_completed_timestamp_seconds", NOON.timestamp())
