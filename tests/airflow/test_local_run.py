"""What `make run` starts: the Dag in one process, through `dag.test()`, with a fake capture child."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model_health.config.settings import load_settings
from model_health.store.index.index import Index
from model_health.store.index.records import RunRecord
from support.airflow import Project
from support.children import is_running, wait_until

pytestmark = pytest.mark.slow

Make = Callable[..., Project]
RUN = ("-m", "model_health_airflow.local_run")


def rows(project: Project) -> dict[str, RunRecord]:
    settings = load_settings({"MODEL_HEALTH_HOME": str(project.home)})
    with Index.open(settings.index_url) as index:
        return {run.folder.model: run for run in index.runs()}


def test_one_model_of_each_kind(make_project: Make) -> None:
    project = make_project("healthy", "sick")
    project.add_model("dead", device="cuda")
    (project.home / "configs/models/broken.yaml").write_text("name: [")
    database = project.home / ".airflow/database-version"
    migrated = database.stat().st_mtime_ns
    ended = project.python(*RUN, fake_child={"sick": {"exit_code": 1}, "dead": {"do": "killed"}})
    assert ended.returncode == 1, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines.count("prompt 1 of 2") == lines.count("prompt 2 of 2") == 3
    assert any(line.startswith("sick is unhealthy in 1 of 2 prompts (repetition_loop_detected 1)") for line in lines)
    assert any(line.startswith("dead: the capture child died of SIGKILL") for line in lines)
    assert any(line.startswith("configs/models/broken.yaml:") for line in lines)
    assert not any("airflow" in line.lower() or "Traceback" in line for line in lines)
    assert "DagRun Finished" in (project.home / ".airflow/logs/local_run.log").read_text()
    found = rows(project)
    assert found.keys() == {"healthy", "sick", "dead"}
    assert found["dead"].status == "could_not_measure"
    assert found["healthy"].dag_id == "run_canaries"
    assert database.stat().st_mtime_ns == migrated  # a database that is ready is not migrated again


@pytest.mark.parametrize(("orders", "code"), [({"exit_code": 4}, 4), ({"do": "no_result"}, 3)])
def test_the_exit_code_is_that_of_the_run(make_project: Make, orders: dict[str, object], code: int) -> None:
    project = make_project("one", "other")
    ended = project.python(*RUN, "--model", "one", "--suite", "smoke", fake_child={"one": orders, "other": {"do": "?"}})
    assert ended.returncode == code, ended.stderr
    assert rows(project).keys() == {"one"}


def test_a_model_that_nobody_configured_is_bad_input(make_project: Make) -> None:
    ended = make_project("tiny").python(*RUN, "--model", "tinny", fake_child={})
    assert ended.returncode == 2
    assert "tinny: is not a configured model" in ended.stdout


def test_without_models_there_is_nothing_to_run(make_project: Make) -> None:
    ended = make_project().python(*RUN, fake_child={})
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == ["no enabled model is configured (configs/models)"]


def test_a_dag_file_that_cannot_be_imported_is_one_line(make_project: Make) -> None:
    project = make_project("tiny")
    (project.home / "dags/run_canaries.py").write_text("import nothing_of_that_name  # for an airflow dag\n")
    ended = project.python(*RUN, fake_child={})
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert "run_canaries.py" in line
    assert "nothing_of_that_name" in line


def test_another_shell_s_database_is_never_touched_and_without_reports_a_run_is_invalid(
    make_project: Make, tmp_path: Path
) -> None:
    project = make_project("tiny")
    theirs = tmp_path / "theirs.db"
    environment = project.environment(fake_child={}) | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{theirs}"}
    ended = subprocess.run([sys.executable, *RUN], env=environment, capture_output=True, timeout=600, check=False)
    assert not theirs.exists()
    # The fake child writes no reports, which makes a run that it calls healthy invalid: 3, and never 0.
    assert ended.returncode == 3
    assert rows(project).keys() == {"tiny"}


def test_ctrl_c_ends_the_child_is_recorded_and_starts_no_other_model(make_project: Make, tmp_path: Path) -> None:
    project = make_project("first", "second")
    marker, second = tmp_path / "first", tmp_path / "second"
    orders = {"first": {"do": "hang", "marker": str(marker)}, "second": {"marker": str(second)}}
    process = subprocess.Popen(
        [sys.executable, *RUN], env=project.environment(fake_child=orders), stderr=subprocess.PIPE, text=True
    )
    try:
        assert wait_until(lambda: marker.exists() and marker.read_text() != "", seconds=600)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 130
    assert stderr.splitlines() == ["interrupted: what was running is recorded as not measured"]
    assert not is_running(json.loads(marker.read_text())["pid"])
    assert not second.exists()
    assert rows(project)["first"].reason == "interrupted by KeyboardInterrupt"
