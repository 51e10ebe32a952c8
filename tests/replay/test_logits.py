"""What is kept of logits: formulas, masks, numbers that are none, and pieces."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from model_health.replay import logits as module
from model_health.replay.logits import LogitReducer, miss

VOCABULARY = 40


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(6, VOCABULARY, generator=torch.Generator().manual_seed(2)) * 4


def reduced(z: torch.Tensor, *cuts: int, reference: torch.Tensor | None = None) -> LogitReducer:
    """Two items of four and two rows, taken in pieces."""
    owner = torch.tensor([0, 0, 0, 0, 1, 1])
    kept = LogitReducer(torch.arange(6), owner, reference, 5)
    ends = [0, *cuts, 6]
    for first, last in pairwise(ends):
        part = z[first:last]
        kept.take(torch.arange(first, last), VOCABULARY, lambda a, b, part=part: part[a:b])  # type: ignore[misc]
    return kept


def test_numbers_follow_their_formulas(z: torch.Tensor) -> None:
    reference = torch.arange(12).reshape(6, 2)
    rows, expected = reduced(z, reference=reference).rows(), z.log_softmax(-1)
    np.testing.assert_allclose(rows.logprobs, expected[range(6), range(6)], atol=1e-5)
    np.testing.assert_allclose(rows.entropy_bits, -(expected.exp() * expected).sum(-1) / math.log(2), atol=1e-5)
    np.testing.assert_allclose(rows.top_logprobs, expected.topk(5).values, atol=1e-5)
    np.testing.assert_array_equal(rows.top_ids, expected.topk(5).indices)
    assert rows.reference_logprobs is not None
    np.testing.assert_allclose(rows.reference_logprobs, expected.gather(-1, reference), atol=1e-5)
    assert rows.logprobs.dtype == np.float32
    assert rows.top_ids.dtype == np.int32


def test_pieces_give_what_the_whole_gives(z: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reduced(z)
    monkeypatch.setattr(module, "ELEMENTS_CPU", VOCABULARY)  # one row at a time
    pieces = reduced(z, 1, 4)
    assert whole.digests() == pieces.digests()
    np.testing.assert_array_equal(whole.rows().logprobs, pieces.rows().logprobs)


def test_a_token_masked_on_purpose_is_no_fault(z: torch.Tensor) -> None:
    z[:, 30:] = -torch.inf
    rows = reduced(z).rows()
    assert rows.non_finite.sum() == 0
    assert np.isfinite(rows.entropy_bits).all()
    assert np.isfinite(rows.logprobs).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_has_no_healthy_numbers(z: torch.Tensor, value: float) -> None:
    z[3, 7:9] = value
    rows = reduced(z).rows()
    assert rows.non_finite.tolist() == [0, 0, 0, 2, 0, 0]
    assert np.isnan(rows.entropy_bits[3])
    assert np.isnan(rows.logprobs[3])
    assert np.isfinite(rows.logprobs[[0, 1, 2, 4, 5]]).all()


def test_rows_that_never_came_are_an_error(z: torch.Tensor) -> None:
    kept = LogitReducer(torch.arange(6), torch.zeros(6, dtype=torch.int64), None, 5)
    kept.take(torch.arange(2), VOCABULARY, lambda first, last: z[first:last])
    with pytest.raises(ValueError, match="2 of 6 rows"):
        kept.rows()


def test_a_miss_is_relative_and_nan_where_there_was_a_number_is_infinite(z: torch.Tensor) -> None:
    assert miss(z, z) == 0
    assert miss(z * 1.01, z) == pytest.approx(0.01, rel=1e-3)
    spoilt = z.clone()
    spoilt[0, 0] = torch.nan
    assert miss(spoilt, z) == math.inf
    assert miss(z, spoilt) == 0
    assert miss(z, torch.full_like(z, torch.nan)) == 0
