"""Parsing the Dags loads nothing heavy, touches nothing outside, and costs the same for one model as for a thousand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.airflow import REPOSITORY, Project

# Runs in an interpreter of its own: this one has loaded everything there is.
PARSE = """
import builtins, json, sys
from pathlib import Path

opened = []
def audit(event, args):
    if event == "open" and isinstance(args[0], str) and "/configs/" in args[0]:
        opened.append(args[0])
sys.addaudithook(audit)

from airflow.dag_processing.dagbag import DagBag
bag = DagBag(Path(sys.argv[1]))
dag = bag.dags.get("run_canaries")
HEAVY = ("torch", "transformers", "pandas", "great_expectations", "streamlit", "duckdb", "prometheus_client",
         "datadog_api_client", "accelerate", "safetensors")
print(json.dumps({
    "errors": list(bag.import_errors.values()),
    "heavy": sorted(name for name in HEAVY if name in sys.modules),
    "read": opened,
    "dags": sorted(bag.dags),
    "tasks": sorted(dag.task_ids) if dag else [],
    "stray": sorted({"xcom", "assets", "targets", "instrumentation", "local_home"} & set(sys.modules)),
}))
"""

# How much work parsing is, and how much is stored: a number of calls, since time says more about the machine.
COUNT = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
DagBag(Path(sys.argv[1]))  # the first time pays for what is imported
calls = 0
def count(frame, event, arg):
    global calls
    calls += event == "call"
sys.setprofile(count)
bag = DagBag(Path(sys.argv[1]))
stored = DagSerialization.serialize_dag(bag.dags["run_canaries"])
sys.setprofile(None)
print(json.dumps({"calls": calls, "stored": len(json.dumps(stored))}))
"""


def parse(project: Project) -> dict[str, Any]:
    ended = project.python("-c", PARSE, str(project.home / "dags"))
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def work(project: Project) -> dict[str, int]:
    ended = project.python("-c", COUNT, str(project.home / "dags"))
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.make(tmp_path / "project")
    made.add_model("tiny")
    return made


def test_the_dags_parse_without_errors_and_without_heavy_libraries(project: Project) -> None:
    found = parse(project)
    assert found["errors"] == []
    assert found["dags"] == ["run_canaries"]
    assert found["heavy"] == []


@pytest.mark.parametrize("module", ["torch", "pandas"])
def test_a_heavy_import_in_a_dag_file_is_noticed(project: Project, module: str) -> None:
    dag = project.home / "dags/run_canaries.py"
    dag.write_text(dag.read_text().replace("from datetime import", f"import {module}\nfrom datetime import", 1))
    assert module in parse(project)["heavy"]


def test_a_heavy_import_below_an_operator_is_noticed(project: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "plugins/model_health_airflow", copy / "model_health_airflow")
    operator = copy / "model_health_airflow/operators/instrumentation.py"
    operator.write_text(operator.read_text().replace("import logging", "import logging\nimport transformers", 1))
    first = f"import sys; sys.path.insert(0, {str(copy)!r})\n"
    environment = project.environment()
    ended = subprocess.run(
        [sys.executable, "-c", first + PARSE, str(project.home / "dags")],
        env=environment, capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    assert "transformers" in json.loads(ended.stdout.splitlines()[-1])["heavy"]


def test_parsing_costs_the_same_for_a_thousand_models_as_for_one(project: Project) -> None:
    one, work_for_one = parse(project), work(project)
    for number in range(1000):
        project.add_model(f"model-{number}", device="cuda" if number % 2 else "cpu")
    thousand, work_for_a_thousand = parse(project), work(project)
    assert thousand == one
    assert thousand["read"] == []
    assert work_for_a_thousand["stored"] == work_for_one["stored"]
    assert work_for_a_thousand["calls"] == pytest.approx(work_for_one["calls"], rel=0.02)
    steps = ("alert", "evaluate_gates", "healthy", "measure", "publish", "publish_verdicts", "validate")
    groups = [f"canary_{queue}.{step}" for queue in ("default", "gpu") for step in steps]
    assert thousand["tasks"] == [*groups, "choose_default", "choose_gpu"]


@pytest.mark.parametrize("content", ["name: [", "", "name: 7", "\x00"])
def test_a_broken_model_file_does_not_break_the_dag(project: Project, content: str) -> None:
    (project.home / "configs/models/broken.yaml").write_text(content)
    assert parse(project)["errors"] == []


def test_the_plugin_loader_does_not_import_our_modules_under_their_bare_names(project: Project) -> None:
    # a `__main__.py` would run its command where the loader takes it for a plugin, and end the process
    shutil.copytree(
        REPOSITORY / "plugins/model_health_airflow",
        project.home / "plugins/model_health_airflow",
        ignore=shutil.ignore_patterns("__main__.py"),
    )
    code = "from airflow import plugins_manager\nplugins_manager._get_plugins()\n" + PARSE
    ended = project.python("-c", code, str(project.home / "dags"))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["stray"] == []
    (project.home / "plugins/.airflowignore").unlink()
    ended = project.python("-c", code, str(project.home / "dags"))
    assert json.loads(ended.stdout.splitlines()[-1])["stray"] != []
