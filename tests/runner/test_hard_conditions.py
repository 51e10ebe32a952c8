"""What becomes of a run when the world around it is at its worst, made real wherever that can be had without root.

ARCHITECTURE.md lists each condition, its outcome and the test behind it. Those with a test elsewhere are not repeated.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_health.config.settings import Settings, load_settings
from model_health.errors import ChildFailed, ExitCode, StoreError
from model_health.report.load import load_manifest, load_report
from model_health.report.manifest import AirflowIds, Manifest
from model_health.runner.canary import run_canaries
from model_health.runner.request import RunRequest
from model_health.runner.supervise_run import measure
from model_health.store.index.index import Index
from model_health.store.index.records import RunStatus
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.airflow import Project
from support.children import wait_until
from support.fuzzing import one_line
from support.projects import tiny_project

ENOUGH = 192 * 2**20
"""Bytes of memory at which the test does what the kernel does to a process that has had too much."""


@pytest.fixture
def project(tmp_path: Path) -> Settings:
    return tiny_project(tmp_path)


@contextmanager
def no_file_longer_than(limit: int) -> Iterator[None]:
    """The kernel refuses to write any file beyond so many bytes, as it does on a device without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def stored(settings: Settings) -> list[Path]:
    return sorted(path for path in Path(settings.store_uri).rglob("*") if path.is_file())


def test_a_full_disk_ends_a_run_and_leaves_no_half_file_and_the_next_run_measures(project: Settings) -> None:
    first = run_canaries(RunRequest("tiny", run_id="before"), project)
    before = {path: path.read_bytes() for path in stored(project)}
    with no_file_longer_than(700), pytest.raises(StoreError) as caught:
        run_canaries(RunRequest("tiny", run_id="full"), project)
    one_line(str(caught.value))
    assert caught.value.exit_code == ExitCode.COULD_NOT_MEASURE
    # What is there now is either the earlier run, untouched, or a whole file that can be read.
    for path in stored(project):
        if path in before:
            assert path.read_bytes() == before[path]
        else:
            (load_manifest if path.name == "manifest.json" else load_report)(path)
    again = run_canaries(RunRequest("tiny", run_id="full"), project)
    assert (first.manifest.status, again.manifest.status) == ("measured", "measured")
    with Index.open(project.index_url) as index:
        assert {run.run_id: run.status for run in index.runs()} == dict.fromkeys(("before", "full"), RunStatus.MEASURED)


def read_only(folder: Path) -> str:
    """A store that nobody may write to; root may write to any folder but the kernel's own."""
    if os.geteuid() == 0:
        return "/sys/model-health-store"
    folder.mkdir(mode=0o500)
    return str(folder)


def test_a_read_only_store_ends_a_run_that_the_index_remembers(project: Settings, tmp_path: Path) -> None:
    place = read_only(tmp_path / "read-only")
    with pytest.raises(StoreError, match=r"permission denied|read-only") as caught:
        run_canaries(RunRequest("tiny", run_id="r1", store_uri=place), project)
    one_line(str(caught.value))
    assert not Path(place, "runs").exists()
    with Index.open(project.index_url) as index:
        [run] = index.runs()
    assert run.status == RunStatus.COULD_NOT_MEASURE
    assert "could not measure" in str(run.reason)


BOTH = RunFolder.of("tiny", "smoke", "scheduled__1")
SCHEDULER = textwrap.dedent("""
    import sys, time
    from datetime import UTC, datetime
    from pathlib import Path
    from model_health.errors import StoreError
    from model_health.runner.book import RunBook
    from model_health.store.index.index import Index
    from model_health.store.index.records import RunStart
    from model_health.store.names import RunFolder
    from model_health.store.reports import ReportStore
    from support.manifests import make_manifest

    home, me = Path(sys.argv[1]), sys.argv[2]
    began = datetime(2026, 11, 22, 12, tzinfo=UTC)
    with Index.open(home / "index.db") as index:
        folder = RunFolder.of("tiny", "smoke", "scheduled__1")
        start = RunStart(folder, "scheduled__1", began, suite_version="1", suite_digest="d")
        book = RunBook(ReportStore.open(home / "store"), index, start)
        book.begin()
        (home / f"begun-{me}").touch()
        while len(list(home.glob("begun-*"))) < 2:
            time.sleep(0.05)
        try:
            book.finish(make_manifest(run_id="scheduled__1", peak_memory_bytes=int(me)), [], [])
            print("finished")
        except StoreError as error:
            print(error)
""")


