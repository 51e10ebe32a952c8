"""How forgetting old runs becomes the state of a task: params reach the library, and without a limit it is skipped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from model_health.baseline import prune as library
from model_health.baseline.prune import Pruned
from model_health.errors import BadInput, StoreError
from model_health_airflow.operators.prune import PruneOperator


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: Any = None, **params: Any) -> tuple[Any, dict[str, Any]]:
    asked: dict[str, Any] = {}

    def prune(**given: Any) -> Pruned:
        asked.update(given)
        if isinstance(ends, Exception):
            raise ends
        return Pruned(given["delete"], ("m/s/1",), {"not delivered yet": 2})

    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    monkeypatch.setattr(library, "prune", prune)
    context: Any = {"params": {"days": None, "runs": None, "delete": True, **params}, "ti": SimpleNamespace()}
    return PruneOperator(task_id="prune").execute(context), asked


def test_the_params_reach_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    summed, asked = run(monkeypatch, tmp_path, days=30, delete=False)
    assert summed == {"done": False, "runs": 1, "kept": {"not delivered yet": 2}}
    assert (asked["days"], asked["runs"], asked["delete"]) == (30, None, False)


def test_a_setting_is_enough_and_without_any_it_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AirflowSkipException, match="nothing says what is old"):
        run(monkeypatch, tmp_path)
    monkeypatch.setenv("MODEL_HEALTH_RETENTION_RUNS", "500")
    assert run(monkeypatch, tmp_path)[1]["settings"].retention_runs == 500


@pytest.mark.parametrize(
    ("ends", "raised"), [(StoreError("no answer"), AirflowException), (BadInput("wrong"), AirflowFailException)]
)
def test_an_error_of_the_library_makes_it_red(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: Exception, raised: type[Exception]
) -> None:
    with pytest.raises(raised, match=str(ends)):
        run(monkeypatch, tmp_path, ends, runs=5)
