"""Next-token statistics: laws of entropy and top-k, and what is not a distribution never becomes a number."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.metrics.logits import LogitStatistics, blocked_topk, logit_statistics
from model_health.metrics.scratch import Scratch

INF, NAN = math.inf, math.nan


def rows(seed: int, vocabulary: int, scale: float = 3.0, batch: int = 3) -> torch.Tensor:
    return scale * torch.randn(batch, vocabulary, generator=torch.Generator().manual_seed(seed))


def reference(z: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(torch.softmax(z.double(), -1)).sum(-1) / math.log(2)


LOGITS = st.builds(rows, st.integers(0, 2**16), st.integers(1, 3000), st.sampled_from([0.0, 0.1, 3.0, 40.0]))


@given(LOGITS)
@settings(deadline=None, max_examples=60)
def test_entropy_lies_between_zero_and_the_size_of_the_vocabulary(z: torch.Tensor) -> None:
    entropy = logit_statistics(z, 10).entropy_bits
    assert (entropy >= 0).all()
    assert (entropy <= math.log2(z.shape[1]) + 1e-4).all()
    torch.testing.assert_close(entropy.double(), reference(z), atol=1e-4, rtol=0)


@given(LOGITS, st.floats(-1000, 1000))
@settings(deadline=None, max_examples=40)
def test_a_constant_added_to_all_logits_changes_nothing(z: torch.Tensor, constant: float) -> None:
    z = (z * 64).round() / 64  # exact in float32 also after the shift
    constant = round(constant)
    here, there = logit_statistics(z, 10), logit_statistics(z + constant, 10)
    assert torch.equal(here.entropy_bits, there.entropy_bits)
    assert torch.equal(here.topk_probs, there.topk_probs)
    torch.testing.assert_close(here.surprisal_bits(z[:, 0]), there.surprisal_bits(z[:, 0] + constant))


@given(LOGITS, st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_the_margin_is_at_most_the_mass_which_is_at_most_one(z: torch.Tensor, k: int) -> None:
    probs = logit_statistics(z, k).topk_probs.double()
    second = probs[:, 1] if probs.shape[1] > 1 else torch.zeros(len(probs))
    margin, mass = probs[:, 0] - second, probs.sum(-1)
    assert (margin >= 0).all()
    assert (margin <= mass).all()
    assert (mass <= 1 + 1e-5).all()


@given(st.integers(0, 2**16), st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_a_vocabulary_smaller_than_k_gives_all_of_it(seed: int, vocabulary: int) -> None:
    statistics = logit_statistics(rows(seed, vocabulary), 10)
    assert statistics.topk_token_ids.shape == (3, vocabulary)
    torch.testing.assert_close(statistics.topk_probs.sum(-1), torch.ones(3))


def test_surprisal_is_that_of_the_chosen_token() -> None:
    z = rows(3, 500)
    tokens = torch.tensor([0, 17, 499])
    expected = -torch.log_softmax(z.double(), -1).gather(-1, tokens[:, None])[:, 0] / math.log(2)
    got = logit_statistics(z, 10).surprisal_bits(z.gather(-1, tokens[:, None])[:, 0])
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_logits_are_reduced_in_float32(dtype: torch.dtype) -> None:
    z = rows(5, 50_000).to(dtype)
    statistics = logit_statistics(z, 10)
    torch.testing.assert_close(statistics.entropy_bits.double(), reference(z), atol=1e-4, rtol=0)
    assert statistics.topk_probs.dtype == torch.float32


def test_the_logits_themselves_are_left_alone() -> None:
    z = rows(1, 3000)
    before = z.clone()
    logit_statistics(z, 10)
    assert torch.equal(z, before)


def test_tokens_that_a_model_masks_add_nothing_and_are_no_anomaly() -> None:
    z = rows(2, 2000)
    masked = z.clone()
    masked[:, 100:] = -INF
    statistics = logit_statistics(masked, 10)
    torch.testing.assert_close(statistics.entropy_bits, logit_statistics(z[:, :100], 10).entropy_bits)
    assert not statistics.nan.any()
    assert not statistics.inf.any()


def test_fewer_likely_tokens_than_k_leave_probability_zero_not_nan() -> None:
    z = torch.full((1, 5000), -INF)
    z[0, 4000], z[0, 10] = 1.0, 0.0
    statistics = logit_statistics(z, 10)
    assert statistics.topk_token_ids[0, :2].tolist() == [4000, 10]
    assert statistics.topk_probs[0, 2:].tolist() == [0.0] * 8
    assert not statistics.inf.any()


@pytest.mark.parametrize("vocabulary", [7, 50_000])
@pytest.mark.parametrize(
    ("planted", "nan", "inf"),
    [([NAN], True, False), ([INF], False, True), ([NAN, INF], True, True), ([INF, -INF], False, True)],
)
def test_a_non_finite_logit_marks_its_own_row_and_makes_no_number(
    vocabulary: int, planted: list[float], nan: bool, inf: bool
) -> None:
    z = rows(4, vocabulary)
    for place, value in enumerate(planted):
        z[1, 2 * place] = value
    statistics = logit_statistics(z, 10)
    assert statistics.nan.tolist() == [False, nan, False]
    assert statistics.inf.tolist() == [False, inf, False]
    assert torch.isnan(statistics.entropy_bits).tolist() == [False, True, False]
    assert torch.isnan(statistics.topk_probs[1]).all()
    assert torch.isnan(statistics.surprisal_bits(z[:, -1])).tolist() == [False, True, False]


@pytest.mark.parametrize("vocabulary", [7, 50_000])
def test_a_row_in_which_every_token_is_masked_is_no_distribution(vocabulary: int) -> None:
    z = rows(4, vocabulary)
    z[2] = -INF
    statistics = logit_statistics(z, 10)
    assert statistics.inf.tolist() == [False, False, True]
    assert torch.isnan(statistics.entropy_bits).tolist() == [False, False, True]
    assert torch.isnan(statistics.topk_probs[2]).all()


def test_a_row_of_nan_is_never_the_most_certain_one() -> None:
    statistics = logit_statistics(torch.full((1, 300), NAN), 10)
    assert statistics.nan.item() is True
    assert torch.isnan(statistics.entropy_bits).item() is True


def test_steps_reduced_together_keep_their_values_wherever_blocks_end() -> None:
    z = torch.stack([rows(seed, 5000) for seed in range(3)])
    table = LogitStatistics.join([logit_statistics(z[:2], 10), logit_statistics(z[2:], 10)])
    for index, step in enumerate(logit_statistics(one, 10) for one in z):
        assert torch.equal(table.entropy_bits[index], step.entropy_bits)
        assert torch.equal(table.topk_token_ids[index], step.topk_token_ids)
        assert torch.equal(table.nan[index], step.nan)


def test_what_was_reduced_does_not_change_when_its_working_memory_is_used_again() -> None:
    scratch = Scratch()
    first = logit_statistics(rows(0, 5000), 10, scratch)
    before = [first.topk_probs.clone(), first.topk_logits.clone(), first.expected_gap.clone()]
    logit_statistics(rows(1, 5000), 10, scratch)
    for now, then in zip((first.topk_probs, first.topk_logits, first.expected_gap), before, strict=True):
        assert torch.equal(now, then)


@given(
    st.integers(0, 2**16),
    st.integers(1, 14_000),
    st.integers(1, 12),
    st.sampled_from(["normal", "ties", "nan", "inf", "masked"]),
)
@settings(deadline=None, max_examples=80)
def test_the_blocked_topk_equals_the_plain_one(seed: int, n: int, k: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, n, generator=generator)
    spots = torch.randint(0, n, (3,), generator=generator)
    if kind == "ties":
        values = values.round()
    elif kind == "nan":
        values[:, spots] = NAN
    elif kind == "inf":
        values[:, spots] = INF
    elif kind == "masked":
        values[:, n // 8 :] = -INF
    best, index = blocked_topk(values, k)
    expected = values.topk(min(k, n), dim=-1)
    torch.testing.assert_close(best, expected.values, equal_nan=True, atol=0, rtol=0)
    torch.testing.assert_close(values.gather(-1, index), best, equal_nan=True, atol=0, rtol=0)
    assert all(len(set(row)) == len(row) for row in index.tolist())
    if kind == "normal":
        assert torch.equal(index, expected.indices)


def test_the_blocked_topk_takes_any_leading_axes_and_a_ragged_end() -> None:
    values = torch.zeros(2, 3, 256 * 50 + 7)
    values[..., -1], values[..., 256 * 3] = 5.0, 4.0
    best, index = blocked_topk(values, 2)
    assert best.shape == (2, 3, 2)
    assert index[1, 2].tolist() == [256 * 50 + 6, 256 * 3]
