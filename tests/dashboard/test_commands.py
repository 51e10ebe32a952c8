"""Commands that pages tell people to type are commands: the real parser takes them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from model_health.cli.main import build_parser

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard"
TOLD = sorted(
    {
        " ".join(command.split())
        for path in DASHBOARD.rglob("*.py")
        for command in re.findall(r"[`\"](?:\.venv/bin/)?model-health ([a-z][^`\"]*)[`\"]", path.read_text())
    }
)


def test_pages_tell_of_commands() -> None:
    assert len(TOLD) >= 5


@pytest.mark.parametrize("command", TOLD)
def test_what_a_page_says_to_type_is_understood(command: str) -> None:
    words = shlex.split(command.replace("{one.target}", "prometheus"))
    known = vars(build_parser().parse_args(words))
    assert known["command"] == words[0]
