"""Statistics of hidden states, over real tokens only and in float32, and cosines with earlier steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.metrics.hidden import (
    compact,
    hidden_statistics,
    lag_cosines,
    masked_mean,
    non_finite,
    projection,
)

INF, NAN = math.inf, math.nan


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 2**16), st.integers(1, 300), st.sampled_from([1e-3, 1.0, 1e4]))
@settings(deadline=None, max_examples=40)
def test_statistics_equal_their_definitions(seed: int, width: int, scale: float) -> None:
    x = scale * draw(2, 3, width, seed=seed)
    mean, std, norm, peak = hidden_statistics(x).double().unbind(-1)
    d = x.double()
    tiny = 1e-4 * scale
    torch.testing.assert_close(mean, d.mean(-1), rtol=1e-4, atol=tiny)
    torch.testing.assert_close(std, d.std(-1, correction=0), rtol=1e-3, atol=1e-3 * scale)
    torch.testing.assert_close(norm, d.norm(dim=-1), rtol=1e-4, atol=tiny)
    torch.testing.assert_close(peak, d.abs().amax(-1), rtol=0, atol=1e-6 * scale)


def test_a_massive_activation_rules_the_peak_whatever_its_sign() -> None:
    x = torch.zeros(1, 8)
    x[0, 3] = -1e5
    _, _, norm, peak = hidden_statistics(x)[0].tolist()
    assert norm == peak == 1e5


def test_float16_states_whose_squares_overflow_have_a_norm() -> None:
    x = torch.full((1, 64), 60_000.0, dtype=torch.float16)
    mean, std, norm, peak = hidden_statistics(x)[0].tolist()
    assert mean == peak == 60_000.0
    assert norm == pytest.approx(8 * 60_000.0)
    assert std < 60


def test_a_constant_state_has_no_spread_rather_than_nan() -> None:
    assert hidden_statistics(torch.full((4, 33), 0.1))[:, 1].max() < 1e-3


@pytest.mark.parametrize(
    ("planted", "marks"),
    [((), (False, False)), ((NAN,), (True, False)), ((-INF,), (False, True)), ((NAN, INF), (True, True))],
)
def test_non_finite_values_are_told_apart(planted: tuple[float, ...], marks: tuple[bool, bool]) -> None:
    x = draw(2, 9)
    for place, value in enumerate(planted):
        x[1, place] = value
    statistics = hidden_statistics(x)
    assert non_finite(x, statistics).tolist() == [[False, False], list(marks)]
    assert torch.isfinite(statistics[0]).all()
    assert torch.isfinite(statistics[1]).all().item() is (not planted)


@given(st.integers(0, 2**16), st.integers(1, 7))
@settings(deadline=None, max_examples=30)
def test_padding_never_counts_whatever_it_holds(seed: int, real: int) -> None:
    values = draw(2, 7, 3, seed=seed)
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[0, 7 - real :] = True
    mask[1] = True
    expected = values[0, 7 - real :].mean(0)
    values[0, : 7 - real] = torch.tensor([NAN, INF, 1e30])[torch.arange(7 - real) % 3, None]
    got = masked_mean(values, mask)
    torch.testing.assert_close(got[0], expected)
    torch.testing.assert_close(got[1], values[1].mean(0))


def test_a_nan_in_a_real_token_is_not_lost_in_the_mean() -> None:
    values = draw(1, 4)
    values[0, 2] = NAN
    assert torch.isnan(masked_mean(values, torch.tensor([[False, True, True, True]]))).all()


def test_without_a_mask_every_token_counts() -> None:
    values = draw(2, 5, 3)
    torch.testing.assert_close(masked_mean(values, None), masked_mean(values, torch.ones(2, 5, dtype=torch.bool)))


def test_a_kept_view_does_not_keep_what_it_looks_at() -> None:
    state = draw(2, 100, 8)
    newest = compact(state[:, -1])
    assert torch.equal(newest, state[:, -1])
    assert newest.untyped_storage().nbytes() == newest.numel() * 4
    single = draw(2, 1, 8)
    assert compact(single[:, -1]).data_ptr() == single.data_ptr()


def test_a_projection_depends_on_its_seed_alone() -> None:
    here, there = projection(16, 4, 7, torch.device("cpu")), projection(16, 4, 7, torch.device("cpu"))
    assert torch.equal(here, there)
    assert not torch.equal(here, projection(16, 4, 8, torch.device("cpu")))
    state = torch.get_rng_state()
    projection(16, 4, 9, torch.device("cpu"))
    assert torch.equal(state, torch.get_rng_state())


def test_a_projection_keeps_squared_norms_in_expectation() -> None:
    x = draw(1, 64)
    norms = torch.stack([(x @ projection(64, 8, seed, torch.device("cpu"))).square().sum() for seed in range(300)])
    assert float(norms.mean()) == pytest.approx(float(x.square().sum()), rel=0.15)


def naive_lags(states: np.ndarray, lags: int) -> np.ndarray:
    steps, batch, _ = states.shape
    out = np.full((steps, batch, lags), np.nan)
    for t in range(steps):
        for b in range(batch):
            for k in range(1, min(t, lags) + 1):
                one, two = states[t, b], states[t - k, b]
                out[t, b, k - 1] = one @ two / (np.linalg.norm(one) * np.linalg.norm(two))
    return out


@given(st.integers(0, 2**16), st.integers(1, 40), st.integers(1, 17), st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_cosines_at_every_lag_equal_a_plain_loop_however_the_steps_are_blocked(
    seed: int, steps: int, block: int, lags: int
) -> None:
    states = draw(steps, 2, 5, seed=seed)
    recent, parts = states[:0], []
    for first in range(0, steps, block):
        fresh = states[first : first + block]
        parts.append(lag_cosines(recent, fresh, lags))
        recent = torch.cat((recent, fresh))[-lags:]
    np.testing.assert_allclose(torch.cat(parts).numpy(), naive_lags(states.double().numpy(), lags), atol=1e-5)


def test_a_state_that_is_not_finite_spoils_its_own_pairs_only() -> None:
    states = draw(4, 1, 6)
    states[1, 0, 2] = NAN
    got = lag_cosines(states[:0], states, 3)[:, 0]
    assert torch.isnan(got[1]).all()
    assert torch.isnan(got[2, 0])
    assert torch.isnan(got[3, 1])
    assert torch.isfinite(got[2, 1])
    assert torch.isfinite(got[3, 0])


def test_a_state_of_zeros_is_like_nothing() -> None:
    states = torch.stack((torch.zeros(1, 4), torch.ones(1, 4)))
    assert lag_cosines(states[:0], states, 1)[1, 0, 0] == 0
