"""What a person reads off the definition of `retention`."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization


@pytest.fixture(scope="module")
def dag(repository: Path) -> DAG:
    return DagBag(repository / "dags").dags["retention"]


def test_it_runs_once_a_day_and_the_scheduler_can_store_it(dag: DAG) -> None:
    assert (dag.schedule, dag.max_active_runs, dag.catchup) == ("45 3 * * *", 1, False)
    assert dag.params.dump() == {"days": None, "runs": None, "delete": True}
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    assert list(stored.task_dict) == ["prune"]
