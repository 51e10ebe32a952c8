"""The reduced catalogue on a tiny model: everything that changes a number is caught, and a layer's fault names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_health.cli.main import main
from model_health.config.settings import load_settings
from model_health.runner.canary import utc_now
from model_health.selftest.figures import figures
from model_health.selftest.request import SelfTestRequest
from model_health.selftest.result import SelfTest, Trial
from model_health.selftest.run import self_test
from model_health.store.index.index import Index
from model_health.store.index.self_tests import latest_self_test
from support.self_tests import self_test_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def test(tmp_path_factory: pytest.TempPathFactory) -> SelfTest:
    settings = self_test_project(tmp_path_factory.mktemp("self-test"))
    request = SelfTestRequest("tiny", items=8, healthy=8, reduced=True)
    return self_test(request, settings, say=lambda line: None, clock=utc_now)


def under(test: SelfTest, configuration: str) -> list[Trial]:
    return [one for one in test.trials if one.applicable and one.configuration == configuration]


def test_under_the_same_configuration_every_fault_is_caught_down_to_one_last_bit(test: SelfTest) -> None:
    same = under(test, "same")
    assert len(same) > 35
    assert [one.fault for one in same if not one.detected] == []
    assert {one.delay_nights for one in same} == {1}
    assert any(one.fault.startswith("last mantissa bit of one weight") for one in same)


def test_under_the_same_configuration_a_fault_of_one_layer_names_it_every_time(test: SelfTest) -> None:
    single = [one for one in under(test, "same") if one.single_layer]
    assert len(single) > 22
    assert [(one.fault, one.attributed) for one in single if one.attributed != one.place] == []


def test_under_another_configuration_every_loud_fault_is_caught_and_no_place_is_wrong(test: SelfTest) -> None:
    other = under(test, "other")
    assert [one.fault for one in other if not (one.detected or one.excused or one.subtle)] == []
    assert [one.fault for one in other if one.placement == "wrong"] == []
    assert [one.fault for one in other if one.placement == "unnamed" and not one.one_token] == []


def test_the_last_bit_of_a_weight_hides_in_rounding_under_another_configuration_and_the_reason_is_given(
    test: SelfTest,
) -> None:
    hidden = [one for one in under(test, "other") if one.fault.startswith("last mantissa")]
    assert {one.detected for one in hidden} == {False}
    assert all("not distinguishable from harmless variation" in str(one.missed) for one in hidden)


def test_what_is_mathematically_no_change_is_excused_and_said_to_be(test: SelfTest) -> None:
    excused = {one.fault: str(one.missed) for one in test.trials if one.excused}
    assert set(excused) == {"positions off by one, all"}
    assert "knows differences" in excused["positions off by one, all"]


def test_another_tokenizer_or_template_is_not_comparable_and_says_how_many_prompts_it_changes(test: SelfTest) -> None:
    text = {one.fault: one for one in test.trials if one.kind == "tokens"}
    assert {one.answer for one in text.values()} == {"not_comparable"}
    assert "1 of 5 prompts" in text["wrong chat template"].reason


@pytest.mark.parametrize("period", [1, 2, 8, 30])
def test_a_forced_loop_is_flagged_with_its_period_after_as_many_nights_as_the_gate_waits(
    period: int, test: SelfTest
) -> None:
    [found] = [one for one in under(test, "generation") if one.fault == f"loop of period {period} forced"]
    assert (found.detected, found.delay_nights) == (True, 2)
    assert f"loops of period {period} found on" in found.reason


def test_no_harmless_change_is_an_alarm_and_the_same_weights_in_another_format_are_identical(test: SelfTest) -> None:
    tried = [one for one in (*test.harmless, *test.healthy) if one.applicable]
    assert len(tried) == len(test.harmless) + 8
    assert [(one.change, one.reason) for one in tried if one.false_alarm] == []
    answers = {one.change: one.answer for one in tried}
    assert answers["weights saved again in another file format"] == "identical"
    assert answers["once more, same configuration"] == "identical"
    assert answers["bfloat16 instead of float32"] == "equivalent"
    assert len({one.change.partition(": ")[2] for one in test.healthy}) > 4


def test_the_model_is_what_it_was_and_every_promise_is_kept(test: SelfTest) -> None:
    assert test.restored
    assert figures(test).shortfalls == ()


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_what_a_model_cannot_have_is_said_and_the_rest_is_still_caught(family: str, tmp_path: Path) -> None:
    settings = self_test_project(tmp_path, family)
    wanted = ("rotary", "position", "NaN", "head", "temperature", "mask", "tokens", "period 2")
    request = SelfTestRequest("tiny", items=6, healthy=2, reduced=True, faults=wanted)
    found = self_test(request, settings, say=lambda line: None, clock=utc_now)
    refused = {one.fault: one.reason for one in found.trials if not one.applicable}
    assert refused["rotary base times 10"] == "it has no rotary embedding"
    assert ("positions off by one, all" in refused) == (family == "t5")
    counted = figures(found)
    assert counted.same.hits == counted.same.of >= 5
    assert counted.loud.hits == counted.loud.of >= 4
    assert (counted.wrong, counted.false_alarms.hits) == (0, 0)


def test_a_self_test_in_bfloat16_learns_its_own_floor(tmp_path: Path) -> None:
    settings = self_test_project(tmp_path)
    wanted = ("sign bit of one weight", "scaled")
    request = SelfTestRequest("tiny", items=6, healthy=4, reduced=True, dtype="bfloat16", faults=wanted)
    found = self_test(request, settings, say=lambda line: None, clock=utc_now)
    assert found.dtype == "bfloat16"
    assert found.floors["logprob"] > 1e-3
    assert figures(found).false_alarms.hits == 0
    assert figures(found).same.hits == figures(found).same.of > 4


def test_the_command_prints_json_writes_a_page_and_leaves_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    self_test_project(tmp_path)
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    page = tmp_path / "SELF_TEST.md"
    argv = ["self-test", "--model", "tiny", "--reduced", "--healthy", "2", "--items", "5", "--fault", "head"]
    earlier = tmp_path / "earlier.json"
    assert main([*argv, "--dtype", "bfloat16:items=3:healthy=0", "--no-record", "--result-file", str(earlier)]) == 0
    capsys.readouterr()
    assert main([*argv, "--json", "--markdown", str(page), "--include", str(earlier)]) == 0
    [content] = json.loads(capsys.readouterr().out)
    assert [line for line in page.read_text().splitlines() if line.startswith("## ")] == [
        "## tiny, bfloat16, suite smoke 1.0.0",
        "## tiny, float32, suite smoke 1.0.0",
    ]
    assert content["figures"]["same"]["hits"] == content["figures"]["same"]["of"] > 0
    assert "one head zeroed" in page.read_text()
    with Index.open(load_settings().index_url) as index, index.reading("read") as connection:
        record = latest_self_test(connection, "tiny", "smoke")
    assert record is not None
    assert record.passed
    assert [one.role for one in record.trials].count("healthy") == 2
    assert {one.name for one in record.trials if one.role == "fault"} == {one["fault"] for one in content["trials"]}


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("--model", "nobody"), "nobody"),
        (("--model", "tiny", "--suite", "nothing"), "nothing"),
        (("--model", "tiny", "--items", "0"), "--items must be at least 1"),
        (("--model", "tiny", "--healthy", "-1"), "--healthy must be at least 0"),
        (("--model", "tiny", "--markdown", "nowhere/at/all.md"), "--markdown nowhere/at/all.md: is no place"),
        (("--model", "tiny", "--include", "nowhere.json"), "--include nowhere.json: cannot be read"),
        (("--model", "tiny", "--include", "configs/gates.yaml"), "is no result of a self-test"),
        (("--model", "tiny", "--dtype", "int8"), "--dtype int8: is none of"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    argv: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    self_test_project(tmp_path)
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["self-test", *argv]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
