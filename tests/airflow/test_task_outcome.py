"""A task that fails without anything that a gate could judge raises an alert of its own, in a real Dag run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model_health.alerting.status import history_rows
from model_health.config.settings import load_settings
from model_health.store.index.index import Index
from support.airflow import Project

RUN = ("-m", "model_health_airflow.local_run")


@pytest.mark.slow
def test_a_dag_run_that_could_not_choose_its_models_raises_an_alert(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project("one", "other")
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "1")
    ended = project.python(*RUN, fake_child={})
    assert ended.returncode == 3
    assert "choose_default: failed" in ended.stderr
    with Index.open(load_settings({"MODEL_HEALTH_HOME": str(project.home)}).index_url) as index:
        told = [(row["suite"], row["gate"], row["kind"]) for row in history_rows(index, model="all")]
    assert told == [("choose_default", "task-failed", "raised")]
