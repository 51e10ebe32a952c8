"""The commands about outbox, gates, alerts and monitors, on a project with one tiny run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from model_health.cli.main import main
from model_health.config.settings import Settings
from support.models import poison
from support.projects import tiny_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Settings:
    settings = tiny_project(tmp_path)
    for name in ("gates.yaml", "sinks.yaml", "monitors.yaml"):
        shutil.copy(repository / "configs" / name, tmp_path / "configs")
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    return settings


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_outbox_without_a_run_is_empty(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "outbox", "list")[:2] == (0, "nothing\n")
    assert call(capsys, "outbox", "ledger", "--json")[:2] == (0, "[]\n")
    assert call(capsys, "outbox", "deliver")[0] == 0


def test_what_a_run_published_is_in_the_ledger(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "run", "--model", "tiny", "--sink", "local")[0] == 0
    code, out, _ = call(capsys, "outbox", "ledger", "--json")
    assert code == 0
    assert {entry["target"] for entry in json.loads(out)} == {"local"}
    assert "local" in call(capsys, "outbox", "list")[1]
    assert call(capsys, "outbox", "list", "--state", "delivered")[0] == 0


def test_an_unknown_state_is_refused(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "outbox", "list", "--state", "asleep")
    assert code == 2
    assert "asleep" in err


def test_gates_judge_without_writing(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "run", "--model", "tiny")
    code, out, err = call(capsys, "gates", "--json")
    verdicts = {row["gate"]: row["verdict"] for row in json.loads(out)}
    assert verdicts
    assert "fail" not in verdicts.values()
    assert code in (0, 4)
    assert "tiny on smoke" in err
    assert call(capsys, "alerts", "list")[:2] == (0, "nothing\n")


def test_a_broken_model_fails_its_gate(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    poison(project.home / "weights/tiny", "model.layers.2.mlp.down_proj.weight")
    assert call(capsys, "run", "--model", "tiny")[0] == 1
    code, out, _ = call(capsys, "gates", "--model", "tiny", "--json")
    assert code == 1
    failing = [row for row in json.loads(out) if row["verdict"] == "fail"]
    assert any("2" in str(row["first"]) for row in failing), failing


def test_a_run_is_validated_whole(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "run", "--model", "tiny")
    [manifest] = Path(project.store_uri).rglob("manifest.json")
    assert call(capsys, "validate", str(manifest))[0] == 0
    report = next(manifest.parent.glob("*.json.gz"))
    report.write_bytes(report.read_bytes()[:-20])
    code, _, err = call(capsys, "validate", str(manifest))
    assert code == 2
    assert report.name.split(".")[0] in err


def test_numbers_that_nobody_validated_are_let_go_by_validating_them_by_hand(
    project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ("--airflow-dag-id", "d", "--airflow-run-id", "r")  # as under a scheduler, whose next task never came
    assert call(capsys, "run", "--model", "tiny", "--sink", "local", *ids)[0] == 0
    [manifest] = Path(project.store_uri).rglob("manifest.json")
    assert call(capsys, "validate", str(manifest))[0] == 0
    assert json.loads(call(capsys, "outbox", "list", "--json")[1])[0]["held"] == 1
    assert call(capsys, "validate", str(manifest), "--record")[0] == 0
    [row] = json.loads(call(capsys, "outbox", "list", "--json")[1])
    assert (row["held"], row["pending"]) == (0, 2)  # its numbers, and that they are valid


@pytest.mark.parametrize("target", ["prometheus", "datadog"])
def test_monitors_are_rendered_from_the_gates(
    target: str, project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capsys, "monitors", "render", "--target", target, "--out", str(tmp_path / "out"))
    assert code == 0
    files = [Path(line) for line in out.splitlines()]
    assert files
    assert all(file.stat().st_size > 0 for file in files)


def test_a_target_s_name_reaches_no_terminal_as_control_codes(
    project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["alerts", "test", "--target", "\x1b[31m\x07"]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("model-health: target '\\x1b[31m\\x07': unknown target")
