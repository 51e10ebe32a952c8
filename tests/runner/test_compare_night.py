"""A canary run that is held against the promoted baseline while its model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import url2pathname

import pytest

from model_health.alerting.watch import judge_runs
from model_health.config.settings import Settings
from model_health.errors import BadInput
from model_health.gates.night import settle_night
from model_health.gates.result import GateResult, GateVerdict
from model_health.report.manifest import AirflowIds
from model_health.runner import canary
from model_health.runner.canary import run_canaries
from model_health.runner.compare import BROKEN_FLAGS
from model_health.runner.request import RunOutcome, RunRequest
from model_health.store.index.comparisons import comparison_history, comparisons_of_night
from model_health.store.index.index import Index
from support.projects import tiny_project
from support.regressions import accepted_project, change_weights, last_bit

LAYER = "model.layers.2.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return accepted_project(tmp_path_factory.mktemp("accepted"))


def night(settings: Settings, run_id: str, *, scheduled: bool = False) -> RunOutcome:
    ids = AirflowIds(dag_id="nightly_regression", run_id=run_id) if scheduled else None
    return run_canaries(RunRequest(model="tiny", run_id=run_id, compare=True, airflow=ids), settings)


def gate(settings: Settings) -> list[GateResult]:
    return [one for one in judge_runs("tiny", "smoke", settings=settings).results if one.gate == "changed-model"]


def test_one_load_generates_and_replays(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    load_model = canary.load_model

    def counted(*args: object, **options: object) -> object:
        loads.append("once")
        return load_model(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(canary, "load_model", counted)
    outcome = night(settings, "night-1")
    assert loads == ["once"]
    assert outcome.comparison is not None
    assert (outcome.comparison["answer"], outcome.comparison["verdict"]) == ("identical", "pass")
    assert outcome.summary()["comparison"] == outcome.comparison
    operations = [operation.name for operation in outcome.manifest.performance.operations]  # type: ignore[union-attr]
    assert "compare" in operations
    file = Path(url2pathname(outcome.comparison["result_uri"].removeprefix("file://")))
    assert file.name == "comparison.json"
    assert (file.parent / "manifest.json").is_file()
    flags = json.loads(file.read_text())["flags"]
    assert [change["flag"] for change in flags] == [str(flag) for flag in BROKEN_FLAGS]


def test_without_a_promoted_baseline_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny_project(tmp_path)
    monkeypatch.setattr(canary, "load_model", lambda *args, **options: pytest.fail("was loaded"))
    with pytest.raises(BadInput, match="no promoted baseline"):
        night(settings, "night-1")
    with Index.open(settings.index_url) as index:
        (run,) = index.runs()
    assert run.reason is not None
    assert "no promoted baseline" in run.reason


def test_the_gate_says_what_the_policy_said_and_recovers(tmp_path: Path) -> None:
    settings = accepted_project(tmp_path)
    assert gate(settings) == []
    weights = tmp_path / "weights/tiny"
    change_weights(weights, last_bit(LAYER))
    changed = night(settings, "night-1")
    assert changed.comparison is not None
    assert (changed.comparison["answer"], changed.comparison["verdict"]) == ("changed", "fail")
    (failed,) = gate(settings)
    assert (failed.verdict, failed.value, failed.run_key) == (GateVerdict.FAIL, 2.0, changed.run_key)
    assert "not those that were accepted" in failed.reason
    first = judge_runs("tiny", "smoke", settings=settings)
    assert first.said == ()  # the same night again: nobody is told twice
    change_weights(weights, last_bit(LAYER))
    said = []
    for number in (2, 3):
        night(settings, f"night-{number}")
        said += judge_runs("tiny", "smoke", settings=settings).said
    assert [str(gate(settings)[0].verdict), *(one.alert.kind for one in said if one.alert.gate == "changed-model")] == [
        "pass",
        "recovered",
    ]


def test_a_scheduled_night_waits_for_its_screening(settings: Settings) -> None:
    (before,) = gate(settings)
    outcome = night(settings, "scheduled-1", scheduled=True)
    assert [one.run_key for one in gate(settings)] == [before.run_key]
    with Index.open(settings.index_url) as index, index.reading("look") as connection:
        (row,) = comparisons_of_night(connection, "nightly_regression/scheduled-1")
        newest = comparison_history(connection)[0]
    assert row == newest
    assert (row.key, row.of_run, row.screened) == (outcome.run_key, True, False)
    settled = settle_night("nightly_regression", "scheduled-1", settings=settings)
    assert settled.summary() == {"night": "nightly_regression/scheduled-1", "compared": 1, "counts": {"pass": 1}}
    assert [one.run_key for one in gate(settings)] == [outcome.run_key]
