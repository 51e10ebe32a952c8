"""The demonstration: labelled, seeded, written by the library's own writers, and with every incident in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model_health.baseline.registry import history
from model_health.baseline.store import BaselineStore
from model_health.config.load import load_project
from model_health.config.settings import HOME_VARIABLE, Settings, load_settings
from model_health.demo.home import MARK
from model_health.demo.plan import MODELS, SILENT_NIGHTS, loop_days
from model_health.demo.texts import PROMPTS, SUITE
from model_health.demo.year import Demonstration, write_demonstration
from model_health.errors import BadInput
from model_health.report.load import load_manifest, load_report
from model_health.report.synthetic import WARNING, is_synthetic
from model_health.store.comparisons import FLIPS_JSON, ComparisonStore
from model_health.store.index.changes import identity_changes, verdict_changes
from model_health.store.index.fleet import FleetRow, fleet
from model_health.store.index.index import Index
from model_health.store.index.outbox_status import counts
from model_health.store.index.records import RunFilter, RunStatus
from model_health.store.index.selection import Selection
from model_health.store.index.trends import TrendQuery, trend
from model_health.store.index.validation import read_validation
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore

NIGHTS = 30
NOW = datetime(2026, 11, 22, 21, tzinfo=UTC)
ATLAS, BIRCH, CEDAR, DELTA, ELM, FIR = (model.name for model in MODELS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Demonstration:
    out = tmp_path_factory.mktemp("demo") / "home"
    return write_demonstration(out, repository / "configs", seed=7, nights=NIGHTS, now=NOW)


@pytest.fixture(scope="module")
def settings(made: Demonstration) -> Settings:
    return load_settings({HOME_VARIABLE: str(made.home)})


@pytest.fixture(scope="module")
def rows(settings: Settings) -> dict[str, FleetRow]:
    with Index.open(settings.index_url) as index, index.reading("test") as connection:
        return {row.model: row for row in fleet(connection, NOW, days=NIGHTS)}


def test_everything_says_that_it_is_made_up(made: Demonstration, settings: Settings, rows: dict[str, FleetRow]) -> None:
    assert (made.home / MARK).is_file()
    assert all(is_synthetic(model) for model in rows)
    assert all("Synthetic" in (model.description or "") for model in load_project(settings).enabled_models)
    with Index.open(settings.index_url) as index:
        run = index.runs(RunFilter(model=ATLAS), limit=1)[0]
        sample = index.samples(run.run_key)[0]
    assert sample.report_uri is not None
    report = load_report(
        ReportStore.open(settings.store_uri).read_bytes(sample.report_uri, digest=sample.report_digest)
    )
    assert WARNING in report.warnings


def test_every_model_has_a_run_each_night_until_it_goes_silent(made: Demonstration, settings: Settings) -> None:
    with Index.open(settings.index_url) as index:
        total = {model.model: model.runs for model in index.models()}
    assert total == {name: NIGHTS - (SILENT_NIGHTS - 1 if name == FIR else 0) for name in total}
    assert made.runs == sum(total.values()) - 1, "the run that died reported nothing"
    assert len(total) == len(MODELS)


def test_each_incident_is_there_to_be_found(settings: Settings, rows: dict[str, FleetRow]) -> None:
    with Index.open(settings.index_url) as index, index.reading("test") as connection:
        loops = verdict_changes(connection, Selection(BIRCH, SUITE))
        moved = identity_changes(connection, Selection(ELM, SUITE))
        upgraded = identity_changes(connection, Selection(ATLAS, SUITE))
        lost = [run.reason for run in index.runs(RunFilter(model=ELM, verdict="could_not_measure"))]
        entropy = trend(connection, TrendQuery(Selection(CEDAR, SUITE), "entropy_bits_mean"), step=timedelta(days=1))
    assert [change.after for change in loops] == ["unhealthy", "healthy"]
    assert (loops[1].at - loops[0].at).days == len(loop_days(NIGHTS))
    assert ("device", "cpu", "cuda") in [(change.kind, change.before, change.after) for change in moved]
    assert {change.what for change in upgraded} == {"torch", "transformers"}
    assert len(lost) == 2
    first, last = entropy.steps[0].mean, entropy.steps[-1].mean
    assert first is not None
    assert last is not None
    assert last > 1.5 * first
    assert rows[DELTA].last.verdict == "unhealthy"
    assert "nan_detected" in rows[DELTA].last.unhealthy_flags
    assert rows[ATLAS].last.verdict == "healthy"


def test_one_run_died_without_a_word_and_one_is_invalid(settings: Settings, rows: dict[str, FleetRow]) -> None:
    died = rows[FIR].last
    assert (died.status, died.verdict, died.ended_at) == (RunStatus.STARTED, None, None)
    with Index.open(settings.index_url) as index, index.reading("test") as connection:
        keys = [run.run_key for run in index.runs(RunFilter(model=ELM), limit=NIGHTS)]
        records = [read_validation(connection, key) for key in keys]
    invalid = [record for record in records if record is not None and not record.valid]
    assert [(record.invalid_reports, record.failures[0].severity) for record in invalid] == [(1, "critical")]


def test_alerts_stand_where_something_is_wrong_now(rows: dict[str, FleetRow]) -> None:
    standing = {model: {alert.gate for alert in row.alerts if alert.standing == "fail"} for model, row in rows.items()}
    assert "non-finite" in standing[DELTA]
    assert "no-report" in standing[FIR]
    assert not {"non-finite", "no-report"} & standing[ATLAS]
    assert not {"repetition-loop"} & standing[BIRCH], "it has recovered"


def test_one_sink_is_stuck_and_one_item_was_refused(settings: Settings, rows: dict[str, FleetRow]) -> None:
    with Index.open(settings.index_url) as index, index.reading("test") as connection:
        found = {target.target: target for target in counts(connection, NOW)}
    assert found["prometheus"].pending == 0
    assert found["prometheus"].states["delivered"] > 0
    assert found["datadog"].pending > 0
    assert found["datadog"].dead >= 1
    assert rows[DELTA].waiting.pending > 0


def test_the_self_test_of_one_model_failed_last_time(rows: dict[str, FleetRow]) -> None:
    tests = {model: row.self_test for model, row in rows.items()}
    assert {model for model, test in tests.items() if test is not None and not test.passed} == {CEDAR}


def test_comparisons_are_computed_and_can_be_opened(settings: Settings, rows: dict[str, FleetRow]) -> None:
    answers = {model: row.comparison.answer for model, row in rows.items() if row.comparison is not None}
    assert answers[ATLAS] == "identical"
    assert answers[DELTA] == "broken"
    assert answers[CEDAR] in ("changed", "degraded", "inconclusive")
    drifted = rows[CEDAR].comparison
    assert drifted is not None
    store = ComparisonStore.open(settings.store_uri)
    assert b"profile" in store.read(RunFolder(*drifted.key.split("/")), of_run=True)
    assert store.read(RunFolder(*drifted.key.split("/")), FLIPS_JSON, of_run=True)
    promotions = history(BaselineStore.open(settings.store_uri), ATLAS, SUITE)
    assert [promotion.number for promotion in promotions] == [1, 2]


def test_reports_of_an_incident_show_where_it_begins(settings: Settings) -> None:
    store = ReportStore.open(settings.store_uri)
    with Index.open(settings.index_url) as index:
        run = index.runs(RunFilter(model=DELTA), limit=1)[0]
        sample = index.samples(run.run_key)[0]
    assert run.manifest_uri is not None
    manifest = load_manifest(store.read_bytes(run.manifest_uri, digest=run.manifest_digest))
    assert len(manifest.prompts) == len(PROMPTS)
    assert sample.report_uri is not None
    report = load_report(store.read_bytes(sample.report_uri, digest=sample.report_digest))
    first = next(found for found in report.model_health.non_finite if found.where == "hidden")
    assert (first.layer, first.kind) == (4, "nan")


def test_a_report_that_was_not_kept_says_so(settings: Settings) -> None:
    with Index.open(settings.index_url) as index:
        run = index.runs(RunFilter(model=ATLAS), limit=20)[-1]
        sample = index.samples(run.run_key)[0]
    assert sample.report_uri is None
    assert "some nights only" in sample.not_measured["report_uri"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, repository: Path) -> None:
    precious = tmp_path / "home" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(BadInput, match="no demonstration"):
        write_demonstration(precious.parent, repository / "configs", seed=1, nights=NIGHTS, now=NOW)
    assert precious.read_text() == "years of work"


def test_a_year_without_room_for_its_incidents_is_refused(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(BadInput, match="at least 30 nights"):
        write_demonstration(tmp_path / "home", repository / "configs", seed=1, nights=29, now=NOW)
    assert not (tmp_path / "home").exists()
