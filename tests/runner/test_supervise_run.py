"""A supervised run against a real index, a real store and a fake child."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_health.config.settings import Settings, load_settings
from model_health.delivery import status
from model_health.errors import BadInput, ChildFailed, StoreError
from model_health.report.manifest import AirflowIds, Manifest
from model_health.runner.request import RunRequest
from model_health.runner.supervise import ChildRequest, StopSignal
from model_health.runner.supervise_record import Recorder
from model_health.runner.supervise_run import measure, time_limit_seconds
from model_health.runner.supervise_targets import choose_targets
from model_health.sinks.payload import decode
from model_health.store.index.index import Index
from model_health.store.index.records import RunRecord, RunStart, RunStatus
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.airflow import Project

FOLDER = RunFolder.of("tiny", "smoke", "dag run 1")


def ids(try_number: int) -> AirflowIds:
    return AirflowIds(dag_id="run_canaries", run_id="dag run 1", task_id="measure", map_index=0, try_number=try_number)


ORDER = RunRequest("tiny", run_id="dag run 1", airflow=ids(2))


class FakeChild:
    """A project with one model, whose capture child does as it is told."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = Project.make(home)
        self.project.add_model("tiny", timeout_seconds=300)
        self._monkeypatch = monkeypatch
        self.says(do="finish")

    def says(self, **orders: object) -> None:
        self._monkeypatch.setenv("FAKE_CHILD", json.dumps(orders))

    @property
    def settings(self) -> Settings:
        home = self.project.home
        return load_settings({"MODEL_HEALTH_HOME": str(home), "MODEL_HEALTH_PYTHON": str(home / "python")})

    def row(self) -> RunRecord | None:
        with Index.open(self.settings.index_url) as index:
            return index.run(FOLDER.key)

    def manifest(self) -> Manifest:
        return Manifest.model_validate_json(ReportStore.open(self.settings.store_uri).read_manifest(FOLDER))


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeChild:
    return FakeChild(tmp_path / "project", monkeypatch)


def test_a_run_gets_its_model_suite_store_and_dag_run(child: FakeChild, tmp_path: Path) -> None:
    child.says(marker=str(tmp_path / "marker"))
    sinks = ("local", "textfile")
    order = replace(ORDER, batch_size=4, device="cpu", perf="strict", prompt_telemetry=False, sinks=sinks)
    lines: list[str] = []
    outcome = measure(order, on_line=lines.append, settings=child.settings)
    assert (outcome.verdict, outcome.suite, outcome.run_id) == ("healthy", "smoke", "dag run 1")
    assert lines == ["prompt 1 of 2", "prompt 2 of 2"]
    command = json.loads((tmp_path / "marker").read_text())["argv"]
    text = " ".join(command)
    for part in (
        "run --model tiny --suite smoke --run-id dag run 1",
        f"--out {child.settings.store_uri}",
        "--airflow-dag-id run_canaries --airflow-run-id dag run 1 --airflow-task-id measure",
        "--airflow-map-index 0 --airflow-try 2",
        "--sink local --sink textfile --batch-size 4 --device cpu --perf strict --no-prompt-telemetry",
    ):
        assert part in text


def test_a_run_that_was_started_is_in_the_index(child: FakeChild) -> None:
    measure(ORDER, settings=child.settings)
    row = child.row()  # the real child takes the row over; the fake one leaves it as its supervisor made it
    assert row is not None
    assert (row.status, row.dag_run_id, row.try_number, row.suite_version) == (
        RunStatus.STARTED,
        "dag run 1",
        2,
        "1.0.0",
    )


def test_a_crash_is_on_record_with_reason_and_log(child: FakeChild) -> None:
    child.says(do="killed")
    with pytest.raises(ChildFailed):
        measure(ORDER, settings=child.settings)
    row, manifest = child.row(), child.manifest()
    assert row is not None
    assert row.status == RunStatus.COULD_NOT_MEASURE
    assert row.reason is not None
    assert "SIGKILL" in row.reason
    assert row.log_tail == "prompt 1 of 2\nprompt 2 of 2"
    assert (manifest.verdict, manifest.reason, manifest.log_tail) == ("could_not_measure", row.reason, row.log_tail)
    assert manifest.airflow is not None
    assert manifest.airflow.try_number == 2


def test_a_crash_is_told_to_the_sinks(child: FakeChild) -> None:
    child.says(do="killed")
    with pytest.raises(ChildFailed):
        measure(ORDER, settings=child.settings)
    with Index.open(child.settings.index_url) as index:
        [item] = status.items(index)
    assert (item.target, item.state, item.run_key) == ("local", "pending", FOLDER.key)
    assert {sample.metric: sample.value for sample in decode(item.payload)[0]}["run_measured"] == 0


def test_reports_of_a_run_that_died_half_way_are_removed(child: FakeChild) -> None:
    store = ReportStore.open(child.settings.store_uri)
    store.write_report(FOLDER, "one", b"{}")
    child.says(do="segfault")
    with pytest.raises(ChildFailed):
        measure(ORDER, settings=child.settings)
    assert store.prompt_ids(FOLDER) == []


def test_a_run_that_is_told_to_stop_is_on_record(child: FakeChild) -> None:
    child.says(do="hang")
    stop = StopSignal()
    with pytest.raises(ChildFailed, match="told to stop"):
        measure(ORDER, on_line=lambda line: stop.request("the worker shuts down"), stop=stop, settings=child.settings)
    assert child.manifest().reason == "tiny: told to stop (the worker shuts down)"


