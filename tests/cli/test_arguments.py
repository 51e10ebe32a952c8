"""Kinds of argument that several commands take."""

from __future__ import annotations

import argparse

import pytest

from model_health.cli.arguments import LARGEST, positive


@pytest.mark.parametrize("text", ["1", "12", str(LARGEST)])
def test_a_whole_number_from_one_on_is_taken(text: str) -> None:
    assert positive(text) == int(text)


@pytest.mark.parametrize("text", ["0", "-1", str(LARGEST + 1), "9" * 30])
def test_what_no_column_could_be_compared_with_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        positive(text)


@pytest.mark.parametrize("text", ["", "x", "1.5", "9" * 5000])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="int"):
        positive(text)
