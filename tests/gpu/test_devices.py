"""On a GPU: parity in float32 and bfloat16, waits and launches by the profiler, static cache, children, no leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import device_checks

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-tiny", "t5-tiny"])
def test_the_numbers_are_those_of_transformers(name: str, dtype: str, device: str) -> None:
    device_checks.check_parity(name, device, dtype)


def test_a_static_cache_is_measured_uncompiled(device: str) -> None:
    device_checks.check_static_cache(device)


def test_two_models_in_turn_leave_nothing_behind(device: str) -> None:
    device_checks.check_two_models_in_turn(device)


def test_a_child_has_the_gpu_to_itself(device: str, tmp_path: Path) -> None:
    device_checks.check_child(device, tmp_path)


def test_the_profiler_sees_no_wait_and_few_launches_per_step(device: str) -> None:
    device_checks.check_steps(device, most_launches=60)
