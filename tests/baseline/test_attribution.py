"""Where a change begins: the first state, the first token, and no name where it would be a guess."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model_health.baseline.attribution import GREY, HEAD, Place, place_by_band, place_by_bits
from model_health.baseline.numbers import Numbers, measure
from model_health.baseline.observations import ReplayObservation
from model_health.baseline.tolerance import Limits
from support.observations import STATES, key, observation, tolerance_of

BATCH = {"batch_size": 1}
BASE = observation()


@pytest.fixture(scope="module")
def limits() -> Limits:
    return tolerance_of(BASE, [BATCH]).limits(("batch",))


def by_band(new: ReplayObservation, limits: Limits, numbers: Numbers | None = None) -> Place | None:
    return place_by_band(BASE, new, measure(BASE, new) if numbers is None else numbers, limits)


@pytest.mark.parametrize("state", range(len(STATES)))
@pytest.mark.parametrize("size", [1e-3, 1e-1])
def test_a_disturbed_state_is_named(state: int, size: float, limits: Limits) -> None:
    place = by_band(observation(key(**BATCH), noise=size, first_state=state), limits)
    assert place is not None
    assert (place.state, place.how) == (STATES[state], "band")
    assert place.item_id == "p0:continuation"
    assert place.row == 0
    assert place.token_id == BASE.items[0].token_ids[0]


def test_states_within_their_bands_and_logits_beyond_are_the_head(limits: Limits) -> None:
    place = by_band(observation(key(**BATCH), noise=1e-2, logits_only=True), limits)
    assert place is not None
    assert (place.state, place.how) == (HEAD, "band")


def test_noise_has_no_place(limits: Limits) -> None:
    assert by_band(observation(key(**BATCH), noise=1e-6, noise_seed=321), limits) is None


def test_a_state_in_the_grey_before_the_first_one_beyond_leaves_it_unnamed(limits: Limits) -> None:
    new = observation(key(**BATCH), noise=1e-3, first_state=3)
    numbers = measure(BASE, new)
    states = list(numbers.states)
    states[2] = limits.states[2] * (GREY + 0.1)
    place = by_band(new, limits, replace(numbers, states=tuple(states)))
    assert place is not None
    assert (place.state, place.how) == (None, "unnamed")
    assert "layer.1 lies between" in place.reason
    assert "unnamed" in str(place)


def test_one_token_beyond_with_every_mean_within_is_unnamed(limits: Limits) -> None:
    numbers = measure(BASE, BASE)
    loud = replace(numbers, families={**numbers.families, "sketch": 1.0})
    place = by_band(BASE, limits, loud)
    assert place is not None
    assert (place.state, place.how) == (None, "unnamed")


@pytest.mark.parametrize(("items", "named"), [(1, None), (2, "layer.1"), (26, "layer.1")])
def test_a_state_beyond_its_limit_in_one_text_alone_is_not_named(items: int, named: str | None, limits: Limits) -> None:
    noisy = observation(key(**BATCH), noise=1e-2, first_state=2)
    new = replace(noisy, items=(*noisy.items[:items], *BASE.items[items:]))
    place = by_band(new, limits)
    assert place is not None
    assert (place.state, place.item_id) == (named, "p0:continuation")
    assert (named is not None) or "in p0:continuation alone" in place.reason


def test_an_embedding_beyond_its_limit_in_one_text_is_named_for_nothing_comes_before_it(limits: Limits) -> None:
    noisy = observation(key(**BATCH), noise=1e-2, first_state=0)
    place = by_band(replace(noisy, items=(noisy.items[0], *BASE.items[1:])), limits)
    assert place is not None
    assert place.state == "embedding"


@pytest.mark.parametrize("state", range(len(STATES)))
def test_bits_name_the_first_state_of_any_item(state: int) -> None:
    place = place_by_bits(BASE, observation(noise=1e-6, first_state=state))
    assert place is not None
    assert (place.state, place.how, place.row) == (STATES[state], "bits", 0)


def test_bits_of_the_logits_alone_are_the_head() -> None:
    place = place_by_bits(BASE, observation(noise=1e-3, logits_only=True))
    assert place is not None
    assert place.state == HEAD
    assert place.item_id is not None


def test_a_digest_that_differs_in_the_context_alone_names_the_item_and_no_token() -> None:
    items = list(BASE.items)
    items[2] = replace(items[2], state_digests=(*items[2].state_digests[:3], "x", items[2].state_digests[4]))
    place = place_by_bits(BASE, replace(BASE, items=tuple(items)))
    assert place is not None
    assert (place.state, place.item_id, place.row, place.token_id) == ("layer.2", items[2].item_id, None, None)


def test_equal_bits_have_no_place() -> None:
    assert place_by_bits(BASE, observation()) is None
