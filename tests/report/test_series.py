"""float32 is written as the shortest decimal that reads back as the same float32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.report.series import finite_or_none, first_bad, nullable, pick, shortest

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(floats, min_size=1))
def test_every_float32_reads_back(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    assert (shortest(array).astype(np.float32) == array).all()


@given(floats)
def test_no_decimal_is_longer_than_nine_digits(value: float) -> None:
    text = repr(float(shortest(np.array([value], dtype=np.float32))[0]))
    assert len(text.partition("e")[0].replace("-", "").replace(".", "").strip("0")) <= 9


@given(st.lists(floats, min_size=1))
def test_the_decimal_is_the_one_that_text_would_give(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    assert shortest(array).tolist() == array.astype("U").astype(np.float64).tolist()


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1.0, 2.0**24, 2.0**-30, 1e-45, 3.4028235e38, 1e-12, 1e15, 999999.94, 9.999999e-05, 16777217.0]
)
def test_awkward_numbers_keep_their_sign_and_their_decimal(value: float) -> None:
    array = np.array([value, -value], dtype=np.float32)
    assert [repr(x) for x in shortest(array).tolist()] == [
        repr(x) for x in array.astype("U").astype(np.float64).tolist()
    ]


def test_values_that_are_no_numbers_stay() -> None:
    assert [repr(x) for x in shortest(np.array([np.nan, np.inf, -np.inf], dtype=np.float32)).tolist()] == [
        "nan",
        "inf",
        "-inf",
    ]


def test_a_tenth_is_a_tenth() -> None:
    assert nullable(np.array([[0.1, np.nan], [np.inf, -0.5]], dtype=np.float32)) == [[0.1, None], [None, -0.5]]


def test_empty_arrays_stay_empty() -> None:
    assert nullable(np.zeros((0,), dtype=np.float32)) == []
    assert nullable(np.zeros((2, 0), dtype=np.float32)) == [[], []]


def test_small_helpers() -> None:
    assert first_bad(np.array([1.0, np.nan, np.inf], dtype=np.float32)) == (2, 1)
    assert first_bad(np.array([1.0], dtype=np.float32)) is None
    assert finite_or_none(float("nan")) is None
    assert finite_or_none(1.5) == 1.5
    assert pick([[1, 2]], 0, 1) == 2
    assert pick(None, 0) is None
