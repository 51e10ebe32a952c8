"""Dead runs become runs that could not be measured; living ones never do, whatever the clocks say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model_health.config.settings import Settings, load_settings
from model_health.errors import StoreError
from model_health.gates.evidence import SILENT_AFTER
from model_health.report.manifest import Manifest
from model_health.runner.book import RunBook
from model_health.runner.reap import REASON, WATCH_SECONDS, Reaped, reap
from model_health.store.index.index import Index
from model_health.store.index.outbox_status import items
from model_health.store.index.records import Attempt, RunStart, RunStatus
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOON + SILENT_AFTER + timedelta(minutes=5)
DEAD = RunFolder.of("tiny", "smoke", "dead")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/sinks.yaml").write_text("local: {enabled: true}\n")
    return load_settings({"MODEL_HEALTH_HOME": str(tmp_path)})


@pytest.fixture
def index(settings: Settings) -> Iterator[Index]:
    with Index.open(settings.index_url, clock=lambda: LATER) as opened:
        yield opened


def start(index: Index, run_id: str = "dead", at: datetime = NOON) -> Attempt:
    ids = {"suite_version": "1", "suite_digest": "d", "dag_id": "run_canaries", "dag_run_id": "r1", "try_number": 1}
    return index.start_run(RunStart(RunFolder.of("tiny", "smoke", run_id), run_id, at, **ids))


def reaped(settings: Settings, now: datetime = LATER, meanwhile: object = None) -> Reaped:
    """Reap, doing something while the silent runs are watched."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if callable(meanwhile):
            meanwhile()

    found = reap(settings=settings, clock=lambda: now, sleep=sleep)
    assert waited in ([], [WATCH_SECONDS])
    return found


def test_an_orphan_becomes_a_run_that_could_not_be_measured_in_both_places_and_for_the_sinks(
    settings: Settings, index: Index
) -> None:
    start(index)
    store = ReportStore.open(settings.store_uri)
    store.write_report(DEAD, "half", b"{}")
    assert reaped(settings) == Reaped((DEAD.key,))
    run = index.run(DEAD.key)
    assert run is not None
    assert (run.status, run.reason, run.ended_at) == (RunStatus.COULD_NOT_MEASURE, REASON, LATER)
    manifest = Manifest.model_validate_json(store.read_manifest(DEAD))
    assert (manifest.status, manifest.reason, manifest.started_at) == ("could_not_measure", REASON, NOON)
    assert manifest.airflow is not None
    assert manifest.airflow.run_id == "r1"
    assert store.prompt_ids(DEAD) == []
    with index.reading("look") as connection:
        assert [(one.target, one.kind, one.state) for one in items(connection)] == [("local", "samples", "pending")]


def test_reaping_again_changes_nothing(settings: Settings, index: Index) -> None:
    start(index)
    reaped(settings)
    before = index.run(DEAD.key)
    assert reaped(settings, LATER + timedelta(days=1)) == Reaped()
    assert index.run(DEAD.key) == before


def test_nothing_is_watched_where_nothing_is_silent(settings: Settings, index: Index) -> None:
    start(index, at=LATER)
    waited: list[float] = []
    assert reap(settings=settings, clock=lambda: LATER, sleep=waited.append) == Reaped()
    assert waited == []


def test_a_run_that_lives_is_not_reaped_though_the_clock_jumped_ahead(settings: Settings, index: Index) -> None:
    attempt = start(index)
    far = NOON + timedelta(days=400)
    found = reaped(settings, far, meanwhile=lambda: index.heartbeat(attempt))
    assert found == Reaped(alive=(DEAD.key,))
    run = index.run(DEAD.key)
    assert run is not None
    assert run.status is RunStatus.STARTED


def test_a_dead_run_of_a_clock_that_was_set_back_since_is_reaped(settings: Settings, index: Index) -> None:
    start(index, at=NOON + timedelta(days=400))
    run = reaped(settings, NOON)
    assert run.reaped == (DEAD.key,)


@pytest.mark.parametrize("ending", ["measured by a newer try", "failed by its parent"])
def test_a_run_that_ends_while_it_is_watched_is_left_alone(settings: Settings, index: Index, ending: str) -> None:
    attempt = start(index)

    def end() -> None:
        if ending.startswith("failed"):
            index.fail_run(attempt, "killed")
        else:
            start(index, at=LATER)

    assert reaped(settings, meanwhile=end).reaped == ()
    run = index.run(DEAD.key)
    assert run is not None
    assert run.reason != REASON


def test_who_was_reaped_and_lives_after_all_writes_nothing_more(settings: Settings, index: Index) -> None:
    store = ReportStore.open(settings.store_uri)
    begun = RunStart(DEAD, "dead", NOON, suite_version="1", suite_digest="d")
    book = RunBook(store, index, begun)
    book.begin()
    assert reaped(settings).reaped == (DEAD.key,)
    assert not book.beat()
    manifest = Manifest.model_validate_json(store.read_manifest(DEAD))
    with pytest.raises(StoreError, match="took over"):
        book.finish(manifest.model_copy(update={"status": "measured"}), [], [])
    assert Manifest.model_validate_json(store.read_manifest(DEAD)) == manifest


def test_one_that_cannot_be_written_down_whole_is_reaped_in_the_index_and_said(
    settings: Settings, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(index)

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(ReportStore, "write_manifest", full)
    with pytest.raises(StoreError, match="disk is full"):
        reaped(settings)
    run = index.run(DEAD.key)
    assert run is not None
    assert run.status is RunStatus.COULD_NOT_MEASURE
