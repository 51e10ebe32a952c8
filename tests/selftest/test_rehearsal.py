"""Candidates of a tiny model through the real comparison: each is judged as it should be, and the page says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

import pytest

from model_health.cli.main import main
from model_health.config.settings import Settings
from model_health.runner.canary import utc_now
from model_health.selftest.rehearsal import RehearsalRequest, rehearse
from model_health.selftest.rehearsed import Rehearsal, render
from support.projects import tiny_project
from support.regressions import PROMPTS, REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("rehearsal")
    settings = tiny_project(home, prompts=PROMPTS, batch_size=4)
    for name in ("gates.yaml", "sinks.yaml"):
        shutil.copy(REPOSITORY / "configs" / name, home / "configs")
    return settings


@pytest.fixture(scope="module")
def found(settings: Settings) -> Rehearsal:
    return rehearse(RehearsalRequest("tiny", few=3), settings, say=lambda line: None, clock=utc_now)


def test_the_same_weights_in_any_safe_format_are_identical_and_pass(found: Rehearsal) -> None:
    same = [one for one in found.rows if one.right[0] == "identical"]
    assert [(one.answer, one.verdict, one.exit_code) for one in same] == [("identical", "pass", 0)] * 3


def test_pickled_weights_are_refused(found: Rehearsal) -> None:
    [pickled] = [one for one in found.rows if "pickled" in one.candidate]
    assert (pickled.answer, pickled.exit_code) == ("broken", 1)
    assert "can run code when they are opened" in pickled.reason


def test_a_quantised_copy_is_changed_with_an_interval_and_a_training_step_too(found: Rehearsal) -> None:
    rows = {(one.candidate, one.suite): one for one in found.rows}
    eight, trained = rows["int8 round trip", "smoke"], rows["one fine-tuning step on unrelated text", "smoke"]
    assert (eight.answer, eight.state, eight.use) == ("changed", "layer.0", "quantization")
    assert eight.low is not None
    assert eight.high is not None
    assert eight.low < eight.high < 0.02
    assert (trained.answer, trained.state, trained.use) == ("changed", "embedding", "revision")


def test_too_few_prompts_are_inconclusive_and_say_how_many_would_decide(found: Rehearsal) -> None:
    [few] = [one for one in found.rows if one.suite == "smoke-few"]
    assert (few.answer, few.exit_code, few.prompts) == ("inconclusive", 4, 3)
    assert few.needed is not None
    assert few.needed > 3
    assert replace(few, needed=None).is_right is False


def test_noise_for_weights_holds_nothing_that_four_bits_could_harm_and_the_page_says_so(found: Rehearsal) -> None:
    assert found.shortfalls == ("int4 round trip on smoke: inconclusive, not changed or degraded",)
    page = render(found)
    assert "inconclusive (WRONG)" in page
    assert page.count("| int4 round trip |") == 2
    assert gettempdir() not in page


def test_the_command_writes_the_page_and_leaves_the_installation_alone(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(settings.home))
    before = sorted(path.relative_to(settings.home) for path in settings.home.rglob("*") if "cache" not in path.parts)
    page = tmp_path / "COMPARE.md"
    argv = ["rehearse", "--model", "tiny", "--candidate", "several", "--quick", "--json", "--markdown", str(page)]
    assert main(argv) == 0
    [row] = json.loads(capsys.readouterr().out)["rows"]
    assert row["answer"] == "identical"
    assert row["suite"] == "smoke-quick"
    assert "several safetensors files" in page.read_text()
    assert "quick: prompts of up to" in page.read_text()
    after = sorted(path.relative_to(settings.home) for path in settings.home.rglob("*") if "cache" not in path.parts)
    assert after == before


def test_a_suite_with_less_golden_text_than_too_few_is_bad_input(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(settings.home))
    capsys.readouterr()
    assert main(["rehearse", "--model", "tiny", "--few", "13"]) == 2
    assert "has golden text for 12 prompts, not 13" in capsys.readouterr().err
