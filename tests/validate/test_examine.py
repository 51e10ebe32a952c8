"""Whatever the library builds is valid, older versions too; loose files and databases meet the same suites."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from model_health.config.thresholds import Thresholds
from model_health.errors import CouldNotMeasure
from model_health.metrics.telemetry import PromptTelemetry
from model_health.report.serialise import to_gzip, to_json
from model_health.validate import gx_check
from model_health.validate.examine import examine_manifest, examine_source
from model_health.validate.frames import Frames
from model_health.validate.made_up import made_up_report
from model_health.validate.result import MAX_EXAMPLES
from support.manifests import make_manifest
from support.telemetry import telemetries
from support.traces import encode, trace
from support.validation import NOW, THRESHOLDS, StoredRunToCheck, failed, healthy_telemetry, report_of, store_run

pytestmark = pytest.mark.slow  # each asks Great Expectations about a whole run


@given(drawn=st.lists(telemetries(), min_size=4, max_size=10))
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would ask all suites hundreds of times
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_whatever_is_built_from_any_telemetry_is_valid(
    drawn: list[PromptTelemetry], tmp_path_factory: pytest.TempPathFactory
) -> None:
    traces = [report_of(telemetry, f"drawn-{n}") for n, telemetry in enumerate(drawn)]
    result = store_run(tmp_path_factory.mktemp("drawn"), traces).examine().result
    assert result.failed("critical") == ()
    assert result.valid


@pytest.mark.parametrize("encoder", [False, True])
def test_one_report_alone_is_valid(encoder: bool) -> None:
    found = examine_source(to_json(report_of(healthy_telemetry(encoder=encoder))), "one", THRESHOLDS, NOW)
    assert found.result.valid
    assert (found.result.reports, found.result.run_key) == (1, None)


def consistent(content: dict[str, Any]) -> dict[str, Any]:
    """The made-up old traces repeat one number in every step; here what follows from others follows."""
    for step in content["timeline"]:
        logits = step["logits_summary"]
        if "perplexity" in logits:
            logits |= {"perplexity": 2 ** logits["entropy"], "voter_agreement": 0.97, "topk_mass": 0.97}
    of_steps = [layer for step in content["timeline"] for layer in step["layers"]]
    for layer in [*of_steps, *(content.get("encoder_layers") or ())]:
        for attention in (layer["attention_summary"], layer.get("cross_attention") or {}):
            attention |= {"entropy_mean": 0.0, "entropy_min": 0.0, "entropy_max": 0.0}
    return content


def test_converted_reports_of_older_versions_are_valid(tmp_path: Path) -> None:
    old = {
        f"{version}-{encoder}": encode(
            {**consistent(trace(version, encoder=encoder)), "trace_id": f"{version}-{encoder}"}
        )
        for version in ("0.2.0", "0.3.0", "0.4.0")
        for encoder in (False, True)
    }
    result = examine_source(database_of(tmp_path, old), "old.db", THRESHOLDS, NOW).result
    assert result.reports == 6
    assert result.failed("critical") == ()
    assert result.valid


def database_of(folder: Path, reports: dict[str, bytes]) -> Path:
    """The SQLite form, with these reports."""
    path = folder / "reports.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE reports (trace_id TEXT, report_blob BLOB)")
    database.executemany("INSERT INTO reports VALUES (?, ?)", reports.items())
    database.commit()
    database.close()
    return path


def test_a_contradiction_in_an_older_trace_is_found() -> None:
    content = consistent(trace("0.3.0"))
    content["timeline"][1]["logits_summary"]["perplexity"] = 4.0
    found = examine_source(encode(content), "old.json", THRESHOLDS, NOW)
    assert failed(found.result) == {"steps.perplexity"}


def test_a_version_that_cannot_be_read_is_told() -> None:
    found = examine_source(encode(trace("0.1.0")), "old.json", THRESHOLDS, NOW)
    assert {"reports.readable", "reports.schema_version"} <= failed(found.result)


def test_a_database_of_reports_is_examined_whole(tmp_path: Path) -> None:
    good, bad = report_of(healthy_telemetry(), "a"), json.loads(to_json(report_of(healthy_telemetry(), "b")))
    bad["summary"]["total_steps"] = 0
    path = database_of(tmp_path, {"a": to_gzip(good), "b": json.dumps(bad).encode()})
    result = examine_source(path, "reports.db", THRESHOLDS, NOW).result
    assert (result.reports, result.invalid_reports) == (2, ("reports.db[b]",))


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00", b"\x1f\x8b\x08"])
def test_a_file_that_is_nothing_is_told_and_not_raised(content: bytes) -> None:
    assert "reports.readable" in failed(examine_source(content, "nothing", THRESHOLDS, NOW).result)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "reports.readable" in failed(examine_source(tmp_path / "none", "none", THRESHOLDS, NOW).result)


def test_a_manifest_alone_is_examined() -> None:
    # its report is missing
    assert examine_manifest(to_json(make_manifest()), "manifest.json", NOW).result.valid is False
    assert failed(examine_manifest(b"{}", "manifest.json", NOW).result) == {"run.manifest"}


def test_the_model_s_own_thresholds_decide_what_is_a_warning(tmp_path: Path) -> None:
    run = store_run(tmp_path, [report_of(healthy_telemetry(), "a")])
    lax = Thresholds(failing_flags=())
    strict = Thresholds(high_entropy_bits=0.1, high_entropy_max_fraction=0.2)
    assert run.examine(thresholds=lax).result.failures == ()
    result = run.examine(thresholds=strict).result
    assert result.valid
    assert {failure.expectation for failure in result.failed("warning")} == {
        "reports.high_entropy.threshold",
        "reports.loop_detected.healthy",
    }


def test_a_tolerated_flag_is_no_warning(tmp_path: Path) -> None:
    tolerated = ("loop_detected", "high_entropy")
    run = store_run(tmp_path, [report_of(healthy_telemetry(), "a", tolerated=tolerated)])
    strict = Thresholds(high_entropy_bits=0.1, high_entropy_max_fraction=0.2)
    assert run.examine(thresholds=strict).result.failures == ()


def test_however_much_is_wrong_the_result_stays_small(tmp_path: Path) -> None:
    def ruin(content: dict[str, Any]) -> None:
        content["group"] = "x" * 5000
        for step in content["timeline"]:
            step["token"]["token_id"] = 10**6
            for layer in step["layers"]:
                layer["hidden_summary"]["std"] = -1.0

    def long(content: dict[str, Any]) -> None:
        content["model_health"]["group"] = "x" * 5000

    names = [f"p-{n:03d}" for n in range(120)]
    traces = [report_of(healthy_telemetry(), name) for name in names]
    result = store_run(tmp_path, traces, changes=dict.fromkeys(names, ruin) | {names[0]: long}).examine().result
    assert result.invalid_reports_count == 120
    assert len(result.invalid_reports) == 100
    assert all(len(failure.examples) <= MAX_EXAMPLES for failure in result.failures)
    assert len(to_json(result)) < 60_000
    assert len(json.dumps(result.summary())) < 4096


def test_an_expectation_that_breaks_is_no_finding_about_the_report(
    healthy_run: StoredRunToCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_health.validate.gx_suites import suite_of

    def without_a_column(name: str, rules: Any = None) -> Any:
        suite = suite_of(name, rules)
        if name == "steps" and suite.expectations:
            suite.expectations[0].column = "no such column"
        return suite

    monkeypatch.setattr(gx_check, "suite_of", without_a_column)
    with pytest.raises(CouldNotMeasure, match="the expectation itself failed"):
        healthy_run.examine()


def test_great_expectations_keeps_quiet_and_stays_as_it_was(
    healthy_run: StoredRunToCheck, caplog: pytest.LogCaptureFixture
) -> None:
    loggers = [logging.getLogger("great_expectations"), logging.getLogger("great_expectations.data_context.types.base")]
    levels = [logger.level for logger in loggers]
    with caplog.at_level(logging.INFO):
        healthy_run.examine()
    assert [record.name for record in caplog.records if record.name.startswith("great_expectations")] == []
    assert [logger.level for logger in loggers] == levels


def test_the_benchmark_s_reports_are_valid() -> None:
    found = examine_source(to_json(made_up_report(steps=4, layers=3, seed=1)), "made up", THRESHOLDS, NOW)
    assert found.result.failures == ()


def test_remembering_configurations_changes_no_answer_and_ends_with_the_validation(
    whole_frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    from great_expectations.expectations.expectation import Expectation

    before = Expectation.configuration
    spoiled = replace(whole_frames, by_name={name: frame.copy() for name, frame in whole_frames.by_name.items()})
    spoiled.by_name["steps"].loc[1, "entropy_bits"] = -1.0
    quick = gx_check.check_frames(spoiled)
    assert Expectation.configuration is before
    monkeypatch.setattr(gx_check, "_configurations_remembered", nullcontext)
    slow = gx_check.check_frames(spoiled)
    assert [outcome.rule.name for outcome in quick if not outcome.success]
    for one, other in zip(quick, slow, strict=True):
        assert one == other
        assert one.rows.tolist() == other.rows.tolist()
        assert one.result is not None
        assert other.result is not None
        assert one.result.to_json_dict() == other.result.to_json_dict()
