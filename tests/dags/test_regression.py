"""What a person reads off the definitions of `nightly_regression` and `refresh_baseline`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from model_health_airflow.operators.baselines import PromoteBaselineOperator


@pytest.fixture(scope="module")
def dags(repository: Path) -> dict[str, DAG]:
    return DagBag(repository / "dags").dags


@pytest.mark.parametrize("name", ["nightly_regression", "refresh_baseline"])
def test_the_scheduler_can_store_it(dags: dict[str, DAG], name: str) -> None:
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dags[name]))
    assert sorted(stored.task_dict) == sorted(dags[name].task_dict)


def test_a_night_runs_once_a_day_and_never_catches_up(dags: dict[str, DAG]) -> None:
    dag = dags["nightly_regression"]
    assert (dag.schedule, dag.max_active_runs, dag.catchup) == ("30 2 * * *", 1, False)
    assert dag.params.dump() == {"model": None, "suite": None}


@pytest.mark.parametrize(("queue", "pool"), [("default", "default_pool"), ("gpu", "gpu")])
def test_models_are_compared_where_their_resource_is(dags: dict[str, DAG], queue: str, pool: str) -> None:
    task: Any = dags["nightly_regression"].task_dict[f"compare_{queue}.measure"]
    assert (task.pool, task.queue, task.compare) == (pool, queue, True)


def test_verdicts_wait_for_the_whole_night_whatever_became_of_it(dags: dict[str, DAG]) -> None:
    tasks = dags["nightly_regression"].task_dict
    assert tasks["settle"].upstream_task_ids == {"compare_default.publish", "compare_gpu.publish"}
    assert tasks["settle"].trigger_rule.value == "all_done"
    for queue in ("default", "gpu"):
        judged = tasks[f"verdict_{queue}.evaluate_gates"]
        assert "settle" in judged.upstream_task_ids
        assert judged.trigger_rule.value == "all_done"


def test_the_night_is_red_if_any_step_is(dags: dict[str, DAG]) -> None:
    dag = dags["nightly_regression"]
    last = dag.task_dict["healthy"]
    others = set(dag.task_dict) - {"healthy", "choose_default", "choose_gpu"}
    assert last.upstream_task_ids == others
    assert last.trigger_rule.value == "none_failed"


def test_a_baseline_is_made_by_hand_needs_a_reason_and_a_person_before_it_counts(dags: dict[str, DAG]) -> None:
    dag = dags["refresh_baseline"]
    assert dag.schedule is None
    for name in ("model", "reason"):
        assert dag.params.get_param(name).schema["minLength"] >= 1
        assert not dag.params.get_param(name).has_value
    assert isinstance(dag.task_dict["approve"], ApprovalOperator)
    assert dag.task_dict["approve"].upstream_task_ids == {"create_default", "create_gpu"}
    assert dag.task_dict["approve"].trigger_rule.value == "none_failed_min_one_success"
    promote = dag.task_dict["promote"]
    assert isinstance(promote, PromoteBaselineOperator)
    assert "approve" in promote.upstream_task_ids
    assert promote.trigger_rule.value == "all_success"


@pytest.mark.parametrize(("queue", "pool"), [("default", "default_pool"), ("gpu", "gpu")])
def test_a_baseline_is_made_where_the_model_s_resource_is(dags: dict[str, DAG], queue: str, pool: str) -> None:
    task: Any = dags["refresh_baseline"].task_dict[f"create_{queue}"]
    assert (task.pool, task.queue, task.upstream_task_ids) == (pool, queue, {"where"})