def test_of_two_processes_that_were_told_of_the_same_run_one_is_the_run(tmp_path: Path) -> None:
    Index.open(tmp_path / "index.db").close()
    tests = str(Path(__file__).resolve().parents[1])
    environ = {**os.environ, "PYTHONPATH": tests}
    call = [sys.executable, "-c", SCHEDULER, str(tmp_path)]
    pair = [subprocess.Popen([*call, me], env=environ, stdout=subprocess.PIPE, text=True) for me in ("1", "2")]
    said = [process.communicate(timeout=300)[0].strip() for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert sorted(one == "finished" for one in said) == [False, True], said
    assert any("newer try" in one for one in said)
    winner = said.index("finished") + 1
    manifest = Manifest.model_validate_json(ReportStore.open(tmp_path / "store").read_manifest(BOTH))
    assert manifest.peak_memory_bytes == winner
    with Index.open(tmp_path / "index.db") as index:
        [run] = index.runs()
    assert run.status == RunStatus.MEASURED


def ordered(run_id: str) -> RunRequest:
    airflow = AirflowIds(dag_id="run_canaries", run_id=run_id, task_id="measure", map_index=0, try_number=1)
    return RunRequest("tiny", run_id=run_id, airflow=airflow)


def check_recorded(settings: Settings, run_id: str, words: str) -> None:
    """The run is on record, in the store and in the index, as one that could not be measured for this reason."""
    folder = RunFolder.of("tiny", "smoke", run_id)
    manifest = Manifest.model_validate_json(ReportStore.open(settings.store_uri).read_manifest(folder))
    assert manifest.status == "could_not_measure"
    assert words in str(manifest.reason)
    with Index.open(settings.index_url) as index:
        run = index.run(folder.key)
    assert run is not None
    assert run.status == RunStatus.COULD_NOT_MEASURE


def test_a_child_that_eats_memory_until_it_is_killed_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, marker = Project.make(tmp_path / "project"), tmp_path / "marker"
    made.add_model("tiny", timeout_seconds=600)
    monkeypatch.setenv("FAKE_CHILD", json.dumps({"do": "eat_memory", "marker": str(marker)}))
    settings = load_settings({"MODEL_HEALTH_HOME": str(made.home), "MODEL_HEALTH_PYTHON": str(made.home / "python")})

    def out_of_memory() -> None:
        wait_until(lambda: marker.exists() and marker.read_text().endswith("}"))
        pid = json.loads(marker.read_text())["pid"]
        wait_until(lambda: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() > ENOUGH)
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=out_of_memory)
    killer.start()
    try:
        with pytest.raises(ChildFailed, match="died of SIGKILL") as caught:
            measure(ordered("hungry"), settings=settings)
    finally:
        killer.join()
    assert "out of memory" in caught.value.hint
    check_recorded(settings, "hungry", "SIGKILL")


@pytest.mark.slow
def test_a_model_that_hangs_while_it_is_loaded_is_ended_at_its_time_limit_and_on_record(tmp_path: Path) -> None:
    settings = tiny_project(tmp_path, timeout_seconds=60, trust_remote_code=True)
    folder, marker = tmp_path / "weights" / "tiny", tmp_path / "marker"
    code = f"import pathlib, threading\npathlib.Path({str(marker)!r}).touch()\nthreading.Event().wait()\n"
    (folder / "own_code.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnModel"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": own}))
    with pytest.raises(ChildFailed, match="did not end within 60 s"):
        measure(ordered("stuck"), settings=settings)
    assert marker.exists()  # it was not slow to begin: it hung
    check_recorded(settings, "stuck", "did not end within 60 s")
