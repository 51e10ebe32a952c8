"""Pools, queues and workers agree: no more models at once than there are devices, and no task that nobody takes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

from model_health_airflow.local_home import GPU_POOL, airflow_variables

POOL_OF = {"default": "default_pool", "gpu": "gpu"}
LOADS_A_MODEL = {"InstrumentationOperator", "CreateBaselineOperator", "SelfTestOperator"}


@pytest.fixture(scope="module")
def tasks(repository: Path) -> dict[str, Any]:
    bag = DagBag(repository / "dags")
    assert bag.import_errors == {}
    return {f"{name}.{task.task_id}": task for name, dag in bag.dags.items() for task in dag.tasks}


def test_what_waits_on_a_queue_takes_a_slot_of_its_pool(tasks: dict[str, Any]) -> None:
    assert {name: (task.queue, task.pool) for name, task in tasks.items() if POOL_OF.get(task.queue) != task.pool} == {}


def test_whatever_loads_a_model_can_wait_for_a_device_and_nothing_else_takes_one(tasks: dict[str, Any]) -> None:
    loading = {name for name, task in tasks.items() if task.task_type in LOADS_A_MODEL}
    on_gpu = {name for name, task in tasks.items() if task.pool == "gpu"}
    assert on_gpu < loading
    # Each has its twin for models without CUDA.
    assert {name.replace("_gpu", "_default") for name in on_gpu} == loading - on_gpu
    assert all(task.pool_slots == 1 for task in tasks.values())


def test_a_task_that_loads_a_model_is_stopped_by_the_library_and_not_by_a_shorter_limit(tasks: dict[str, Any]) -> None:
    limits = {name: task.execution_timeout for name, task in tasks.items() if task.task_type in LOADS_A_MODEL}
    assert {name: limit for name, limit in limits.items() if limit is not None} == {}


def test_locally_one_model_at_a_time_has_the_device_and_workers_are_left_for_the_rest(tmp_path: Path) -> None:
    name, slots, _ = GPU_POOL
    assert (name, slots) == ("gpu", "1")
    assert int(airflow_variables(tmp_path)["AIRFLOW__CORE__PARALLELISM"]) > int(slots)


def test_a_deployment_has_as_many_slots_as_it_says_and_workers_for_all_of_them(repository: Path) -> None:
    services = yaml.safe_load((repository / "docker-compose.yaml").read_text())["services"]
    init = services["init"]
    assert 'airflow pools set gpu "$$GPU_SLOTS"' in init["command"][0]
    slots = init["environment"]["GPU_SLOTS"]
    assert slots == "${GPU_SLOTS:-1}"
    parallel = {
        name: int(service["environment"]["AIRFLOW__CORE__PARALLELISM"])
        for name, service in services.items()
        if "AIRFLOW__CORE__PARALLELISM" in (service.get("environment") or {})
    }
    assert parallel
    assert min(parallel.values()) > 1


def test_every_queue_of_a_deployment_has_a_worker_with_as_many_hands_as_its_pool_has_slots(repository: Path) -> None:
    services = yaml.safe_load((repository / "docker-compose.yaml").read_text())["services"]
    commands = [list(map(str, service.get("command") or ())) for service in services.values()]
    workers = [dict(itertools.pairwise(words)) for words in commands if words[:2] == ["celery", "worker"]]
    served = sorted(queue for worker in workers for queue in worker["--queues"].split(","))
    assert served in ([], sorted(POOL_OF))  # without workers of Celery, the scheduler's own processes take every queue
    gpu = [worker["--concurrency"] for worker in workers if worker["--queues"] == "gpu"]
    assert all(hands == services["init"]["environment"]["GPU_SLOTS"] for hands in gpu)
