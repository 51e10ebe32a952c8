"""The Dag under a real scheduler, on real (tiny) models: started by hand, triggered by REST, read from its reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from model_health.config.settings import load_settings
from model_health.report.load import load_manifest, load_report
from model_health.store.reports import ReportStore
from support.airflow import Project
from support.airflow_services import AirflowServices
from support.models import poison, save_tiny_model
from support.projects import suite

MEASURE = "canary_default.measure"
pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]


def test_a_scheduler_runs_the_dag_on_a_healthy_and_on_a_broken_model(make_project: Callable[..., Project]) -> None:
    project = make_project()
    (project.home / "configs/canaries/smoke.yaml").write_text(json.dumps(suite()))
    for name in ("healthy", "sick"):
        save_tiny_model(project.home / name)
        project.add_model(name, source={"path": name}, device="cpu", dtype="float32", threads=1)
    poison(project.home / "sick", "model.layers.2.mlp.down_proj.weight")
    with AirflowServices(project) as airflow:
        run = airflow.run_dag("run_canaries", {})
        measured = {task["rendered_map_index"]: task for task in run["tasks"] if task["task_id"] == MEASURE}
        logs = airflow.logs()
        assert run["state"] == "failed", logs
        states = {
            name: {task["task_id"].rpartition(".")[2]: task["state"] for task in run["tasks"]
                   if task["map_index"] == one["map_index"] and task["task_id"].startswith("canary_default.")}
            for name, one in measured.items()
        }  # fmt: skip
        steps = ("measure", "validate", "publish", "evaluate_gates", "alert", "publish_verdicts", "healthy")
        passed = dict.fromkeys(steps, "success")
        assert states["healthy (smoke)"] == passed, logs
        # Found by its gate, after everything else was done; the last task makes the Dag run red.
        sick = passed | {"evaluate_gates": "failed", "healthy": "upstream_failed"}
        assert states["sick (smoke)"] == sick, logs
        left = {name: xcom(airflow, run, task) for name, task in measured.items()}
        events = airflow.call("GET", "/assets/events")["asset_events"]
        ours = [event for event in events if event["source_run_id"] == run["dag_run_id"]]
        assert {event["extra"]["model"]: event["extra"]["verdict"] for event in ours} == {
            "healthy": "healthy",
            "sick": "unhealthy",
        }
    assert "2 of 2 prompts" in logs

    assert left["healthy (smoke)"]["verdict"] == "healthy"
    assert left["sick (smoke)"]["unhealthy_flags"]["nan_detected"] == 2
    store = ReportStore.open(load_settings({"MODEL_HEALTH_HOME": str(project.home)}).store_uri)
    for summary in left.values():
        manifest = load_manifest(store.read_bytes(summary["manifest_uri"], digest=summary["manifest_digest"]))
        assert manifest.airflow is not None
        assert manifest.airflow.run_id == run["dag_run_id"]
        for entry in manifest.prompts:
            report = load_report(store.read_bytes(entry.report_uri, digest=entry.digest))
            assert report.summary.generated_tokens == 4
            sick = manifest.model_name == "sick"
            assert report.health_flags is not None
            assert report.health_flags.nan_detected is sick
            assert (report.timeline[0].logits_summary.entropy is None) is sick


def xcom(airflow: AirflowServices, run: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """What a mapped task left, which is small."""
    path = f"/dags/run_canaries/dagRuns/{run['dag_run_id']}/taskInstances/{MEASURE}/xcomEntries/return_value"
    value = airflow.call("GET", f"{path}?map_index={task['map_index']}&deserialize=true")["value"]
    text = value if isinstance(value, str) else json.dumps(value)
    assert len(text) <= 4096
    content: dict[str, Any] = json.loads(text)
    return content
