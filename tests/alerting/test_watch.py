"""The calls that a scheduler's tasks make: judge, look at the clock, note a task; and their summaries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model_health.alerting.status import history_rows, result_rows, standing_rows
from model_health.alerting.watch import judge_runs, look_at_the_clock, note_task
from model_health.config.settings import Settings
from model_health.errors import BadInput, ConfigError
from model_health.gates.result import GateVerdict
from model_health.report.builder import build_report
from model_health.report.serialise import to_gzip
from model_health.store.index.index import Index
from model_health.store.index.outbox import OutboxItem, enqueue, release
from model_health.store.index.outbox_status import items
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.configs import MODEL as MODEL_YAML
from support.configs import SUITE as SUITE_YAML
from support.configs import make_settings, write_files
from support.gate_runs import HEALTHY, NAN, NOON, Prompt, failed, measured, start
from support.telemetry import decode, make_facts, make_findings, make_telemetry

HOUR = timedelta(hours=1)
GATES = """
recover_after_runs: 1
include_prompt_text: {text}
runbook_url: https://docs.example.org/RUNBOOK.md
routes: [{{transports: [alertmanager]}}]
transports: {{alertmanager: {{url: "http://alertmanager.example.org"}}}}
rules:
  non-finite: {{flags: [nan_detected], fail: 0, {common}}}
  loops: {{flags: [loop_detected], fail: 0, for_runs: 2, of_last: 3, {common}}}
  no-report: {{condition: no_report, fail: 18000, {common}}}
  outbox-stuck: {{condition: outbox_stuck, warn: 36000, {common}}}
