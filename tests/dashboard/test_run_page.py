"""The page of a run: what changed, what gates and validation found, where the time went."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import run_facts
from model_health.gates.result import GateResult, GateVerdict, Place
from model_health.report.performance import Operation, PerformanceRecord
from model_health.store.index.validation import FailureRecord, ValidationRecord
from support.dashboards import Seeded
from support.pages import told

Opener = Callable[..., AppTest]


def table(page: AppTest, column: str) -> Any:
    """The first table that has the column."""
    return next(frame.value for frame in page.dataframe if column in frame.value.columns)


def open_run(page: Opener, **query: str) -> AppTest:
    shown = page("app_pages/run", **query)
    assert not shown.exception, shown.exception[0].stack_trace
    return shown


def test_it_says_what_changed_since_the_run_before(on_seeded: Seeded, page: Opener) -> None:
    changed = table(open_run(page, run=on_seeded.sick), "Changed")
    assert changed["Changed"].tolist() == ["Revision", "Weights digest", "Library transformers"]
    assert changed["Before"].tolist()[2] == "5.23.0"
    assert changed["Now"].tolist()[2] == "5.24.0"
    assert changed["Now"].tolist()[1].startswith("sha256:")


def test_a_first_run_has_nothing_before_it(on_seeded: Seeded, page: Opener) -> None:
    assert "no measured run of this model and suite before it" in told(open_run(page, run=on_seeded.before))


def test_gates_are_listed_worst_first_with_their_place(on_seeded: Seeded, page: Opener) -> None:
    gates = table(open_run(page, run=on_seeded.sick), "Verdict")
    assert gates["Verdict"].tolist() == ["✖ fail", "? inconclusive"]
    assert gates["Place"].tolist()[0] == "overflow, step 7, layer 5"
    assert gates["Because"].tolist()[0] == "1 of 3 prompts holds a NaN or Inf; none may"


def test_validation_is_told_with_what_failed_and_the_data_docs(on_seeded: Seeded, page: Opener) -> None:
    shown = open_run(page, run=on_seeded.sick)
    assert "Valid. 186 expectations on 3 reports: 0 failed critically, 1 as a warning." in told(shown)
    failed = table(shown, "Severity")
    assert failed["First place"].tolist() == ["overflow, step 7, layer 5: null"]
    assert not shown.get("iframe")
    shown.toggle(key="docs").set_value(True).run()
    assert "What Great Expectations checked" in shown.get("iframe")[0].proto.srcdoc


def test_a_run_that_nobody_validated_or_judged_says_so(on_seeded: Seeded, page: Opener) -> None:
    said = told(open_run(page, run=on_seeded.before))
    assert "was not validated" in said
    assert "No gate was asked" in said


def test_without_its_manifest_the_page_still_tells_what_the_index_holds(
    on_seeded: Seeded, page: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_HEALTH_STORE_URI", str(tmp_path / "elsewhere"))
    shown = open_run(page, run=on_seeded.sick)
    assert "The manifest cannot be read" in told(shown)
    assert table(shown, "Prompt")["Prompt"].tolist() == ["overflow", "story", "capital"]
    assert "Library transformers" in table(shown, "Changed")["Changed"].tolist()


def test_the_time_is_broken_down(on_seeded: Seeded, page: Opener) -> None:
    shown = open_run(page, run=on_seeded.sick)
    operations = table(shown, "Operation")
    assert operations["Operation"].tolist() == ["load", "prefill", "decode", "decode/probe", "report", "write"]
    assert "In all 95.0 s. Peak memory 420 MB. Watching cost +6.0 %" in told(shown)


def test_a_failed_run_has_a_page_without_guesses(on_seeded: Seeded, page: Opener) -> None:
    shown = open_run(page, run=on_seeded.failed)
    assert "Not measured: the weights are truncated at 12 of 260 MB" in told(shown)
    assert "no prompts in the index" in told(shown)
    assert "it is not there" in told(shown)


def test_the_refreshing_can_be_paused_and_the_address_says_so(on_seeded: Seeded, page: Opener) -> None:
    shown = open_run(page, run=on_seeded.sick)
    assert shown.toggle(key="live").value is True
    paused = open_run(page, run=on_seeded.sick, live="false")
    assert paused.toggle(key="live").value is False


# ---------------------------------------------------------------------------------------------------------- pure parts
def test_the_same_identity_has_no_changes_and_a_missing_fact_is_one() -> None:
    facts = {"Revision": "a", "Device": None}
    assert run_facts.changes(facts, dict(facts)) == []
    assert run_facts.changes(facts, {"Revision": "a"}) == []
    assert run_facts.changes(facts, {"Revision": None, "Device": "cpu"}) == [
        {"Changed": "Revision", "Before": "a", "Now": "not recorded"},
        {"Changed": "Device", "Before": "not recorded", "Now": "cpu"},
    ]


def test_time_that_no_operation_explains_is_shown_as_such() -> None:
    operations = (Operation(name="load", count=1, wall_seconds=6), Operation(name="load/read", count=1, wall_seconds=5))
    spec = run_facts.operation_chart(PerformanceRecord(level="detailed", total_seconds=10, operations=operations))
    rows = next(iter(spec.to_dict()["datasets"].values()))
    assert {row["operation"]: row["seconds"] for row in rows} == {"load": 6, "everything else": 4}


def test_a_run_without_any_time_still_has_a_chart() -> None:
    assert run_facts.operation_chart(PerformanceRecord(level="summary", total_seconds=0)).to_dict()


def test_a_validation_without_failures_and_places_without_numbers() -> None:
    record = ValidationRecord(True, datetime(2026, 1, 1, tzinfo=UTC), 2, 0, 9, 0.1)
    assert run_facts.validation_line(record) == "9 expectations on 2 reports: none failed."
    bare = FailureRecord("x", "critical", None, "says", 3, 1, 0, ({"observed": "nothing"},))
    invalid = ValidationRecord(False, record.validated_at, 2, 1, 9, 0.1, "x", failures=(bare,))
    assert run_facts.failure_rows(invalid)[0]["First place"] == "nothing"
    assert run_facts.failure_rows(invalid)[0]["Severity"] == "✖ critical"


def test_a_place_names_what_is_known_of_it() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    gate = GateResult("g", "critical", "m", "s", GateVerdict.FAIL, at, 1.0, 0.0, "because", at - timedelta(hours=1))
    assert run_facts.place_of(gate) is None
    placed = GateResult(**{**gate.__dict__, "place": Place("p", 3)})
    assert run_facts.place_of(placed) == "p, step 3"
