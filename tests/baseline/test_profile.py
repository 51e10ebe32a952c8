"""The two tables that travel with a comparison: states with their limits, prompts with their intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model_health.baseline.numbers import measure
from model_health.baseline.profile import Profile, profile_of
from model_health.baseline.tolerance import Tolerance
from support.observations import STATES, key, observation, tolerance_of, with_item

BASE = observation()
BATCHES = tolerance_of(BASE, [{"batch_size": 1}])


def profile(new: object, tolerance: Tolerance = BATCHES) -> Profile:
    return profile_of(BASE, new, measure(BASE, new), tolerance, confidence=0.95)  # type: ignore[arg-type]


def test_states_come_in_the_order_of_computation_with_the_limit_of_what_changed() -> None:
    found = profile(observation(key(batch_size=1), noise=1e-2, first_state=2))
    assert [state.name for state in found.states] == list(STATES)
    assert [state.limit for state in found.states] == list(BATCHES.limits(("batch",)).states)
    out = [state.name for state in found.states if state.limit is not None and state.mean > state.limit]
    assert out == ["layer.1", "layer.2", "final"]
    assert all(0.0 <= state.mean <= state.largest for state in found.states)
    assert found.why_unlimited is None


def test_under_the_same_key_any_distance_is_out_of_band() -> None:
    found = profile(observation(noise=1e-7, first_state=3))
    assert {state.limit for state in found.states} == {0.0}
    assert [state.mean > 0.0 for state in found.states] == [False, False, False, True, True]


def test_without_a_recorded_healthy_pair_there_is_no_limit_and_the_reason_says_which() -> None:
    found = profile(observation(key(attention_backend="eager"), noise=1e-3))
    assert {state.limit for state in found.states} == {None}
    assert found.why_unlimited is not None
    assert "another attention_backend is recorded" in found.why_unlimited


def test_each_prompt_and_kind_has_its_effect_with_an_interval() -> None:
    new = observation(worse=0.5)
    found = profile(new)
    assert [(one.prompt_id, one.kind) for one in found.prompts] == [
        *[(f"p{n}", kind) for n in range(12) for kind in ("continuation", "golden")],
        *[(f"passage:g{n}", "golden") for n in range(2)],
    ]
    golden = measure(BASE, new).golden
    for one in found.prompts:
        assert one.tokens == 6
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.surprisal_bits <= one.high
        if one.kind == "golden":
            assert one.surprisal_bits == pytest.approx(golden[one.prompt_id])
            assert one.surprisal_bits > 0.0


def test_a_single_token_has_no_interval_and_no_infinity_reaches_the_json() -> None:
    old, new = observation(prompts=1, passages=0, tokens=1), observation(prompts=1, passages=0, tokens=1, noise=0.1)
    found = profile_of(old, new, measure(old, new), Tolerance(dtype="float32"), confidence=0.95)
    assert [(one.low, one.high) for one in found.prompts] == [(None, None)] * 2
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["prompts"][0]["tokens"] == 1


def test_flips_are_counted_where_they_are() -> None:
    item = BASE.items[3]
    found = profile(with_item(BASE, 3, argmax_ids=(item.argmax_ids + np.int32(1)).astype(np.int32)))
    assert {one.prompt_id: one.flipped for one in found.prompts if one.flipped} == {item.prompt_id: item.tokens}
