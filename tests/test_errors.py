"""Every error is one line that a terminal and a log can take, whatever the names in it hold."""

from __future__ import annotations

import pytest

from model_health.errors import ReportError


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb\x85c\u2028d", "a b c d"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\ud800b", "a\\ud800b"),
        ("txt.\u202egpj", "txt.\\u202egpj"),
        ("naïve-שלום", "naïve-שלום"),
    ],
)
def test_no_name_in_an_error_drives_a_terminal_or_breaks_a_log(name: str, shown: str) -> None:
    said = str(ReportError("cannot be read", subject=name, hint="check it"))
    assert said == f"{shown}: cannot be read (check it)"
    assert said.encode().decode() == said