"""
COMMON = "tier: critical, owner: the team, runbook: non-finite, reason: because"
WHERE = {"model": "tiny", "suite": "smoke"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return project(tmp_path)


def project(home: Path, *, text: str = "false") -> Settings:
    files = {
        "models/tiny.yaml": MODEL_YAML,
        "canaries/smoke.yaml": SUITE_YAML,
        "gates.yaml": GATES.format(common=COMMON, text=text),
    }
    urls = {"AIRFLOW_URL": "https://airflow.example.org/", "DASHBOARD_URL": "https://dashboard.example.org"}
    return make_settings(write_files(home, files), **urls)


@pytest.fixture
def index(settings: Settings) -> Iterator[Index]:
    with Index.open(settings.index_url) as opened:
        yield opened


def at(moment: datetime) -> Any:
    return lambda: moment


def queued(index: Index) -> list[Any]:
    with index.reading("outbox") as connection:
        return [item for item in reversed(items(connection)) if item.kind == "alert"]


def test_a_run_is_judged_recorded_and_what_changed_is_queued(settings: Settings, index: Index) -> None:
    measured(index, "r1", NOON, [NAN, HEALTHY], **WHERE)
    judged = judge_runs("tiny", "smoke", settings=settings, clock=at(NOON))
    assert judged.verdict is GateVerdict.FAIL
    assert [(one.gate, str(one.verdict)) for one in judged.results] == [
        ("non-finite", "fail"),
        ("loops", "inconclusive"),
    ]
    (item,) = queued(index)
    assert (item.target, item.state, item.run_key) == ("alertmanager", "pending", None)
    assert [row["gate"] for row in standing_rows(index)] == ["non-finite"]
    assert [(row["kind"], row["sent_to"]) for row in history_rows(index)] == [("raised", ["alertmanager"])]
    assert [row["verdict"] for row in result_rows(judged.results)] == ["fail", "inconclusive"]


def test_only_looking_changes_nothing(settings: Settings, index: Index) -> None:
    measured(index, "r1", NOON, [NAN], **WHERE)
    judged = judge_runs("tiny", "smoke", settings=settings, write=False, clock=at(NOON))
    assert (judged.verdict, judged.said) == (GateVerdict.FAIL, ())
    assert queued(index) == standing_rows(index) == history_rows(index) == []


@pytest.mark.parametrize(("model", "suite"), [("tinny", "smoke"), ("tiny", "smok")])
def test_a_name_that_nobody_configured_is_refused(settings: Settings, model: str, suite: str) -> None:
    with pytest.raises(BadInput, match="did you mean"):
        judge_runs(model, suite, settings=settings)


def test_a_rule_over_an_unknown_metric_stops_the_judgement(tmp_path: Path) -> None:
    settings = project(tmp_path)
    rules = (tmp_path / "configs/gates.yaml").read_text().replace("flags: [loop_detected]", "metric: loops")
    (tmp_path / "configs/gates.yaml").write_text(rules)
    with pytest.raises(ConfigError, match="no metric 'loops'"):
        judge_runs("tiny", "smoke", settings=settings)


def test_the_summary_fits_into_xcom_whatever_the_gates_say(settings: Settings, index: Index) -> None:
    measured(index, "r1", NOON, [NAN] * 3, **WHERE)
    judged = judge_runs("tiny", "smoke", settings=settings, clock=at(NOON))
    from dataclasses import replace

    many = tuple(replace(judged.results[0], gate="g" * 64, reason="é" * 5000) for _ in range(200))
    summary = replace(judged, results=many).summary()
    assert len(json.dumps(summary)) <= 4096
    assert summary["not_passed"]
    assert (summary["gates"], summary["counts"]["fail"]) == (200, 200)


def sick_report(settings: Settings, run_id: str) -> Prompt:
    """A prompt with NaN whose report lies in the store."""
    report = build_report(make_telemetry(), make_findings(), make_facts(), decode)
    store = ReportStore.open(settings.store_uri)
    stored = store.write_report(RunFolder.of("tiny", "smoke", run_id), "p0", to_gzip(report))
    return Prompt(flags=("nan_detected",), report_uri=stored.uri, report_digest=stored.digest)


def test_the_alert_says_where_to_look(settings: Settings, index: Index) -> None:
    prompt = sick_report(settings, "manual 1+1")
    more = {"dag_id": "run_canaries", "dag_run_id": "manual__2026-11-22T12:00:00+00:00"}
    key = measured(index, "manual 1+1", NOON, [prompt], **WHERE, **more)
    judge_runs("tiny", "smoke", settings=settings, clock=at(NOON))
    links = queued(index)[0].payload["links"]
    assert links == {
        "dag_run": "https://airflow.example.org/dags/run_canaries/runs/manual__2026-11-22T12%3A00%3A00%2B00%3A00",
        "dashboard": f"https://dashboard.example.org/run?run={key.replace('/', '%2F')}",
        "report": prompt.report_uri,
        "runbook": "https://docs.example.org/RUNBOOK.md#non-finite",
    }


@pytest.mark.parametrize("text", ["true", "false"])
def test_prompt_text_is_quoted_only_where_configured(tmp_path: Path, text: str) -> None:
    settings = project(tmp_path, text=text)
    report = build_report(make_telemetry(), make_findings(), make_facts(), decode)
    with Index.open(settings.index_url) as index:
        measured(index, "r1", NOON, [sick_report(settings, "r1")], **WHERE)
        judge_runs("tiny", "smoke", settings=settings, clock=at(NOON))
        written = json.dumps(queued(index)[0].payload, ensure_ascii=False)
        assert (json.dumps(report.prompt.text, ensure_ascii=False) in written) is (text == "true")
        excerpt = queued(index)[0].payload["excerpt"]
        assert (excerpt is not None) is (text == "true")


# -------------------------------------------------------------------------------------------------------- the clock
def look(settings: Settings, hours: float) -> tuple[str, list[str]]:
    judged = look_at_the_clock(settings=settings, clock=at(NOON + hours * HOUR))
    return str(judged.verdict), [f"{one.alert.gate} {one.alert.kind}" for one in judged.said if one.sent]


def test_a_model_whose_reports_stop_is_noticed_and_its_return_too(settings: Settings, index: Index) -> None:
    measured(index, "r1", NOON, **WHERE)
    assert look(settings, 4) == ("pass", [])
    measured(index, "r2", NOON + 4 * HOUR, valid=False, **WHERE)
    failed(index, "r3", NOON + 5 * HOUR, **WHERE)
    assert look(settings, 6) == ("fail", ["no-report raised"])
    assert look(settings, 7) == ("fail", [])
    measured(index, "r4", NOON + 7 * HOUR, **WHERE)
    assert look(settings, 8) == ("pass", ["no-report recovered"])


def test_a_model_that_never_ran_is_noticed_once_its_window_is_over(settings: Settings, index: Index) -> None:
    assert [look(settings, hours) for hours in (0, 4, 6, 7)] == [
        ("pass", []), ("pass", []), ("fail", ["no-report raised"]), ("fail", []),
    ]  # fmt: skip


def test_a_run_from_the_future_is_no_valid_report_of_today(settings: Settings, index: Index) -> None:
    measured(index, "wrong clock", NOON + 9999 * HOUR, **WHERE)
    look(settings, 0)
    assert look(settings, 6) == ("fail", ["no-report raised"])


def test_the_alert_of_a_model_that_is_not_scheduled_any_more_ends(settings: Settings, index: Index) -> None:
    look(settings, 0)
    assert look(settings, 6)[1] == ["no-report raised"]
    (settings.configs_dir / "models/tiny.yaml").write_text(MODEL_YAML + "enabled: false\n")
    assert look(settings, 7)[1] == ["no-report recovered"]
    assert look(settings, 8)[1] == []


def test_an_outbox_that_does_not_drain_is_noticed(settings: Settings, index: Index) -> None:
    with index.transaction("fill") as connection:
        enqueue(connection, [OutboxItem("prometheus", "samples", "k", {}, None, NOON)])
        enqueue(connection, [OutboxItem("prometheus", "samples", "late", {}, None, NOON + 9 * HOUR)])
    measured(index, "r1", NOON + 9 * HOUR, **WHERE)
    assert look(settings, 9.5) == ("pass", [])
    assert look(settings, 11) == ("warn", ["outbox-stuck raised"])


def test_a_run_that_nobody_validates_is_noticed_until_somebody_does(settings: Settings, index: Index) -> None:
    with index.transaction("fill") as connection:
        enqueue(connection, [OutboxItem("prometheus", "samples", "k", {}, "tiny/smoke/r1", NOON)], "held")
    measured(index, "r1", NOON + 9 * HOUR, **WHERE)
    assert look(settings, 9.5) == ("pass", [])
    assert look(settings, 11) == ("warn", ["outbox-stuck raised"])
    assert "was not validated" in queued(index)[0].payload["reason"]
    with index.transaction("validate") as connection:
        release(connection, "tiny/smoke/r1")
        connection.exec_driver_sql("DELETE FROM outbox WHERE kind = 'samples'")  # delivered, and pruned
    assert look(settings, 12) == ("pass", ["outbox-stuck recovered"])


def test_looking_at_the_clock_reminds_of_what_stands(settings: Settings, index: Index) -> None:
    measured(index, "r1", NOON, [NAN], **WHERE)
    judge_runs("tiny", "smoke", settings=settings, clock=at(NOON))
    said = [look(settings, hours)[1] for hours in (1, 4, 12.5)]
    assert said[:2] == [[], []]
    assert "non-finite renotified" in said[2]


# -------------------------------------------------------------------------------------------------------- the tasks
def note(settings: Settings, run_id: str, reason: str | None, hours: float = 1) -> Sequence[str]:
    said = note_task("tiny", "smoke", run_id, reason, settings=settings, clock=at(NOON + hours * HOUR))
    return [f"{one.alert.gate} {one.alert.kind}" for one in said if one.sent]


def test_a_task_that_dies_without_a_record_raises_an_alert_until_one_succeeds(settings: Settings, index: Index) -> None:
    assert note(settings, "r1", "killed") == ["task-failed raised"]
    start(index, "r2", NOON + 2 * HOUR, **WHERE)
    assert note(settings, "r2", "killed while it measured", 2.5) == []
    measured(index, "r3", NOON + 3 * HOUR, **WHERE)
    assert note(settings, "r3", None, 3.5) == ["task-failed recovered"]
    assert "left no record of its run: killed" in json.dumps(queued(index)[0].payload)


@pytest.mark.parametrize("status", ["measured", "could_not_measure"])
def test_a_task_whose_run_is_on_record_is_left_to_the_gates(settings: Settings, index: Index, status: str) -> None:
    if status == "measured":
        measured(index, "r1", NOON, [NAN], **WHERE)
    else:
        failed(index, "r1", NOON, **WHERE)
    assert note(settings, "r1", "tiny is unhealthy in 1 of 1 prompts") == []
    assert standing_rows(index) == []
