"""`model-health compare`: exit codes a release pipeline can gate on, a page for people, JSON for machines."""

from __future__ import annotations

import json

import pytest

from model_health.cli.main import main
from model_health.config.settings import Settings
from model_health.errors import ExitCode
from support.regressions import accepted_project, candidate_of, last_bit


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return accepted_project(tmp_path_factory.mktemp("accepted"))


@pytest.fixture(autouse=True)
def _home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(settings.home))


def test_the_accepted_model_passes_with_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--baseline", "tiny/smoke", "--use", "nightly"]) == ExitCode.HEALTHY
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "pass: tiny is identical"
    assert said[-1].endswith("comparison.json")


def test_a_changed_model_fails_as_json(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    folder = candidate_of(settings, "bit", last_bit("model.layers.1.mlp.up_proj.weight"))
    given = ["compare", "--baseline", "tiny/smoke", "--model", str(folder)]
    assert main([*given, "--use", "nightly", "--json"]) == ExitCode.UNHEALTHY
    found = json.loads(capsys.readouterr().out)
    assert (found["answer"], found["exit_code"], found["place"]["state"]) == ("changed", 1, "layer.1")
    assert main(given) == ExitCode.HEALTHY
    page = capsys.readouterr().out
    assert page.startswith("warn: ")
    assert "begins at layer.1, first at " in page
    assert "golden text: " in page


@pytest.mark.parametrize(
    "given", [["--baseline", "tiny/other"], ["--baseline", "tiny/smoke", "--model", "nowhere"]]
)  # fmt: skip
def test_what_is_not_there_is_bad_input(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *given]) == ExitCode.BAD_INPUT
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
