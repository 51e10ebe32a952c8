"""RUNBOOK.md: a section for every alert and no other, each with the same five answers, in commands that exist."""

from __future__ import annotations

import re
import shlex

import pytest

from model_health.cli.main import build_parser
from model_health.config.gates import GatesConfig
from model_health.monitors.watches import runbook_anchors, watches
from support.monitor_inputs import ROOT, shipped

TEXT = (ROOT / "RUNBOOK.md").read_text()
ANSWERS = ("Means", "Look first", "Confirm", "Fix or escalate", "Silence")
GENERAL = "the-first-five-minutes"
WITHOUT_ALERT = "a-service-is-down"
"""A cause of alerts that has none of its own: what is missing is told by those about what did not happen."""


def anchor(heading: str) -> str:
    """As people's tools make it of a heading."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def sections() -> dict[str, str]:
    parts = re.split(r"^## +(.*)$", TEXT, flags=re.MULTILINE)[1:]
    return {anchor(heading): text for heading, text in zip(parts[::2], parts[1::2], strict=True)}


def test_there_is_a_section_for_every_alert_and_for_no_other() -> None:
    compared = {rule.runbook for rule in shipped().gates.regression.rules.values()}
    assert set(sections()) == runbook_anchors(watches(shipped().gates)) | compared | {GENERAL, WITHOUT_ALERT}


def test_every_gate_of_the_shipped_file_points_at_one() -> None:
    assert {rule.runbook for rule in shipped().gates.rules.values()} <= set(sections())


@pytest.mark.parametrize("name", sorted(set(sections()) - {GENERAL}))
def test_a_section_answers_what_a_woken_person_asks(name: str) -> None:
    found = re.findall(r"^\*\*(.+?)\.\*\* (.+?)(?=\n\n|\Z)", sections()[name], re.MULTILINE | re.DOTALL)
    assert tuple(title for title, _ in found) == ANSWERS
    assert all(len(text.split()) >= 2 for _, text in found)
    assert "`" in dict(found)["Confirm"] or "digest" in dict(found)["Confirm"]


def test_a_gate_that_a_section_silences_exists() -> None:
    known = {watch.name for watch in watches(shipped().gates)}
    named = set(re.findall(r"\bgate=([a-z0-9-]+)", TEXT))
    assert named <= known
    assert {rule for rule in shipped().gates.rules if rule not in named} == set()


def test_a_link_inside_leads_to_a_section() -> None:
    links = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert links
    assert links <= set(sections())


def commands() -> list[list[str]]:
    code = re.findall(r"`(model-health [^`]+)`", TEXT)
    return [shlex.split(line.replace("\n", " "))[1:] for line in sorted(set(code))]


def known_commands() -> dict[str, object]:
    action = next(one for one in build_parser()._actions if isinstance(one.choices, dict))
    return dict(action.choices)


def test_commands_are_shown() -> None:
    assert {"run", "show", "validate", "models", "suites"} <= {words[0] for words in commands()}


@pytest.mark.parametrize("words", [one for one in commands() if one[0] in known_commands()], ids=" ".join)
def test_a_command_is_taken_with_its_arguments(words: list[str]) -> None:
    assert build_parser().parse_args(words).call


def test_a_gate_without_a_section_would_be_noticed() -> None:
    rule = shipped().gates.rules["latency" if "latency" in shipped().gates.rules else "non-finite"]
    other = rule.model_copy(update={"name": "new", "runbook": "not-written-yet"})
    gates = GatesConfig.model_validate({"rules": {"new": other.model_dump()}})
    assert not runbook_anchors(watches(gates)) <= set(sections())
