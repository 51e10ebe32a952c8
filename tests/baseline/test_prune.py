"""Old runs go, files before rows; what somebody may still ask for stays, whatever a person asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from model_health.baseline.artefact import pack
from model_health.baseline.document import HealthyRun, Provenance
from model_health.baseline.prune import BASELINE, SPARED, prune
from model_health.baseline.registry import promote
from model_health.baseline.store import BaselineStore
from model_health.config.settings import Settings, load_settings
from model_health.errors import BadInput, StoreError
from model_health.store.index.index import Index
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.gate_runs import NOON, failed, measured
from support.replays import facts, made_up

DAY = timedelta(days=1)
NOW = NOON + 100 * DAY
COUNT = SPARED + 5
ME = Provenance(by="me", reason="a test")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "configs").mkdir()
    return load_settings({"MODEL_HEALTH_HOME": str(tmp_path)})


@pytest.fixture
def index(settings: Settings) -> Iterator[Index]:
    """Fifteen runs of one model, a day apart, each with a report."""
    store = ReportStore.open(settings.store_uri)
    with Index.open(settings.index_url, clock=lambda: NOW) as opened:
        for number in range(COUNT):
            measured(opened, f"r{number}", NOON + number * DAY, model="tiny", suite="smoke")
            store.write_report(folder(number), "p0", b"{}")
            store.write_manifest(folder(number), b"{}")
        yield opened


def folder(number: int) -> RunFolder:
    return RunFolder.of("tiny", "smoke", f"r{number}")


def keys(count: int) -> list[str]:
    return [folder(number).key for number in range(count)]


def left(settings: Settings, index: Index) -> tuple[int, int]:
    """Rows and finished folders."""
    return len(index.runs(limit=99)), len(list(ReportStore.open(settings.store_uri).list_runs()))


def test_without_delete_it_only_says_what_would_go(settings: Settings, index: Index) -> None:
    found = prune(days=1, settings=settings, clock=lambda: NOW)
    assert (found.done, list(found.runs), found.kept) == (False, keys(5), {})
    assert left(settings, index) == (COUNT, COUNT)


def test_old_runs_lose_their_files_and_rows_and_the_newest_stay_however_old(settings: Settings, index: Index) -> None:
    found = prune(days=1, delete=True, settings=settings, clock=lambda: NOW)
    assert (found.done, list(found.runs)) == (True, keys(5))
    assert left(settings, index) == (SPARED, SPARED)
    again = prune(days=1, delete=True, settings=settings, clock=lambda: NOW)
    assert again.summary() == {"done": True, "runs": 0, "kept": {}}


def test_a_number_of_runs_to_keep_is_of_each_model(settings: Settings, index: Index) -> None:
    failed(index, "x", NOON, model="other", suite="smoke")
    assert list(prune(runs=12, settings=settings, clock=lambda: NOW).runs) == keys(3)


def test_runs_behind_a_promoted_baseline_stay_and_those_of_one_that_never_counted_go(
    settings: Settings, index: Index
) -> None:
    store = BaselineStore.open(settings.store_uri)
    known = facts()
    for number, counts in ((0, True), (1, True), (2, False)):
        run = known["runs"][0].model_copy(update={"run_id": f"r{number}"})
        packed = pack(made_up(), facts(runs=(run,), provenance=ME))
        assert isinstance(run, HealthyRun)
        store.write("tiny", "smoke", packed)
        if counts:
            promote(store, "tiny", "smoke", packed.baseline_id, ME, NOW)
    found = prune(days=1, delete=True, settings=settings, clock=lambda: NOW)
    assert list(found.runs) == keys(5)[2:]
    assert found.kept == {BASELINE: 2}


def test_a_promotion_that_cannot_be_read_stops_it_before_anything_is_lost(settings: Settings, index: Index) -> None:
    store = BaselineStore.open(settings.store_uri)
    packed = pack(made_up(), facts(provenance=ME))
    store.write("tiny", "smoke", packed)
    store.add_promotion("tiny", "smoke", 1, packed.baseline_id, b"{")
    with pytest.raises(StoreError, match="promotion 1"):
        prune(days=1, delete=True, settings=settings, clock=lambda: NOW)
    assert left(settings, index) == (COUNT, COUNT)


def test_whoever_dies_between_files_and_row_leaves_what_the_next_call_finishes(
    settings: Settings, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("model_health.baseline.prune.retention.forget", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(days=1, delete=True, settings=settings, clock=lambda: NOW)
    assert left(settings, index) == (COUNT, COUNT - 1)
    assert list(prune(days=1, delete=True, settings=settings, clock=lambda: NOW).runs) == keys(5)
    assert left(settings, index) == (SPARED, SPARED)


def test_a_run_that_is_measured_anew_keeps_its_folder(
    settings: Settings, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_health.baseline.prune.retention.is_still", lambda _, run: run.folder != folder(0))
    found = prune(days=1, delete=True, settings=settings, clock=lambda: NOW)
    assert list(found.runs) == keys(5)[1:]
    assert ReportStore.open(settings.store_uri).read_manifest(folder(0)) == b"{}"


def test_a_clock_that_was_set_back_makes_nothing_old(settings: Settings, index: Index) -> None:
    assert prune(days=1, settings=settings, clock=lambda: NOON - 999 * DAY).runs == ()


def test_settings_say_what_is_old_where_nobody_else_does(settings: Settings, index: Index) -> None:
    with pytest.raises(BadInput, match="nothing says what is old"):
        prune(settings=settings)
    asked = settings.model_copy(update={"retention_runs": 12})
    assert list(prune(settings=asked, clock=lambda: NOW).runs) == keys(3)
    assert list(prune(runs=14, settings=asked, clock=lambda: NOW).runs) == keys(1)


@pytest.mark.parametrize("asked", [{"days": 0}, {"runs": 0}, {"days": -1, "runs": 5}])
def test_a_limit_that_keeps_nothing_is_refused(settings: Settings, asked: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="at least one"):
        prune(settings=settings, **asked)  # type: ignore[arg-type]
