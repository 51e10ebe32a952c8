"""The Dag's promises that a person reads off its definition."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from model_health_airflow.assets import CANARY_RUN
from model_health_airflow.notifiers.task_outcome import TaskOutcomeNotifier

MAX_LINES = 60


@pytest.fixture(scope="module")
def dag(repository: Path) -> DAG:
    return DagBag(repository / "dags").dags["run_canaries"]


def test_every_dag_file_is_small_named_after_its_dag_and_explains_itself(repository: Path) -> None:
    for path in (repository / "dags").glob("*.py"):
        bag = DagBag(path)
        assert list(bag.dags) == [path.stem]
        assert len(path.read_text().splitlines()) <= MAX_LINES
        assert (bag.dags[path.stem].doc_md or "").strip()


def test_it_runs_hourly_one_at_a_time_and_never_catches_up(dag: DAG) -> None:
    assert (dag.schedule, dag.max_active_runs, dag.catchup) == ("@hourly", 1, False)


def test_model_and_suite_may_be_chosen_and_default_to_all(dag: DAG) -> None:
    assert dag.params.dump() == {"model": None, "suite": None}


def test_what_could_not_be_measured_is_tried_again(dag: DAG) -> None:
    for task in dag.tasks:
        assert task.retries == 2
        assert task.retry_delay == timedelta(minutes=1)
        assert task.owner == "model-health"


@pytest.mark.parametrize(
    ("name", "pool", "queue"),
    [("canary_default.measure", "default_pool", "default"), ("canary_gpu.measure", "gpu", "gpu")],
)
def test_models_wait_for_the_resource_that_they_ask_for(dag: DAG, name: str, pool: str, queue: str) -> None:
    task: Any = dag.task_dict[name]
    assert (task.pool, task.queue) == (pool, queue)
    assert task.outlets == [CANARY_RUN]
    assert "task.model" in task.map_index_template


@pytest.mark.parametrize("group", ["canary_default", "canary_gpu"])
def test_whatever_happens_a_run_is_published_judged_and_told(dag: DAG, group: str) -> None:
    def rule(step: str) -> str:
        return str(dag.task_dict[f"{group}.{step}"].trigger_rule.value)

    for step in ("validate", "publish", "evaluate_gates", "alert", "publish_verdicts"):
        assert rule(step) == "all_done"
    order = {"publish": "validate", "evaluate_gates": "validate", "alert": "evaluate_gates"}
    for step, before in {**order, "publish_verdicts": "evaluate_gates"}.items():
        within = {name for name in dag.task_dict[f"{group}.{step}"].upstream_task_ids if name.startswith(group)}
        assert within == {f"{group}.{before}"}


@pytest.mark.parametrize("task", ["choose_default", "choose_gpu", "canary_default.measure", "canary_gpu.measure"])
def test_a_task_without_a_record_to_judge_speaks_for_itself(dag: DAG, task: str) -> None:
    for callbacks in (dag.task_dict[task].on_failure_callback, dag.task_dict[task].on_success_callback):
        (notifier,) = callbacks
        assert isinstance(notifier, TaskOutcomeNotifier)
        assert (notifier.model, notifier.suite) == (("all", task) if task.startswith("choose") else (None, None))


@pytest.mark.parametrize("group", ["canary_default", "canary_gpu"])
def test_the_dag_run_is_red_if_any_step_is(dag: DAG, group: str) -> None:
    last = dag.task_dict[f"{group}.healthy"]
    assert last.trigger_rule.value == "none_failed"
    steps = ("measure", "validate", "publish", "evaluate_gates", "alert", "publish_verdicts")
    assert last.upstream_task_ids >= {f"{group}.{step}" for step in steps}
    assert {task.task_id for task in dag.leaves} == {"canary_default.healthy", "canary_gpu.healthy"}


def test_the_scheduler_can_store_it(dag: DAG) -> None:
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    assert sorted(stored.task_dict) == sorted(dag.task_dict)
