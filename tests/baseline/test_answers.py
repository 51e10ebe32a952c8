"""The seven answers, each with its evidence, and the order in which they are ruled out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.baseline.answers import cannot_load, compare
from model_health.baseline.comparison import Comparison
from model_health.baseline.flag_changes import flag_change
from model_health.baseline.key import AXES
from model_health.baseline.observations import ReplayObservation
from model_health.baseline.tolerance import Tolerance, learn
from model_health.config.regression import Answer, RegressionStatistics
from support.observations import key, observation, tolerance_of, with_item

STATISTICS = RegressionStatistics()
BATCH = {"batch_size": 1}
BASE = observation()
LEARNED = tolerance_of(BASE, [BATCH, {"threads": 2}])
NOTHING = Tolerance(dtype="float32")


def answer(new: ReplayObservation, tolerance: Tolerance = LEARNED, base: ReplayObservation = BASE) -> Comparison:
    comparison = compare(base, new, tolerance, statistics=STATISTICS)
    json.dumps(comparison.to_json(), allow_nan=False)  # evidence is JSON, whatever the answer
    assert comparison.reason
    return comparison


def test_the_same_key_and_the_same_bits_are_identical_without_any_tolerance() -> None:
    found = answer(observation(), NOTHING)
    assert (found.answer, found.moved, found.place) == (Answer.IDENTICAL, False, None)
    assert found.numbers is not None
    assert set(found.numbers.families.values()) == {0.0}


@given(seed=st.integers(0, 1000), prompts=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_any_replay_is_identical_to_itself(seed: int, prompts: int) -> None:
    seen = observation(seed=seed, prompts=prompts)
    assert answer(seen, NOTHING, base=observation(seed=seed, prompts=prompts)).answer is Answer.IDENTICAL


def test_one_other_bit_under_the_same_key_is_changed_and_placed() -> None:
    digests = ("x", *BASE.items[4].state_digests[1:])
    found = answer(with_item(observation(), 4, state_digests=digests))
    assert found.answer is Answer.CHANGED
    assert found.same_key_differs
    assert found.place is not None
    assert (found.place.state, found.place.how, found.place.item_id) == ("embedding", "bits", BASE.items[4].item_id)


@pytest.mark.parametrize("state", [1, 3])
def test_the_same_key_names_the_first_state_that_differs(state: int) -> None:
    found = answer(observation(noise=1e-6, first_state=state))
    assert found.answer is Answer.CHANGED
    assert found.place is not None
    assert found.place.state == BASE.state_names[state]
    assert "numerically different" in found.reason


def test_the_same_key_with_too_few_prompts_is_still_changed() -> None:
    small = observation(prompts=1, passages=0)
    found = answer(observation(prompts=1, passages=0, noise=1e-6), base=small)
    assert found.answer is Answer.CHANGED


def test_noise_of_a_recorded_axis_is_equivalent() -> None:
    found = answer(observation(key(**BATCH), noise=1e-6, noise_seed=77))
    assert (found.answer, found.axes, found.moved) == (Answer.EQUIVALENT, ("batch",), False)
    assert found.ratios is not None
    assert max(found.ratios.values()) < 1.0
    assert "not distinguishable from harmless variation of batch" in found.reason


def test_equal_bits_under_another_key_are_equivalent_whatever_was_recorded() -> None:
    found = answer(observation(key(attention_backend="eager")), NOTHING)
    assert found.answer is Answer.EQUIVALENT
    assert "bit-equal under another attention_backend" in found.reason
    resaved = answer(observation(key(weights_digest="sha256:other")), NOTHING)
    assert resaved.answer is Answer.EQUIVALENT
    assert resaved.weights_differ


def test_a_disturbance_beyond_tolerance_that_harms_nothing_is_changed() -> None:
    found = answer(observation(key(**BATCH), noise=1e-3, first_state=2))
    assert found.answer is Answer.CHANGED
    assert found.harm is not None
    assert found.harm.not_worse
    assert {"logprob", "sketch"} <= set(found.beyond)
    assert found.place is not None
    assert (found.place.state, found.place.how) == ("layer.1", "band")


def test_golden_text_that_got_worse_is_degraded_with_an_interval() -> None:
    found = answer(observation(key(**BATCH), worse=1.0))
    assert found.answer is Answer.DEGRADED
    assert found.harm is not None
    assert found.harm.effect is not None
    assert found.harm.effect.low > STATISTICS.golden_margin_bits
    assert found.harm.worst


def test_a_temperature_flips_no_token_and_is_seen_nonetheless() -> None:
    found = answer(observation(key(**BATCH), temperature=0.7))
    assert found.numbers is not None
    assert found.numbers.flips == 0
    assert found.moved
    assert found.place is not None
    assert found.place.state == "head"


def test_beyond_tolerance_with_undecided_harm_is_inconclusive_and_says_how_many_prompts_decide() -> None:
    found = answer(observation(key(**BATCH), prompts=2, passages=0, worse=1.0), base=observation(prompts=2, passages=0))
    assert (found.answer, found.moved) == (Answer.INCONCLUSIVE, True)
    assert found.needed is not None
    assert found.needed > 2
    assert f"{found.needed} prompts would decide" in found.reason


def test_an_axis_that_nobody_recorded_is_inconclusive_and_says_what_to_record() -> None:
    found = answer(observation(key(attention_backend="eager"), noise=1e-6))
    assert (found.answer, found.moved, found.unrecorded) == (Answer.INCONCLUSIVE, None, ("attention_backend",))
    assert "record one" in found.reason


def test_harm_needs_no_recorded_tolerance() -> None:
    found = answer(observation(key(attention_backend="eager"), worse=1.0))
    assert found.answer is Answer.DEGRADED
    assert "never recorded" in found.reason


def test_a_tolerance_for_another_dtype_does_not_count() -> None:
    half = learn([(observation(key(dtype="bfloat16")),) * 2], dtype="bfloat16")
    assert answer(observation(key(**BATCH), noise=1e-6), half).unrecorded == ("batch",)


def test_other_weights_in_the_same_configuration_are_held_to_the_bit() -> None:
    found = answer(observation(key(weights_digest="sha256:tuned"), noise=1e-7))
    assert found.answer is Answer.CHANGED
    assert not found.same_key_differs


def test_a_device_that_does_not_repeat_its_bits_is_held_to_its_own_floor() -> None:
    unsteady = learn([(BASE, observation(noise=1e-6, noise_seed=s)) for s in (5, 6, 7)], dtype="float32")
    assert answer(observation(noise=1e-6, noise_seed=8), unsteady).answer is Answer.EQUIVALENT
    assert answer(observation(noise=1e-2, noise_seed=8), unsteady).moved


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"suite_digest": "x"}, "suite"), ({"tokenizer_digest": "x"}, "tokenizer"), ({"sketch_seed": 7}, "sketch")],
)
def test_another_suite_tokenizer_or_projection_is_not_comparable(changes: dict[str, object], named: str) -> None:
    found = answer(observation(key(**changes)))
    assert (found.answer, found.numbers) == (Answer.NOT_COMPARABLE, None)
    assert named in found.reason
    assert named in AXES


def test_other_tokens_are_not_comparable_and_a_baseline_with_nan_is_none() -> None:
    other = with_item(observation(), 0, token_ids=BASE.items[0].token_ids + 1)
    assert answer(other).answer is Answer.NOT_COMPARABLE
    found = answer(observation(), base=with_item(BASE, 0, logits_non_finite=3))
    assert found.answer is Answer.NOT_COMPARABLE
    assert "the baseline itself is not finite" in found.reason


def test_infinite_states_behind_finite_logits_are_broken() -> None:
    counts = np.zeros(len(BASE.state_names), dtype=np.int32)
    counts[2] = 5
    found = answer(with_item(observation(), 3, non_finite=counts))
    assert found.answer is Answer.BROKEN
    assert found.non_finite is not None
    assert (found.non_finite.state, found.non_finite.item_id) == ("layer.1", BASE.items[3].item_id)


ARRAYS = ("logprobs", "entropy_bits", "norms", "sketches", "top_logprobs", "reference_logprobs")


@given(
    name=st.sampled_from(ARRAYS),
    item=st.integers(0, len(BASE.items) - 1),
    at=st.integers(0, 10_000),
    value=st.sampled_from([np.nan, np.inf]),
    axis=st.sampled_from([{}, BATCH, {"suite_digest": "x"}, {"weights_digest": "x"}, {"driver": "y"}]),
)
@settings(max_examples=60, deadline=None)
def test_nan_or_infinity_anywhere_is_broken_under_any_key(
    name: str, item: int, at: int, value: float, axis: dict[str, object]
) -> None:
    values = np.array(getattr(BASE.items[item], name))
    values.flat[at % values.size] = value
    changed = replace(with_item(BASE, item, **{name: values}), key=key(**axis))
    assert compare(BASE, changed, LEARNED, statistics=STATISTICS).answer is Answer.BROKEN


def test_loops_on_many_prompts_that_had_none_are_broken_although_replay_agrees() -> None:
    prompts = [f"p{n}" for n in range(20)]
    loops = flag_change("loop_detected", prompts, (), prompts[:12], level=0.01)
    found = compare(BASE, observation(), LEARNED, statistics=STATISTICS, flags=[loops])
    assert found.answer is Answer.BROKEN
    assert "loop_detected on 12 prompts" in found.reason
    few = flag_change("loop_detected", prompts, (), prompts[:2], level=0.01)
    assert compare(BASE, observation(), LEARNED, statistics=STATISTICS, flags=[few]).answer is Answer.IDENTICAL


def test_a_model_that_does_not_load_is_broken() -> None:
    found = cannot_load("model.safetensors is truncated", statistics=STATISTICS)
    assert found.answer is Answer.BROKEN
    assert "truncated" in found.reason
    json.dumps(found.to_json(), allow_nan=False)


def test_more_models_in_a_night_ask_for_no_less_evidence() -> None:
    one, many = (compare(BASE, observation(), LEARNED, statistics=STATISTICS, models=models) for models in (1, 100))
    # Screening divides by all hypotheses; the level itself never exceeds the budget.
    assert max(one.level, many.level) <= 1 / STATISTICS.nights_per_false_page
    assert set(one.p_values) >= {"golden"}
