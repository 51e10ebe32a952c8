"""The checks of the GPU tests, with the same code on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import device_checks


@pytest.mark.parametrize(
    ("name", "dtype"), [("llama-tiny", "float32"), ("t5-tiny", "float32"), ("gpt2-tiny", "bfloat16")]
)
def test_the_numbers_are_those_of_transformers(name: str, dtype: str) -> None:
    device_checks.check_parity(name, "cpu", dtype)


def test_a_static_cache_gives_the_same_numbers() -> None:
    device_checks.check_static_cache("cpu")


def test_two_models_in_turn_leave_nothing_behind() -> None:
    device_checks.check_two_models_in_turn("cpu")


@pytest.mark.slow
def test_a_child_measures_and_leaves_this_process_alone(tmp_path: Path) -> None:
    device_checks.check_child("cpu", tmp_path)


def test_the_profiler_sees_no_wait_per_step() -> None:
    device_checks.check_steps("cpu", most_launches=60)
