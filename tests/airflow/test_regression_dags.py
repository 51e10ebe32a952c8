"""The Dags of baselines through `dag.test()`: a baseline that somebody approves, a night that passes, one that fails.

Nothing is fake but the person: `dag.test()` waits for ever for an answer, so it is given at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model_health.baseline.registry import current
from model_health.baseline.store import BaselineStore
from model_health.config.settings import Settings, load_settings
from model_health.runner.canary import run_canaries
from model_health.runner.request import RunRequest
from model_health.store.index.alerts import standing_states
from model_health.store.index.comparisons import comparison_history
from model_health.store.index.index import Index
from support.airflow import REPOSITORY, Project
from support.models import save_tiny_model
from support.projects import suite
from support.regressions import PROMPTS, change_weights, last_bit

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]

# Runs one Dag, with an answer for whoever is asked, and prints how each of its tasks ended and how large each XCom is.
RUN = """
import contextlib, json, sys
from pathlib import Path
from model_health_airflow.local_home import prepare
prepare(Path.cwd())
from datetime import UTC, datetime
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.hitl import ApprovalOperator
def answered(self, context):
    user = {"id": "7", "name": "ada"}
    event = {"chosen_options": [sys.argv[3]], "params_input": {}, "responded_at": datetime.now(UTC)}
    return self.execute_complete(context, {**event, "responded_by_user": user})
ApprovalOperator.execute = answered
with contextlib.redirect_stdout(sys.stderr):
    dag = DagBag(Path("dags")).dags[sys.argv[1]]
    for task in dag.tasks:
        task.retries = 0
        if hasattr(task, "partial_kwargs"):
            task.partial_kwargs["retries"] = 0
    run = dag.test(run_conf=json.loads(sys.argv[2]))
    ends = {}
    for one in run.get_task_instances():
        left = one.xcom_pull(task_ids=one.task_id, map_indexes=one.map_index) if one.state == "success" else None
        ends[one.task_id] = [str(one.state), len(json.dumps(left, default=str))]
print(json.dumps({"state": str(run.state), "tasks": ends}))
"""


def run_dag(project: Project, dag: str, answer: str = "Reject", **conf: str) -> tuple[str, dict[str, str]]:
    """How the Dag run and its tasks ended."""
    ended = project.python("-c", RUN, dag, json.dumps(conf), answer)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout.strip().splitlines()[-1])
    assert all(size <= 4096 for _, size in found["tasks"].values())
    return found["state"], {name: state for name, (state, _) in found["tasks"].items()}


@pytest.fixture
def accepted(make_project: Callable[..., Project]) -> tuple[Project, Settings]:
    project = make_project()
    for name in ("nightly_regression", "refresh_baseline"):
        shutil.copy(REPOSITORY / "dags" / f"{name}.py", project.home / "dags")
    save_tiny_model(project.home / "weights")
    project.add_model("tiny", source={"path": "weights"}, device="cpu", threads=1)
    (project.home / "configs/canaries/smoke.yaml").write_text(json.dumps(suite(prompts=PROMPTS)))
    settings = load_settings({"MODEL_HEALTH_HOME": str(project.home)})
    run_canaries(RunRequest(model="tiny", run_id="day-0"), settings)
    return project, settings


def test_a_baseline_counts_once_approved_and_the_night_is_held_against_it(accepted: tuple[Project, Settings]) -> None:
    project, settings = accepted
    state, tasks = run_dag(project, "refresh_baseline", "Approve", model="tiny", reason="the first one")
    ends = dict.fromkeys(("where", "create_default", "approve", "promote"), "success")
    assert (state, tasks) == ("success", {**ends, "create_gpu": "skipped"})
    promoted = current(BaselineStore.open(settings.store_uri), "tiny", "smoke")
    assert promoted is not None
    assert (promoted.provenance.by, promoted.provenance.reason) == ("ada", "the first one")
    assert promoted.provenance.airflow is not None

    change_weights(Path(project.home / "weights"), last_bit("model.layers.2.mlp.down_proj.weight"))
    state, tasks = run_dag(project, "nightly_regression")
    assert (state, tasks["healthy"]) == ("failed", "upstream_failed")
    assert tasks["verdict_default.evaluate_gates"] == "failed"
    assert tasks["compare_default.measure"] == tasks["settle"] == tasks["verdict_default.alert"] == "success"

    with Index.open(settings.index_url) as index, index.reading("look") as connection:
        nights = comparison_history(connection)
        standing = [(one.gate, one.told) for one in standing_states(connection)]
    assert [(one.answer, one.outcome, one.state, one.screened) for one in nights] == [
        ("changed", "fail", "layer.2", True)
    ]
    assert standing == [("changed-model", "fail")]
