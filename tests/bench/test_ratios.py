"""Ratios are taken within rounds; intervals hold their median and shrink with what is repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.bench.ratios import estimate, paired, peak_ratios, probe_share
from support.benchmarks import block, run


def test_no_values_give_no_estimate() -> None:
    assert estimate([]) is None


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=20))
def test_the_interval_holds_the_median_and_lies_within_the_values(values: list[float]) -> None:
    found = estimate(values)
    assert found is not None
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.count == len(values)
    assert estimate(values) == found


def test_a_slow_round_slows_both_sides_and_changes_no_ratio() -> None:
    rounds = [
        (run("plain", number, slow * 1.0), run("standard", number, slow * 1.02))
        for number, slow in enumerate((1, 9, 2))
    ]
    ratios = paired([block([one for pair in rounds for one in pair])], "standard", "total", "cpu")
    assert ratios == pytest.approx([1.02] * 3)


def test_rounds_of_unlike_processes_are_not_mixed() -> None:
    slow = block([run("plain", 0, 10.0), run("flags", 0, 11.0)])
    fast = block([run("flags", 0, 1.2), run("plain", 0, 1.0)])
    assert paired([slow, fast], "flags", "generate", "wall") == pytest.approx([1.1, 1.2])


def test_a_round_without_its_partner_gives_no_ratio() -> None:
    assert paired([block([run("plain", 0, 1.0), run("flags", 1, 1.0)])], "flags", "total", "cpu") == []


def test_phases_add_up() -> None:
    one = run("standard", 0, 4.0, prefill=1.0, assemble=0.5)
    parts = [one.seconds(phase, "cpu") for phase in ("prefill", "decode", "generate", "total")]
    assert parts == [1.0, 3.0, 4.0, 4.5]


def test_the_probes_own_time_is_a_share_of_the_rest() -> None:
    assert probe_share([block([run("standard", 0, 2.0, probes=0.5)])], "standard") == pytest.approx([1 / 3])
    assert probe_share([block([run("plain", 0, 2.0)])], "plain") == []


def test_peaks_are_compared_turn_by_turn() -> None:
    made = block([run("plain", 0, 1.0)], peaks=[("plain", 100), ("full", 110), ("full", 240), ("plain", 200)])
    assert peak_ratios([made], "full") == pytest.approx([1.1, 1.2])
    assert peak_ratios([made], "flags") == []
