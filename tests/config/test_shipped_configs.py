"""The configuration that comes with the project: complete, valid, and what its documentation promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.config.flags import Flag
from model_health.config.load import load_project
from model_health.config.project import ProjectConfig
from model_health.config.sources import resolve_source
from model_health.config.thresholds import Thresholds
from support.configs import make_settings

GROUPS = {
    "facts", "arithmetic", "code", "translation", "long_context", "repetition_bait", "unicode_rtl", "empty_ish",
    "adversarial_formatting",
}  # fmt: skip
BAIT = "repetition_bait"


@pytest.fixture(scope="module")
def project(repository: Path) -> ProjectConfig:
    return load_project(make_settings(repository))


def test_nothing_that_ships_is_broken(project: ProjectConfig) -> None:
    assert project.problems == ()


def test_only_the_model_that_needs_no_download_is_enabled(project: ProjectConfig) -> None:
    assert [model.name for model in project.enabled_models] == ["smollm2-135m"]
    assert len(project.models) > 3


def test_the_enabled_model_s_weights_are_installed(project: ProjectConfig) -> None:
    source = resolve_source(project.get_model("smollm2-135m").source, project.settings.home)
    assert source.gguf_path is not None
    assert source.gguf_path.stat().st_size > 50_000_000


def test_what_ships_is_pinned_so_that_a_deployment_may_insist_on_it(repository: Path) -> None:
    settings = make_settings(repository).model_copy(update={"require_pinned_revision": True})
    assert load_project(settings).problems == ()


def test_the_core_suite_covers_its_groups_in_both_forms(project: ProjectConfig) -> None:
    core = project.get_suite("core")
    assert len(core.prompts) >= 32
    assert set(core.groups) == GROUPS
    forms = {"chat" if prompt.messages else "plain" for prompt in core.prompts}
    assert forms == {"chat", "plain"}
    assert sum(prompt.golden is not None for prompt in core.prompts) >= len(core.prompts) // 2
    assert len(core.golden_passages) >= 8
    assert all(not core.generation(prompt).sampling.do_sample for prompt in core.prompts)


def test_only_bait_tolerates_loops_and_all_of_it_does(project: ProjectConfig) -> None:
    core = project.get_suite("core")
    tolerant = {prompt.id for prompt in core.prompts if Flag.LOOP_DETECTED in prompt.tolerates}
    assert tolerant == {prompt.id for prompt in core.prompts if prompt.group == BAIT}
    assert len(tolerant) >= 3


def test_no_prompt_tolerates_a_broken_number(project: ProjectConfig) -> None:
    broken = {Flag.NAN_DETECTED, Flag.INF_DETECTED, Flag.MID_LAYER_ANOMALY_DETECTED, Flag.GARBLED_OUTPUT}
    for suite in project.suites.values():
        assert not [prompt.id for prompt in suite.prompts if broken & suite.tolerated(prompt)]


def test_the_awkward_characters_survive_the_file(project: ProjectConfig) -> None:
    core = project.get_suite("core")

    def said(prompt_id: str) -> str:
        return (core.prompt(prompt_id).messages or ())[-1].content

    assert core.prompt("empty-newline").text == "\n"
    assert said("empty-no-break-space") == "\u00a0"
    assert "e\u0301" in said("unicode-combining")
    assert "\U0001f469\u200d\U0001f680" in said("unicode-joined-emoji")
    assert said("format-escapes").startswith("\\n\\tWhat\\u0020is")
    assert 2500 < len(said("long-cat")) < 4500
    assert "\n\n" in said("long-cat")


def test_the_smoke_suite_is_small(project: ProjectConfig) -> None:
    smoke = project.get_suite("smoke")
    assert 4 <= len(smoke.prompts) <= 6
    assert all(smoke.generation(prompt).max_new_tokens <= 16 for prompt in smoke.prompts)


def test_the_thresholds_file_spells_out_every_key_and_the_code_s_own_defaults(project: ProjectConfig) -> None:
    from model_health.config.yaml_files import read_yaml

    data = read_yaml(project.settings.configs_dir / "thresholds.yaml").data
    assert set(data["default"]) == set(Thresholds.model_fields)
    assert set(data["default"]["loops"]) == set(type(Thresholds().loops).model_fields)
    assert project.thresholds_for("any") == Thresholds()


def test_suite_files_are_named_after_their_suites(project: ProjectConfig) -> None:
    folder = project.settings.configs_dir / "canaries"
    assert {path.stem for path in folder.glob("*.yaml")} == set(project.suites)
