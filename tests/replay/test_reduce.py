"""What is kept of states: true norms, sketches that keep distances, counts, whatever the pieces."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_health.replay.plan import pad
from model_health.replay.reduce import MAX_SKETCHED, Sight, StackReducer, sketched_rows

LENGTHS = (6, 4)
FIRST = (2, 0)


def reducer() -> StackReducer:
    """Two rows of 6 and 4 tokens, padded on the left; scored from the third and from the first on."""
    padded = pad([(1,) * length for length in LENGTHS], "left", 0, torch.device("cpu"))
    positions = tuple(np.arange(first, length, dtype=np.int32) for first, length in zip(FIRST, LENGTHS, strict=True))
    rows = tuple(np.asarray([0, 3], dtype=np.int32) for _ in positions)
    return StackReducer(Sight(padded, positions, rows), 1, dimensions=512, seed=3)


def state() -> torch.Tensor:
    drawn = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(5))
    drawn[1, :2] = torch.nan  # what a model computes for padding may be anything
    return drawn


def test_pieces_give_what_the_whole_gives() -> None:
    whole, pieces, values = reducer(), reducer(), state()
    whole.take(0, values, 0)
    for first, last in ((0, 1), (1, 5), (5, 6)):
        pieces.take(0, values[:, first:last], first)
    assert whole.digests() == pieces.digests()
    for one, other in zip(whole.norms() + whole.sketches(), pieces.norms() + pieces.sketches(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_norms_and_sketches_belong_to_scored_tokens() -> None:
    kept, values = reducer(), state()
    kept.take(0, values, 0)
    first, second = kept.norms()
    np.testing.assert_allclose(first[:, 0], values[0, 2:].norm(dim=-1), rtol=1e-6)
    np.testing.assert_allclose(second[:, 0], values[1, 2:].norm(dim=-1), rtol=1e-6)
    # 512 dimensions keep a norm to about 5 %
    sketches = kept.sketches()[0][:, 0]
    np.testing.assert_allclose(np.linalg.norm(sketches, axis=-1), first[[0, 3], 0], rtol=0.2)


def test_what_is_not_finite_is_counted_over_real_tokens_alone() -> None:
    kept, values = reducer(), state()
    kept.take(0, values, 0)
    assert kept.non_finite().tolist() == [[0], [0]]
    values[0, 0, :3] = torch.inf  # not scored, but real
    values[1, 5, 0] = torch.nan
    again = reducer()
    again.take(0, values, 0)
    assert again.non_finite().tolist() == [[3], [1]]


@given(st.integers(1, 5000))
def test_sketched_rows_are_few_spread_and_hold_both_ends(tokens: int) -> None:
    rows = sketched_rows(tokens)
    assert len(rows) == min(tokens, MAX_SKETCHED)
    assert (rows[0], rows[-1]) == (0, tokens - 1)
    assert len(rows) == 1 or np.ptp(np.diff(rows)) <= 1
