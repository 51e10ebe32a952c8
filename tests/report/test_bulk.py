"""Rows made in bulk are what their class makes one by one."""

from __future__ import annotations

import pickle
from typing import Annotated, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from model_health.report.base import Frozen, Number
from model_health.report.bulk import build_rows
from model_health.report.prompt import SparseAttentionHead
from model_health.report.steps import AttentionSummary, LayerSummary, TokenInfo

numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
summaries = st.fixed_dictionaries(
    {"entropy_mean": numbers, "concentration_max": numbers, "collapsed_head_count": st.none() | st.integers()}
)


@given(st.lists(summaries))
def test_rows_equal_those_of_the_class(contents: list[dict[str, Any]]) -> None:
    names = ("entropy_mean", "concentration_max", "collapsed_head_count")
    rows = build_rows(AttentionSummary, {name: [content[name] for content in contents] for name in names})
    single = [AttentionSummary(**content) for content in contents]
    assert rows == single
    assert [row.model_dump_json() for row in rows] == [row.model_dump_json() for row in single]
    assert [row.model_fields_set for row in rows] == [row.model_fields_set for row in single]


def test_rows_can_be_pickled_copied_and_not_changed() -> None:
    (row,) = build_rows(TokenInfo, {"token_id": [7], "token_text": ["a"]})
    assert pickle.loads(pickle.dumps(row)) == row
    assert row.model_copy(update={"token_id": 8}).token_id == 8
    with pytest.raises(ValidationError):
        row.token_id = 9  # type: ignore[misc]
    assert hash(row) == hash(TokenInfo(token_id=7, token_text="a"))


@pytest.mark.parametrize(
    ("cls", "columns"),
    [
        (AttentionSummary, {"entropy_mean": [1.0, float("nan")]}),
        (AttentionSummary, {"entropy_mean": [1.0, float("inf")]}),
        (AttentionSummary, {"collapsed_head_count": [1, 0.5]}),
        (LayerSummary, {"layer_index": [0, -1]}),
        (LayerSummary, {"layer_index": [10_000]}),
        (TokenInfo, {"token_id": [1], "token_text": [None]}),
        (TokenInfo, {"token_id": [1]}),  # a field without a default is not named
        (TokenInfo, {"token_id": [1], "token_text": ["a"], "colour": ["red"]}),
        (SparseAttentionHead, {"query_indices": [(1, 2)]}),  # its own validator sees it
    ],
)
def test_what_the_class_refuses_is_refused(cls: type[Frozen], columns: dict[str, list[Any]]) -> None:
    with pytest.raises(ValidationError):
        build_rows(cls, columns)


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="TokenInfo differ in length"):
        build_rows(TokenInfo, {"token_id": [1, 2], "token_text": ["a"]})


def test_no_rows_are_no_rows() -> None:
    assert build_rows(TokenInfo, {"token_id": [], "token_text": []}) == []
    assert build_rows(TokenInfo, {}) == []


def test_a_default_that_can_be_changed_is_not_shared() -> None:
    first, second = build_rows(LayerSummary, {"layer_index": [0, 1]})
    assert first.extensions == {}
    assert first.extensions is not second.extensions


class Checked(Frozen):
    low: Annotated[int, Field(ge=0)]
    high: Number = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.high is not None and self.high < self.low:
            raise ValueError("high is below low")
        return self


def test_a_class_with_validators_is_made_row_by_row() -> None:
    assert build_rows(Checked, {"low": [1], "high": [2.0]}) == [Checked(low=1, high=2.0)]
    with pytest.raises(ValidationError, match="high is below low"):
        build_rows(Checked, {"low": [1, 3], "high": [2.0, 2.0]})
