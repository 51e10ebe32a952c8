"""Worse, not worse, or undecided: what golden text proves, and what it would take."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model_health.baseline.golden import Harm, judge_harm
from model_health.config.regression import RegressionStatistics

STATISTICS = RegressionStatistics()


def judge(values: list[float], *, level: float = 0.01, margin: float = 0.02) -> Harm:
    return judge_harm({f"p{n}": value for n, value in enumerate(values)}, STATISTICS, level=level, margin=margin)


def drawn(mean: float, sd: float, count: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(mean, sd, count).tolist()


def test_half_a_bit_on_every_prompt_is_worse() -> None:
    harm = judge(drawn(0.5, 0.2, 24))
    assert harm.worse
    assert not harm.undecided
    assert harm.effect is not None
    assert harm.effect.low > 0.02
    assert harm.worst[0][1] == max(bits for _, bits in harm.worst)
    assert "+0.5" in str(harm)


def test_a_thousandth_of_a_bit_is_not_worse_even_where_it_is_significant() -> None:
    harm = judge([0.001] * 30)
    assert harm.not_worse
    assert harm.p > 0.5


def test_what_is_significantly_worse_but_within_the_margin_is_no_harm() -> None:
    harm = judge(drawn(0.01, 0.002, 40), margin=0.02)
    assert (harm.worse, harm.not_worse) == (False, True)
    assert judge(drawn(0.01, 0.002, 40), margin=0.005).worse


def test_a_wide_interval_is_undecided_and_says_how_many_prompts_would_decide() -> None:
    harm = judge(drawn(0.05, 0.4, 24))
    assert harm.undecided
    assert harm.needed is not None
    assert harm.needed > 24
    assert f"{harm.needed} prompts would decide" in str(harm)


def test_as_many_prompts_as_it_asked_for_do_decide() -> None:
    few = judge(drawn(0.3, 0.4, 6))
    assert few.undecided
    assert few.needed is not None
    assert few.effect is not None
    again = [judge(drawn(few.effect.mean, few.effect.sd, few.needed, seed)) for seed in range(100)]
    assert sum(harm.worse for harm in again) >= 65  # the stated power is 80


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_prompts_prove_nothing_either_way(count: int) -> None:
    assert judge([0.0] * count).undecided
    assert judge([5.0] * count).undecided


def test_without_golden_text_it_names_the_fewest_prompts_that_can_decide() -> None:
    harm = judge([])
    assert harm.undecided
    assert harm.needed == 7
    assert "no golden text; 7 prompts" in str(harm)


def test_an_effect_on_the_margin_is_never_decided() -> None:
    harm = judge([0.0, 0.04] * 3)
    assert harm.undecided
    assert harm.needed is None
    assert "no number of prompts" in str(harm)


def test_better_is_not_worse() -> None:
    assert judge(drawn(-0.5, 0.2, 10)).not_worse


def test_false_alarms_are_no_more_than_the_level() -> None:
    alarms = sum(judge(drawn(0.02, 0.3, 12, seed), level=0.05).worse for seed in range(600))
    assert alarms / 600 <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 600)


@pytest.mark.parametrize("values", [[], [0.1], [0.1] * 9])
def test_it_is_json_whatever_it_came_to(values: list[float]) -> None:
    content = json.loads(json.dumps(judge(values).to_json(), allow_nan=False))
    assert content["margin"] == 0.02
