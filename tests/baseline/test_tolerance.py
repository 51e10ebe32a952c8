"""Tolerance: floors learned by axis, limits ten times as far, and nothing known where nothing was recorded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.baseline.distances import FAMILIES
from model_health.baseline.key import Axis
from model_health.baseline.numbers import measure
from model_health.baseline.tolerance import FACTOR, TOLERATED, Tolerance, learn
from model_health.errors import CouldNotMeasure
from support.observations import STATES, key, observation, tolerance_of, with_item

BATCH, THREADS = {"batch_size": 1}, {"threads": 2}
FLOOR = tolerance_of(observation(), [BATCH]).floors[0]


@pytest.fixture(scope="module")
def learned() -> Tolerance:
    return tolerance_of(observation(), [BATCH, THREADS])


def test_a_limit_is_ten_times_the_largest_recorded_distance(learned: Tolerance) -> None:
    limits = learned.limits(("batch",))
    floor = next(floor for floor in learned.floors if floor.axes == ("batch",))
    assert floor.pairs == 3
    for family in ("logprob", "sketch", "norm", "entropy"):
        assert limits.families[family] == pytest.approx(FACTOR * max(floor.recorded[family]))  # type: ignore[index]
    assert limits.states == pytest.approx([FACTOR * value for value in floor.states])
    assert limits.golden_bits == pytest.approx(FACTOR * floor.golden_bits)


def test_a_flip_may_swing_by_twice_what_a_log_probability_may_move(learned: Tolerance) -> None:
    limits = learned.limits(("batch",))
    assert limits.families["flips"] == pytest.approx(2 * limits.families["logprob"])


def test_healthy_replays_that_were_not_recorded_stay_within(learned: Tolerance) -> None:
    base, limits = observation(), learned.limits(("batch",))
    for seed in range(500, 520):
        numbers = measure(base, observation(key(**BATCH), noise=1e-6, noise_seed=seed))
        assert limits.beyond(numbers) == ()
        assert max(limits.ratios(numbers).values()) < 0.5


@pytest.mark.parametrize("size", [1e-4, 1e-2])
def test_what_is_a_hundred_times_larger_is_beyond(learned: Tolerance, size: float) -> None:
    numbers = measure(observation(), observation(key(**BATCH), noise=size))
    assert {"logprob", "sketch", "norm", "entropy"} <= set(learned.limits(("batch",)).beyond(numbers))


def test_several_axes_at_once_have_the_largest_of_their_floors(learned: Tolerance) -> None:
    one, other, both = (learned.limits(axes) for axes in (("batch",), ("threads",), ("batch", "threads")))
    for family in FAMILIES:
        assert both.families[family] == max(one.families[family], other.families[family])
    assert both.states == tuple(max(pair) for pair in zip(one.states, other.states, strict=True))
    # Were the errors of all axes to add up, the limit would still hold them.
    assert len(TOLERATED) <= FACTOR


def test_a_pair_that_differs_in_two_axes_teaches_nothing_of_either_alone() -> None:
    both = tolerance_of(observation(), [BATCH | THREADS])
    assert both.unrecorded(("batch",)) == ("batch",)
    assert both.unrecorded(("batch", "threads")) == ()


def test_an_axis_that_nobody_recorded_is_named(learned: Tolerance) -> None:
    assert learned.unrecorded(("attention_backend", "batch")) == ("attention_backend",)
    with pytest.raises(CouldNotMeasure, match=r"across attention_backend \(record replays"):
        learned.limits(("attention_backend", "batch"))
    with pytest.raises(CouldNotMeasure, match="the same configuration"):
        Tolerance(dtype="float32").limits(())


def test_floors_survive_being_stored(learned: Tolerance) -> None:
    assert Tolerance.model_validate(json.loads(json.dumps(learned.model_dump(mode="json")))) == learned


@given(axes=st.lists(st.sampled_from(TOLERATED), unique=True, max_size=4))
@settings(max_examples=30, deadline=None)
def test_more_recorded_axes_never_make_a_limit_tighter(axes: list[Axis]) -> None:
    # The floors of all axes are one axis's here: what counts is how limits combine.
    floors = tuple(
        FLOOR.model_copy(update={"axes": (axis,), "families": {f: v * (n + 1) for f, v in FLOOR.families.items()}})
        for n, axis in enumerate(TOLERATED)
    )
    tolerance = Tolerance(dtype="float32", floors=floors)
    for axis in axes:
        single, whole = tolerance.limits((axis,)), tolerance.limits(axes)
        assert all(whole.families[family] >= single.families[family] for family in FAMILIES)


def test_where_all_recorded_pairs_were_equal_rounding_is_the_floor() -> None:
    base = observation()
    silent = learn([(base, observation(key(**BATCH)))], dtype="float32")
    assert silent.repeats_bits
    limits = silent.limits(("batch",)).families
    assert limits["norm"] == limits["sketch"] == pytest.approx(FACTOR * 2.0**-24)
    half = silent.model_copy(update={"dtype": "bfloat16"})
    assert half.limits(("batch",)).families["norm"] == pytest.approx(FACTOR * 2.0**-8)


def test_pairs_that_happened_to_round_alike_leave_room_for_one_unit_of_the_values_that_lie_apart() -> None:
    base = observation()
    limits = learn([(base, observation(key(**BATCH)))], dtype="float32").limits(("batch",)).families
    one_unit = float(np.spacing(np.float32(15.9)))
    assert one_unit < limits["entropy"] == limits["logprob"] == limits["kl"] < 20 * one_unit


def test_a_state_that_never_moved_keeps_an_exact_floor_among_others_that_did() -> None:
    base = observation(key(dtype="bfloat16"))
    moved = observation(key(dtype="bfloat16", **BATCH), noise=1e-3, first_state=1)
    limits = learn([(base, moved)], dtype="bfloat16").limits(("batch",))
    assert limits.states[0] == pytest.approx(FACTOR * 2.0**-24)
    assert len(limits.states) == len(STATES)


def test_a_device_that_does_not_repeat_itself_has_a_floor_of_its_own() -> None:
    base = observation()
    unsteady = learn([(base, observation(noise=1e-6))], dtype="float32")
    assert not unsteady.repeats_bits
    assert unsteady.limits(()).families["logprob"] > 0.0
    assert learn([(base, base)], dtype="float32").repeats_bits


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"weights_digest": "sha256:other"}, "weights"),
        ({"config_digest": "sha256:other"}, "config"),
        ({"quantization": "int8"}, "quantization"),
        ({"suite_digest": "other"}, "suite"),
    ],
)
def test_another_model_or_suite_teaches_nothing(changes: dict[str, str], named: str) -> None:
    with pytest.raises(CouldNotMeasure, match=f"differs in {named}"):
        learn([(observation(), observation(key(**changes), noise=1e-6))], dtype="float32")


def test_another_dtype_is_an_axis_although_it_rounds_the_weights() -> None:
    other = key(dtype="bfloat16", weights_digest="sha256:rounded")
    learned = learn([(observation(), observation(other, noise=1e-3))], dtype="float32")
    assert [floor.axes for floor in learned.floors] == [("dtype",)]
    with pytest.raises(CouldNotMeasure, match="starts from bfloat16"):
        learn([(observation(other), observation(other))], dtype="float32")


def test_nothing_is_learned_from_nan() -> None:
    base = observation()
    broken = with_item(observation(key(**BATCH)), 0, logits_non_finite=1)
    with pytest.raises(CouldNotMeasure, match="not finite"):
        learn([(base, broken)], dtype="float32")


def test_no_pairs_teach_nothing() -> None:
    assert learn([], dtype="float32").floors == ()
