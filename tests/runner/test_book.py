"""A run that is triggered twice leaves one run: the newer try's, whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model_health.errors import StoreError
from model_health.report.manifest import Manifest
from model_health.runner.book import RunBook
from model_health.store.index.index import Index
from model_health.store.index.records import RunStart, RunStatus
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.manifests import make_manifest

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FOLDER = RunFolder.of("tiny", "smoke", "scheduled__1")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "index.db", clock=lambda: NOON) as opened:
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> ReportStore:
    return ReportStore.open(tmp_path / "store")


def book(store: ReportStore, index: Index) -> RunBook:
    return RunBook(store, index, RunStart(FOLDER, "scheduled__1", NOON, suite_version="1", suite_digest="d"))


def manifest(seconds: int) -> Manifest:
    return make_manifest(run_id="scheduled__1", ended_at=make_manifest().started_at + timedelta(seconds=seconds))


def test_of_two_triggers_at_once_the_newer_one_is_the_run_and_the_older_one_stops(
    store: ReportStore, index: Index
) -> None:
    first, second = book(store, index), book(store, index)
    first.begin()
    second.begin()
    assert not first.beat()
    assert second.beat()
    with pytest.raises(StoreError, match="newer try"):
        first.alive()
    second.finish(manifest(7), [], [])
    with pytest.raises(StoreError, match="newer try"):
        first.finish(manifest(9), [], [])
    assert (
        first.give_up(make_manifest(status="could_not_measure", verdict="could_not_measure", prompts=(), reason="x"))
        is None
    )
    assert Manifest.model_validate_json(store.read_manifest(FOLDER)) == manifest(7)
    [run] = index.runs()
    assert (run.status, run.ended_at) == (RunStatus.MEASURED, manifest(7).ended_at)


def test_a_run_beats_from_its_begin_on_and_not_before(store: ReportStore, index: Index) -> None:
    waiting = book(store, index)
    assert waiting.beat()
    assert index.runs() == []
    waiting.begin()
    assert waiting.beat()
