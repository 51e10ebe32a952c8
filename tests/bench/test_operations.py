"""The probes add no more operations and waits than the committed counts say, and the gate notices when they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.bench.command import main
from model_health.bench.operations import (
    CASES,
    PREFILL_SLACK,
    STEP_SLACK,
    UPLOAD_SLACK,
    Counted,
    Price,
    count_all,
    read_expected,
)
from model_health.bench.operations import worse as worse_than
from model_health.bench.records import WATCHED
from model_health.errors import BadInput

EXPECTED = Path(__file__).with_name("operation_counts.json")


@pytest.fixture(scope="module")
def counted() -> Counted:
    return count_all()


def test_the_probes_cost_no_more_than_is_expected(counted: Counted) -> None:
    assert list(worse_than(read_expected(EXPECTED), counted)) == [], "`make bench-counts` if it is worth the price"


def test_no_decode_step_waits_for_the_device_more_often(counted: Counted) -> None:
    added = {
        (case, kind): price.step_waits
        for case, prices in counted.prices.items()
        for kind, price in prices.items()
        if kind != "plain"
    }
    assert set(added) == {(name, kind) for name, case in CASES.items() for kind in case.kinds}
    assert set(added.values()) == {0.0}


def test_prompt_telemetry_costs_a_decode_step_nothing(counted: Counted) -> None:
    for name in ("llama-12", "gpt2-small", "t5-small"):
        prices = counted.prices[name]
        assert prices["full"].step_operations == prices["standard"].step_operations
        assert 0 < prices["flags"].step_operations < prices["standard"].step_operations


def changed(**changes: float) -> Counted:
    known = read_expected(EXPECTED)
    price = known.prices["llama-12"]["standard"].model_copy(update=changes)
    prices = {**known.prices, "llama-12": {**known.prices["llama-12"], "standard": price}}
    return known.model_copy(update={"prices": prices})


@pytest.mark.parametrize(
    ("name", "rise"),
    [
        ("step_operations", STEP_SLACK),
        ("step_waits", 0.0),
        ("prefill_waits", 0.0),
        ("step_uploads", UPLOAD_SLACK),
        ("prefill_operations", None),
    ],
)
def test_a_rise_within_the_slack_passes_and_one_beyond_it_is_named(name: str, rise: float | None) -> None:
    known = read_expected(EXPECTED)
    value = getattr(known.prices["llama-12"]["standard"], name)
    allowed = value * PREFILL_SLACK if rise is None else rise
    assert list(worse_than(known, changed(**{name: value + allowed}))) == []
    (line,) = worse_than(known, changed(**{name: value + allowed + 0.1}))
    assert line.startswith("llama-12, standard: " + name.replace("_", " "))


def test_fewer_operations_pass() -> None:
    assert list(worse_than(read_expected(EXPECTED), changed(step_operations=0.0, prefill_operations=0.0))) == []


def test_a_case_that_nobody_expected_fails() -> None:
    known = read_expected(EXPECTED)
    one = Price(**dict.fromkeys(Price.model_fields, 1.0))
    new = known.model_copy(update={"prices": {"new": dict.fromkeys(("plain", *WATCHED), one)}})
    assert len(list(worse_than(known, new))) == len(WATCHED)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"what": "operations", "versions": {}}'])
def test_a_file_without_counts_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "counts.json"
    file.write_text(text)
    with pytest.raises(BadInput, match="holds no counts"):
        read_expected(file)


def test_the_command_ends_with_2_where_nothing_is_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["operations", "--check", str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err
