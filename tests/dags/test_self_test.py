"""The Dag that watches the monitor: its definition, what parsing it loads, and what its operator makes of an end."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from model_health.errors import BadInput, ChildFailed
from model_health.selftest import child
from model_health.selftest.child import SelfTestOutcome
from model_health.selftest.request import SelfTestRequest
from model_health_airflow.notifiers.task_outcome import TaskOutcomeNotifier
from model_health_airflow.operators.self_test import SelfTestOperator
from support.airflow import REPOSITORY, Project

PARSE = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(Path(sys.argv[1]))
heavy = ("torch", "transformers", "scipy", "pandas", "model_health.selftest.child", "model_health.runner.supervise")
print(json.dumps([list(bag.import_errors.values()), sorted(bag.dags), [name for name in heavy if name in sys.modules]]))
"""
KEPT = SelfTestOutcome("tiny", "smoke", (), {"same": "57 of 57"})


class Instance:
    """Takes what an operator leaves for others."""

    def __init__(self) -> None:
        self.left: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.left[key] = value


@pytest.fixture(scope="module")
def dag(repository: Path) -> DAG:
    return DagBag(repository / "dags" / "self_test.py").dags["self_test"]


def ended(monkeypatch: pytest.MonkeyPatch, end: SelfTestOutcome | Exception) -> tuple[Any, Instance, SelfTestRequest]:
    """What the operator returns, leaves and asked for, where a self-test ends so."""
    asked: list[SelfTestRequest] = []

    def run(request: SelfTestRequest, **options: Any) -> SelfTestOutcome:
        asked.append(request)
        options["on_line"]("a line")
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(child, "self_test_in_child", run)
    instance = Instance()
    operator = SelfTestOperator(task_id="self_test", model="tiny", suite="smoke")
    try:
        returned: Any = operator.execute({"ti": instance})  # type: ignore[typeddict-item]
    except AirflowException as error:
        returned = error
    return returned, instance, asked[0]


def test_it_runs_weekly_one_at_a_time_and_its_outcome_reaches_a_person(dag: DAG) -> None:
    assert (dag.schedule, dag.max_active_runs, dag.catchup) == ("0 4 * * 0", 1, False)
    assert dag.params.dump() == {"model": None, "suite": None}
    for pool, queue in (("default_pool", "default"), ("gpu", "gpu")):
        task: Any = dag.task_dict[f"monitor_{queue}.self_test"]
        assert (task.pool, task.queue, task.retries) == (pool, queue, 1)
        assert task.retry_delay == timedelta(minutes=5)
        assert task.upstream_task_ids == {f"choose_{queue}"}
        assert f"choose_{queue}" in task.model
        for callbacks in (task.on_failure_callback, task.on_success_callback):
            assert any(isinstance(each, TaskOutcomeNotifier) for each in callbacks)


def test_the_scheduler_can_store_it(dag: DAG) -> None:
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    assert len(stored.task_dict) == 4


def test_parsing_it_loads_nothing_heavy(tmp_path: Path) -> None:
    project = Project.make(tmp_path / "project")
    shutil.copy(REPOSITORY / "dags" / "self_test.py", project.home / "dags")
    done = project.python("-c", PARSE, str(project.home / "dags/self_test.py"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], ["self_test"], []]


def test_promises_that_are_kept_are_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    returned, _, asked = ended(monkeypatch, KEPT)
    assert returned == {"model": "tiny", "suite": "smoke", "shortfalls": [], "same": "57 of 57"}
    assert (asked.model, asked.suite, asked.reduced) == ("tiny", "smoke", False)


def test_a_promise_that_is_not_kept_fails_for_good_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = SelfTestOutcome("tiny", "smoke", ("1 faults were given a wrong place",), {})
    returned, instance, _ = ended(monkeypatch, broken)
    assert isinstance(returned, AirflowFailException)
    assert "1 faults were given a wrong place" in str(returned)
    assert [left["shortfalls"] for left in instance.left.values()] == [["1 faults were given a wrong place"]]


def test_bad_input_is_not_retried_and_a_child_that_died_is(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, _, _ = ended(monkeypatch, BadInput("no such model"))
    died, _, _ = ended(monkeypatch, ChildFailed("the child ended with status 3"))
    assert isinstance(wrong, AirflowFailException)
    assert not isinstance(died, AirflowFailException)
