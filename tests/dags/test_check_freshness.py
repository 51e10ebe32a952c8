"""The dead man's switch: its definition, what parsing it loads, and one real run of it."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from model_health.alerting.status import history_rows
from model_health.config.settings import load_settings
from model_health.store.index.index import Index, utc_now
from support.airflow import REPOSITORY, Project
from support.gate_runs import measured
from support.webhook import webhook_server

PARSE = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(Path(sys.argv[1]))
heavy = ("torch", "transformers", "pandas", "great_expectations", "streamlit", "prometheus_client",
         "datadog_api_client", "model_health.alerting.watch", "model_health.delivery.alerts",
         "model_health.delivery.sinks")
print(json.dumps([list(bag.import_errors.values()), sorted(bag.dags), [name for name in heavy if name in sys.modules]]))
"""
GATES = """
routes: [{transports: ["webhook:team"]}]
transports: {webhook: {team: {url_secret: team_url}}}
rules:
  no-report: {condition: no_report, fail: 18000, tier: critical, owner: o, runbook: no-report, reason: because}
"""
TEST = """
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
run = DagBag(Path("dags")).dags["check_freshness"].test()
print({task.task_id: str(task.state) for task in run.get_task_instances()})
"""


@pytest.fixture(scope="module")
def dag(repository: Path) -> DAG:
    return DagBag(repository / "dags").dags["check_freshness"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.make(tmp_path / "project")
    shutil.copy(REPOSITORY / "dags" / "check_freshness.py", made.home / "dags")
    made.add_model("tiny")
    (made.home / "configs/gates.yaml").write_text(GATES)
    return made


def test_it_looks_more_often_than_the_canary_runs_and_then_delivers_whatever_it_found(dag: DAG) -> None:
    assert (dag.schedule, dag.max_active_runs, dag.catchup) == ("*/15 * * * *", 1, False)
    for after in ("deliver", "publish"):
        assert dag.task_dict[after].upstream_task_ids == {"look"}
        assert dag.task_dict[after].trigger_rule == "all_done"
    assert dag.task_dict["look"].upstream_task_ids == {"reap"}
    assert dag.task_dict["look"].trigger_rule == "all_done"
    assert dag.task_dict["retire"].upstream_task_ids == {"publish"}
    assert dag.task_dict["retire"].trigger_rule == "all_done"
    for task in dag.tasks:
        assert (task.retries, task.owner) == (2, "model-health")
        assert task.execution_timeout == timedelta(minutes=10)


def test_the_scheduler_can_store_it(dag: DAG) -> None:
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    assert sorted(stored.task_dict) == ["deliver", "look", "publish", "reap", "retire"]


def test_parsing_it_loads_nothing_heavy(project: Project) -> None:
    ended = project.python("-c", PARSE, str(project.home / "dags/check_freshness.py"))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == [[], ["check_freshness"], []]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_model_whose_reports_stopped_reaches_the_webhook_through_a_real_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from pathlib import Path; from model_health_airflow.local_home import prepare; prepare(Path.cwd())"
    project.python("-c", code).check_returncode()
    settings = load_settings({"MODEL_HEALTH_HOME": str(project.home)})
    with Index.open(settings.index_url) as index:
        measured(index, "r1", utc_now() - timedelta(hours=9), model="tiny", suite="smoke")
    with webhook_server() as webhook:
        monkeypatch.setenv("MODEL_HEALTH_SECRETS__TEAM_URL", webhook.url)
        ended = project.python("-c", TEST)
    assert "'look': 'failed'" in ended.stdout, ended.stdout + ended.stderr
    assert "'deliver': 'success'" in ended.stdout, ended.stdout + ended.stderr
    assert webhook.texts() == ["[FAIL] tiny / smoke: no-report raised"]
    assert "/services/" not in ended.stdout + ended.stderr
    with Index.open(settings.index_url) as index:
        assert [row["sent_to"] for row in history_rows(index)] == [["webhook:team"]]
