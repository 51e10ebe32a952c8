"""CSV files say the same as the table, and nothing in them acts."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import exports

CELLS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"))


def parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_columns_are_those_of_all_rows_and_what_is_missing_is_empty() -> None:
    rows = [{"Model": "a", "Entropy (bits)": None}, {"Model": "b", "Flags": ["x", "y"], "Entropy (bits)": 0.25}]
    assert parsed(exports.csv_text(rows)) == [
        ["Model", "Entropy (bits)", "Flags"],
        ["a", "", ""],
        ["b", "0.25", "x; y"],
    ]


def test_times_are_utc_and_say_so() -> None:
    east = datetime(2026, 3, 1, 13, 30, tzinfo=timezone(timedelta(hours=2)))
    assert "2026-03-01T11:30:00Z" in exports.csv_text([{"at": east}])
    assert exports.csv_text([{"at": datetime(2026, 3, 1, tzinfo=UTC)}]).endswith("2026-03-01T00:00:00Z\r\n")


def test_no_rows_make_an_empty_file() -> None:
    assert parsed(exports.csv_text([])) == [[]]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_text_that_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert parsed(exports.csv_text([{"a": text}]))[1] == [f"'{text}"]


def test_negative_numbers_stay_numbers() -> None:
    assert parsed(exports.csv_text([{"a": -1.5}]))[1] == ["-1.5"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.fixed_dictionaries({"a": CELLS, "b": CELLS}), min_size=1, max_size=4))
def test_any_text_comes_back_whole(rows: list[dict[str, str]]) -> None:
    read = parsed(exports.csv_text(rows))[1:]
    assert [[cell.removeprefix("'") for cell in line] for line in read] == [
        [row[name].removeprefix("'") for name in rows[0]] for row in rows
    ]


@pytest.mark.parametrize(
    ("parts", "name"),
    [(("runs",), "runs"), (("a/b c", "", "2026"), "a-b-c-2026"), (("../../etc",), "etc"), (("…",), "export")],
)
def test_a_file_s_name_is_safe(parts: tuple[str, ...], name: str) -> None:
    assert exports.file_name(*parts) == name
