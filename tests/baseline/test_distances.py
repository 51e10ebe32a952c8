"""Distances between replays: zero for equals, symmetric, and never a number where something is not finite."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.baseline.distances import FAMILIES, distances, item_distances, unpaired
from model_health.baseline.divergence import kl_bits, swing
from model_health.errors import CouldNotMeasure
from support.observations import KEY, STATES, observation, with_item

SIZES = st.floats(min_value=1e-7, max_value=0.5)


def test_a_replay_has_no_distance_from_itself() -> None:
    base = observation()
    for item in distances(base, base):
        assert all(float(item.of(family).max()) == 0.0 for family in FAMILIES)
        assert not item.flipped.any()


@given(noise=SIZES, seed=st.integers(2, 1000))
@settings(max_examples=40, deadline=None)
def test_all_but_the_divergence_are_symmetric_and_none_is_negative(noise: float, seed: int) -> None:
    one = observation(prompts=1, passages=1)
    other = observation(prompts=1, passages=1, noise=noise, noise_seed=seed)
    for forth, back in zip(distances(one, other), distances(other, one), strict=True):
        for family in FAMILIES:
            assert (forth.of(family) >= 0.0).all()
            if family != "kl":
                np.testing.assert_array_equal(forth.of(family), back.of(family))


def test_a_larger_disturbance_is_farther_away_in_every_family() -> None:
    base = observation()
    near, far = (distances(base, observation(noise=size)) for size in (1e-4, 0.5))
    for family in FAMILIES:
        assert max(item.of(family).max() for item in far) > max(item.of(family).max() for item in near)


def test_states_before_the_disturbed_one_have_no_distance() -> None:
    base = observation()
    for item in distances(base, observation(noise=1e-3, first_state=2)):
        assert not item.sketch[:, :2].any()
        assert (item.sketch[:, 2:] > 0.0).all()


def test_a_sketch_distance_is_relative_and_bounded_by_two() -> None:
    base = observation(prompts=1)
    opposite = with_item(base, 0, sketches=-base.items[0].sketches)
    assert distances(base, opposite)[0].sketch == pytest.approx(2.0)
    tenfold = with_item(base, 0, sketches=base.items[0].sketches * 10)
    assert distances(base, tenfold)[0].sketch == pytest.approx(0.9)


def test_two_states_of_zeros_are_no_distance_apart() -> None:
    base = observation(prompts=1)
    zero = with_item(base, 0, sketches=np.zeros_like(base.items[0].sketches), norms=np.zeros_like(base.items[0].norms))
    assert not distances(zero, zero)[0].sketch.any()
    assert not distances(zero, zero)[0].norm.any()


def test_divergence_is_a_lower_bound_of_the_whole_distributions_divergence() -> None:
    base = observation(prompts=1, passages=1)
    moved = observation(prompts=1, passages=1, temperature=0.7)
    for one, other in zip(base.items, moved.items, strict=True):
        # The whole distribution, from the logits that made the observation.
        p = one.top_logprobs.astype(np.float64)
        q = np.asarray(other.reference_logprobs, dtype=np.float64)
        rest = kl_bits(one, other) * np.log(2) - (np.exp(p) * (p - q)).sum(axis=1)
        assert (kl_bits(one, other) > 0.0).all()
        # Merging the tail into one bin adds p log(p/q) of that bin, and nothing else.
        tail_p, tail_q = 1 - np.exp(p).sum(axis=1), 1 - np.exp(q).sum(axis=1)
        np.testing.assert_allclose(rest, tail_p * np.log(tail_p / tail_q), atol=1e-6)
    assert kl_bits(base.items[0], base.items[0]).max() == 0.0


def test_divergence_without_reference_values_uses_the_tokens_that_both_know() -> None:
    one, other = observation(prompts=1).items[0], observation(prompts=1, noise=0.3).items[0]
    alone = replace(other, reference_logprobs=None)
    assert (kl_bits(one, alone) <= kl_bits(one, other) + 1e-9).all()
    assert kl_bits(one, alone).max() > 0.0


def test_a_token_that_the_new_model_rules_out_stays_a_finite_number() -> None:
    one = observation(prompts=1).items[0]
    gone = np.array(one.reference_logprobs)
    gone[:, 0] = -np.inf
    assert np.isfinite(kl_bits(one, replace(one, reference_logprobs=gone))).all()


def test_no_swing_exceeds_twice_what_any_log_probability_moved() -> None:
    base = observation(prompts=20)
    moved = observation(prompts=20, noise=0.2)
    seen = 0
    for one, other in zip(base.items, moved.items, strict=True):
        flips = swing(one, other)
        furthest = np.abs(np.asarray(other.reference_logprobs) - one.top_logprobs).max()
        seen += int((~np.isnan(flips)).sum())
        assert np.nan_to_num(flips).max() <= 2 * furthest + 1e-5
    assert seen


def test_a_flip_between_equals_is_a_flip_without_swing() -> None:
    one = observation(prompts=1).items[0]
    tied = one.top_logprobs.copy()
    tied[:, 1] = tied[:, 0]
    old = replace(one, top_logprobs=tied)
    new = replace(old, argmax_ids=old.top_ids[:, 1])
    apart = item_distances(old, new)
    assert apart.flipped.all()
    assert apart.of("flips").max() == 0.0


def test_other_items_tokens_and_states_cannot_be_paired() -> None:
    base = observation(prompts=2)
    assert unpaired(base, base) is None
    assert "other items" in str(unpaired(base, observation(prompts=3)))
    other = with_item(base, 1, token_ids=base.items[1].token_ids + 1)
    assert "p0:golden has other tokens" in str(unpaired(base, other))
    assert "layers" in str(unpaired(base, replace(base, state_names=STATES[:-1])))
    with pytest.raises(CouldNotMeasure, match="cannot be paired"):
        distances(base, other)


def test_a_replay_without_items_cannot_be_paired() -> None:
    empty = replace(observation(), items=())
    assert empty.key == KEY
    with pytest.raises(CouldNotMeasure, match="there is no item"):
        distances(empty, empty)


@pytest.mark.parametrize(
    "name", ["logprobs", "entropy_bits", "norms", "sketches", "top_logprobs", "reference_logprobs"]
)
def test_nan_is_no_distance(name: str) -> None:
    base = observation(prompts=1)
    values = np.array(getattr(base.items[0], name))
    values[..., -1] = np.nan
    with pytest.raises(CouldNotMeasure, match="not finite"):
        distances(base, with_item(base, 0, **{name: values}))
