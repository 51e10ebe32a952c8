"""Observations: bits, their first difference, what is finite."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model_health.baseline.observations import bit_equal, first_difference
from support.replays import made_up, made_up_item


def test_equal_digests_are_equal_bits_whatever_the_rest() -> None:
    one = made_up()
    other = replace(one, cpu_seconds=9.0, items=tuple(replace(item, group="other") for item in one.items))
    assert bit_equal(one, other)
    assert not bit_equal(one, replace(one, items=one.items[:1]))


def test_other_tokens_are_other_bits() -> None:
    one, item = made_up(), made_up_item()
    assert not bit_equal(one, made_up(replace(item, token_ids=item.token_ids + 1), one.items[1]))


def test_the_first_state_that_differs_is_named() -> None:
    item = made_up_item()
    assert first_difference(item, item) is None
    later = replace(item, state_digests=(item.state_digests[0], "a", "b"), logits_digest="c")
    assert first_difference(item, later) == 1
    assert first_difference(item, replace(item, logits_digest="c")) == 3


def test_one_infinite_state_makes_an_item_not_finite() -> None:
    item = made_up_item()
    assert item.is_finite
    assert not replace(item, non_finite=np.asarray([0, 1, 0], np.int32)).is_finite
    assert not replace(item, logits_non_finite=1).is_finite
    assert not replace(item, logprobs=item.logprobs * np.float32(np.nan)).is_finite
    assert not made_up(item, replace(item, item_id="b:golden", logits_non_finite=1)).is_finite


def test_items_are_found_by_id_and_kind() -> None:
    seen = made_up()
    assert seen.by_id["one:golden"] is seen.items[1]
    assert [item.item_id for item in seen.of_kind("golden")] == ["one:golden"]
    assert seen.tokens == 12
