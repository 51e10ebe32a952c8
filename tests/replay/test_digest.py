"""Digests of real tokens: every bit counts, pieces do not, padding does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_health.replay.digest import RowDigests, words


def digests(values: torch.Tensor, *cuts: int, offset: int = 0) -> tuple[str, ...]:
    """Of rows whose real tokens begin at `offset`, in pieces that end at `cuts`."""
    running = RowDigests(values.shape[0])
    ends = [offset, *cuts, values.shape[1]]
    for first, last in pairwise(ends):
        part = values[:, first:last]
        running.update(part, [(row, row, 0, part.shape[1]) for row in range(values.shape[0])])
    return running.hexdigests()


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(3, 9, 8, generator=torch.Generator().manual_seed(1))


def test_pieces_give_the_digest_of_the_whole(values: torch.Tensor) -> None:
    assert digests(values, 4) == digests(values, 1, 5, 8) == digests(values)
    assert len(set(digests(values))) == 3
    assert all(len(one) == 32 for one in digests(values))


def test_padding_in_front_does_not_count(values: torch.Tensor) -> None:
    padded = torch.cat((torch.full((3, 2, 8), torch.nan), values), dim=1)
    assert digests(padded, offset=2) == digests(values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_layout_in_memory_does_not_count(dtype: torch.dtype, values: torch.Tensor) -> None:
    typed = values.to(dtype)
    assert digests(typed.transpose(0, 1).contiguous().transpose(0, 1)) == digests(typed)


def test_minus_zero_is_another_bit_pattern() -> None:
    assert digests(torch.zeros(1, 1, 2)) != digests(-torch.zeros(1, 1, 2))


@given(st.integers(0, 8), st.integers(0, 7), st.integers(0, 30))
def test_one_flipped_bit_changes_its_row_alone(token: int, place: int, bit: int) -> None:
    values = torch.randn(3, 9, 8, generator=torch.Generator().manual_seed(1))
    other = values.clone()
    other[1].view(torch.int32)[token, place] ^= 1 << bit
    before, after = digests(values), digests(other)
    assert (before[0], before[2]) == (after[0], after[2])
    assert before[1] != after[1]
    # what an accelerator sends to the host instead of the bytes
    changed = (words(values) != words(other)).any(-1)
    assert changed.nonzero()[0].tolist() == [1]
    assert changed.nonzero()[1].tolist() == [token]


def test_words_tell_an_exchange_of_two_numbers_apart(values: torch.Tensor) -> None:
    other = values.clone()
    other[0, 0, [0, 1]] = values[0, 0, [1, 0]]
    assert (words(values) != words(other)).any(-1).sum() == 1
