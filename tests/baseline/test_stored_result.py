"""Comparisons are read back as they were written, old ones too, and damaged ones are said to be damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model_health.baseline.flips import flip_report
from model_health.baseline.stored_result import read_flips, read_result
from model_health.errors import StoreError
from support.comparisons import OLD_RESULT, compared_result
from support.observations import observation


def as_bytes(**changes: Any) -> bytes:
    return json.dumps({**OLD_RESULT, **changes}).encode()


def test_a_result_comes_back_as_it_was_written() -> None:
    written = compared_result(noise=1e-2, first_state=2)
    found = read_result(json.dumps(written, allow_nan=False).encode(), "x")
    assert found.format == "1.1.0"
    assert (found.answer, found.verdict) == (written["answer"], written["verdict"])
    assert found.profile is not None
    assert found.profile.to_json() == written["profile"]
    assert found.place is not None
    assert found.place.state == written["place"]["state"] == "layer.1"
    assert found.harm is not None
    assert found.harm.effect is not None
    assert found.harm.effect.mean == written["harm"]["effect"]["mean"]


def test_a_result_of_1_0_0_has_no_profile_and_all_the_rest() -> None:
    found = read_result(as_bytes(), "x")
    assert found.profile is None
    assert found.numbers is not None
    assert found.numbers.states == (0.0, 0.0, 0.25)
    assert found.harm is not None
    assert found.harm.effect is not None
    assert found.harm.effect.low is None


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    assert read_result(as_bytes(format="1.9.0", sparkle={"a": 1}), "x").answer == "changed"


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"[]", b"{}", as_bytes(format="2.0.0"), as_bytes(numbers={"states": "many"}), as_bytes(at="x")],
)
def test_what_is_damaged_is_said_in_one_line_that_names_the_file(content: bytes) -> None:
    with pytest.raises(StoreError, match="night-1") as caught:
        read_result(content, "night-1")
    assert "\n" not in str(caught.value)


def test_a_flip_report_comes_back_as_it_was_written() -> None:
    report = flip_report(observation(), observation(noise=0.5), lambda ids: f"<{len(ids)}>")
    assert report.flipped > 0
    assert read_flips(json.dumps(report.to_json()).encode(), "x") == report
    with pytest.raises(StoreError, match="cannot be read"):
        read_flips(b"[1]", "x")
