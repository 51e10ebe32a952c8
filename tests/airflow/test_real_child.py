"""The whole way with nothing fake: the Dag, the operator, the real capture child, a tiny model, the reports."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from model_health.config.settings import load_settings
from model_health.report.load import load_report
from model_health.report.manifest import Manifest
from model_health.store.index.index import Index
from model_health.store.index.records import RunStatus
from model_health.store.reports import ReportStore
from support.airflow import Project
from support.models import save_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_a_dag_run_leaves_reports_a_manifest_and_index_rows(make_project: Callable[..., Project]) -> None:
    project = make_project()
    save_tiny_model(project.home / "models/tiny")
    # Random weights answer with noise; that the run is made and recorded is the point here.
    tolerated = ["high_entropy", "loop_detected", "mid_layer_anomaly_detected", "garbled_output", "empty_output"]
    prompts = [
        {"id": name, "group": "facts", "text": f"Hello {name}", "tolerates": tolerated} for name in ("one", "two")
    ]
    suite = {"name": "smoke", "version": "1.0.0", "defaults": {"max_new_tokens": 4}, "prompts": prompts}
    (project.home / "configs/canaries/smoke.yaml").write_text(json.dumps(suite))
    project.add_model("tiny", source={"path": "models/tiny"}, device="cpu", dtype="float32")
    project.add_model("damaged", source={"path": "models"}, device="cpu")

    ended = project.python("-m", "model_health_airflow.local_run")
    assert ended.returncode == 2, ended.stdout + ended.stderr  # the damaged model; the healthy one is not harmed
    assert "verdict: healthy" in ended.stdout

    settings = load_settings({"MODEL_HEALTH_HOME": str(project.home)})
    with Index.open(settings.index_url) as index:
        rows = {run.folder.model: run for run in index.runs()}
        samples = index.samples(rows["tiny"].run_key)
    assert rows["tiny"].status == RunStatus.MEASURED
    assert rows["tiny"].dag_id == "run_canaries"
    assert rows["damaged"].status == RunStatus.COULD_NOT_MEASURE
    assert {sample.prompt_id for sample in samples} == {"one", "two"}

    store = ReportStore.open(settings.store_uri)
    manifest = Manifest.model_validate_json(store.read_manifest(rows["tiny"].folder))
    assert (manifest.verdict, len(manifest.prompts)) == ("healthy", 2)
    assert manifest.airflow is not None
    assert (manifest.airflow.task_id, manifest.airflow.try_number) == ("canary_default.measure", 1)
    for entry in manifest.prompts:
        report = load_report(store.read_bytes(entry.report_uri, digest=entry.digest))
        assert report.summary.generated_tokens == 4
