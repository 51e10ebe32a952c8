"""Canary suites that somebody wrote: they mean the same each time they are read, or are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.config.load import load_project
from model_health.config.settings import load_settings
from model_health.config.suites import CanarySuite
from model_health.config.yaml_files import parse_yaml
from support.fuzzing import Guard, attempt, fuzz, one_line
from support.mutations import ByteEdit, Edits, byte_edits, changed, damaged, edits, to_text
from support.yaml_mutations import with_yaml, yaml_edits

ENTRY = "YAML suites"
SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "canaries" / "smoke.yaml"
TEXT = SHIPPED.read_text(encoding="utf-8")
EVERYTHING = """\
name: everything
version: 1.2.3
description: every key there is
defaults: {max_new_tokens: 8, sampling: {do_sample: true, temperature: 0.7, top_k: 5, top_p: 0.9, seed: 1}}
allow_exact_repeats: false
prompts:
  - {id: plain, group: facts, text: "The sun is", max_new_tokens: 4, stop: ["."], tolerates: [loop_detected]}
  - {id: chat, group: chat, system: Be brief., messages: [{role: user, content: Hello}], golden: Hi., notes: why}
  - id: long
    group: text
    text: |
      Two lines,
      and an accent: é
    decoder: "Start"
golden_passages: [{id: passage, text: "Everyday text."}]
"""
TEXTS = (TEXT, EVERYTHING)
texts = st.sampled_from(TEXTS)


@pytest.fixture
def home(scratch: Path) -> Path:
    """A project with one suite and no models."""
    home = scratch / "own" / "home"
    (home / "configs" / "canaries").mkdir(parents=True)
    return home


def read(home: Path, data: bytes) -> tuple[CanarySuite, ...]:
    """The suites of a project whose only one has this text; the first problem is raised."""
    (home / "configs" / "canaries" / "suite.yaml").write_bytes(data)
    project = load_project(load_settings({"MODEL_HEALTH_HOME": str(home)}))
    for problem in project.problems:
        one_line(str(problem.error))
        raise problem.error
    for suite in project.suites.values():
        assert suite.digest() == CanarySuite.model_validate(suite.model_dump(exclude_unset=True)).digest()
        for prompt in suite.prompts:
            suite.generation(prompt)
            suite.tolerated(prompt)
            assert suite.prompt(prompt.id) is prompt
    return tuple(project.suites.values())


@fuzz(full=1000, short=30)
@given(text=texts, changes=st.lists(edits, min_size=1, max_size=3))
def test_a_suite_with_other_values_is_read_or_refused(home: Path, text: str, changes: Edits, guard: Guard) -> None:
    content = changed(parse_yaml(text, name="suite").data, changes)
    attempt(ENTRY, lambda: read(home, to_text(content).encode("utf-8", "surrogatepass")), guard)


@fuzz(full=1000, short=30)
@given(text=texts, lines=yaml_edits, before=byte_edits)
def test_a_suite_with_other_text_is_read_or_refused(
    home: Path, text: str, lines: Any, before: list[ByteEdit], guard: Guard
) -> None:
    data = damaged(with_yaml(text, lines).encode("utf-8", "surrogatepass"), before[:2])
    attempt(ENTRY, lambda: read(home, data), guard)
