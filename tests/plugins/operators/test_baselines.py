"""Making and promoting a baseline under Airflow: nothing counts unless somebody approved, and gave a reason."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from model_health.baseline.artefact import pack
from model_health.baseline.registry import current
from model_health.baseline.store import BaselineStore
from model_health_airflow.operators.baselines import CreateBaselineOperator, PromoteBaselineOperator
from support.replays import facts, made_up

TI = SimpleNamespace(dag_id="refresh_baseline", run_id="manual-1", task_id="promote", map_index=-1, try_number=1)
CONTEXT: Any = {"ti": TI}
APPROVED = {"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "ada"}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaselineStore:
    (tmp_path / "configs").mkdir()
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    monkeypatch.setenv("MODEL_HEALTH_STORE_URI", str(tmp_path / "store"))
    store = BaselineStore.open(tmp_path / "store")
    store.write("tiny", "smoke", pack(made_up(), facts()))
    return store


def promote(store: BaselineStore, approval: Any, reason: str = "new weights") -> Any:
    ((_, _, baseline_id),) = store.baselines()
    name = f"tiny/smoke/{baseline_id}"
    operator = PromoteBaselineOperator(task_id="promote", baseline=name, reason=reason, approval=approval)
    return operator.execute(CONTEXT)


def test_an_approved_baseline_counts_in_the_name_of_whoever_approved(store: BaselineStore) -> None:
    assert promote(store, APPROVED)["number"] == 1
    counts = current(store, "tiny", "smoke")
    assert counts is not None
    assert (counts.provenance.by, counts.provenance.reason) == ("ada", "new weights")
    assert counts.provenance.airflow is not None
    assert counts.provenance.airflow.run_id == "manual-1"


@pytest.mark.parametrize("approval", [None, "Approve", {}, {"chosen_options": ["Reject"]}, {"chosen_options": []}])
def test_without_an_approval_nothing_counts(store: BaselineStore, approval: Any) -> None:
    with pytest.raises(AirflowFailException, match="nobody approved"):
        promote(store, approval)
    assert current(store, "tiny", "smoke") is None


def test_without_a_reason_nothing_counts(store: BaselineStore) -> None:
    with pytest.raises(AirflowFailException, match="needs a reason"):
        promote(store, APPROVED, reason="  ")
    assert current(store, "tiny", "smoke") is None


def test_a_model_that_is_not_configured_is_not_retried(store: BaselineStore) -> None:
    operator = CreateBaselineOperator(task_id="create", model="nobody", reason="a test")
    with pytest.raises(AirflowFailException, match="nobody"):
        operator.execute(CONTEXT)