def test_an_interrupted_run_is_on_record(child: FakeChild) -> None:
    child.says(do="hang")

    def on_line(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(ORDER, on_line=on_line, settings=child.settings)
    row = child.row()
    assert row is not None
    assert (row.status, row.reason) == (RunStatus.COULD_NOT_MEASURE, "interrupted by KeyboardInterrupt")


def test_a_retry_replaces_the_record_of_the_failed_try(child: FakeChild) -> None:
    child.says(do="killed")
    with pytest.raises(ChildFailed):
        measure(ORDER, settings=child.settings)
    child.says(do="raise")
    with pytest.raises(ChildFailed):
        measure(replace(ORDER, airflow=ids(3)), settings=child.settings)
    row = child.row()
    assert row is not None
    assert row.try_number == 3
    assert row.reason is not None
    assert "out of cheese" in row.reason


def recorder(child: FakeChild, try_number: int) -> Recorder:
    request = ChildRequest("tiny", "smoke", "dag run 1", airflow=ids(try_number))
    from model_health.config.load import load_project

    return Recorder(request, child.settings, load_project(child.settings).get_suite("smoke"))


def test_a_late_failure_of_an_old_try_leaves_the_newer_try_alone(child: FakeChild) -> None:
    old, new = recorder(child, 1), recorder(child, 2)
    old.started()
    new.started()
    old.could_not_measure("it was killed", "")
    row = child.row()
    assert row is not None
    assert (row.status, row.try_number) == (RunStatus.STARTED, 2)
    with pytest.raises(StoreError):
        child.manifest()


def test_without_an_index_the_manifest_still_says_so(child: FakeChild) -> None:
    with Index.open(child.settings.index_url) as index:  # another run, so that there is a file to break
        index.start_run(RunStart(RunFolder.of("a", "b", "c"), "c", datetime.now(UTC)))
    one = recorder(child, 1)
    database = Path(child.settings.index_url.removeprefix("sqlite:///"))
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    database.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError):
        one.could_not_measure("it was killed", "last words")
    assert child.manifest().log_tail == "last words"


def test_what_cannot_be_recorded_does_not_hide_why_the_child_failed(child: FakeChild) -> None:
    class Broken:
        def started(self) -> None:
            pass

        def could_not_measure(self, reason: str, log_tail: str) -> None:
            raise StoreError("the disk is full")

    child.says(do="segfault")
    with pytest.raises(ChildFailed, match="SIGSEGV") as caught:
        measure(ORDER, settings=child.settings, recorder=Broken())
    assert "the disk is full" in caught.value.__notes__[0]


def test_no_child_starts_when_its_start_cannot_be_recorded(child: FakeChild, tmp_path: Path) -> None:
    child.says(marker=str(tmp_path / "marker"))

    class Broken:
        def started(self) -> None:
            raise StoreError("the index is locked")

        def could_not_measure(self, reason: str, log_tail: str) -> None:
            raise AssertionError

    with pytest.raises(StoreError):
        measure(ORDER, settings=child.settings, recorder=Broken())
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"model": "tinny"}, "tinny.*tiny"), ({"suite": "nothing"}, "nothing: is not a configured canary suite")],
)
def test_unknown_names_are_bad_input_and_start_nothing(child: FakeChild, change: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        measure(replace(ORDER, **change), settings=child.settings)  # type: ignore[arg-type]
    assert child.row() is None


def test_the_time_limit_is_the_models_own(child: FakeChild) -> None:
    child.project.add_model("brisk", timeout_seconds=77)
    assert time_limit_seconds("brisk", child.settings) == 77.0


def targets(child: FakeChild, *, cuda: bool = False, **options: str) -> list[tuple[str, str]]:
    chosen = choose_targets(wants_cuda=cuda, settings=child.settings, **options)
    return [(one["model"], one["suite"]) for one in chosen]


def test_every_enabled_model_is_chosen_once_for_each_of_its_suites(child: FakeChild) -> None:
    second = (child.project.home / "configs/canaries/smoke.yaml").read_text().replace("smoke", "core")
    (child.project.home / "configs/canaries/core.yaml").write_text(second)
    child.project.add_model("both", suites=["smoke", "core"])
    child.project.add_model("resting", enabled=False)
    assert targets(child) == [("both", "core"), ("both", "smoke"), ("tiny", "smoke")]
    assert targets(child, suite="core") == [("both", "core"), ("tiny", "core")]
    assert targets(child, model="tiny") == [("tiny", "smoke")]
    assert targets(child, model="resting") == [("resting", "smoke")]


@pytest.mark.parametrize("keys", [{"device": "cuda"}, {"device": "cuda:1"}, {"quantization": "int8"}])
def test_a_model_that_asks_for_cuda_is_chosen_for_the_gpu_only(child: FakeChild, keys: dict[str, str]) -> None:
    child.project.add_model("big", **keys)
    child.project.add_model("anywhere", device="auto")
    assert targets(child, cuda=True) == [("big", "smoke")]
    assert targets(child) == [("anywhere", "smoke"), ("tiny", "smoke")]


def test_a_broken_model_file_gets_a_task_of_its_own_to_fail_in(child: FakeChild) -> None:
    (child.project.home / "configs/models/broken.yaml").write_text("name: [")
    assert targets(child) == [("broken", "none"), ("tiny", "smoke")]
    assert targets(child, cuda=True) == []
    with pytest.raises(BadInput, match=r"broken\.yaml"):
        time_limit_seconds("broken", child.settings)


def test_a_name_that_nobody_configured_gets_a_task_to_fail_in(child: FakeChild) -> None:
    assert targets(child, model="tinny") == [("tinny", "none")]
    assert targets(child, model="tinny", cuda=True) == []


def test_without_any_model_nothing_is_chosen(child: FakeChild) -> None:
    (child.project.home / "configs/models/tiny.yaml").unlink()
    assert targets(child) == targets(child, cuda=True) == []
