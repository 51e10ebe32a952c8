from __future__ import annotations

import mmap
import time
from pathlib import Path

import pytest
import torch

from model_health.runner import memory
from model_health.runner.memory import PeakMemory

CPU = torch.device("cpu")
MIB = 2**20


def touch(mib: int) -> None:
    """Use fresh pages and give them back; what an allocator hands out may have been this process's all along."""
    with mmap.mmap(-1, mib * MIB) as pages:
        pages[:: mmap.PAGESIZE] = b"1" * (mib * MIB // mmap.PAGESIZE)
        time.sleep(0.02)  # a thread that samples must have its turn


def added(peak: PeakMemory) -> int:
    assert peak.peak_bytes is not None
    assert peak.start_bytes is not None
    return (peak.peak_bytes - peak.start_bytes) // MIB


@pytest.fixture(params=["high_water", "sampled"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Both ways to measure; the second is what is left where the kernel's mark cannot be reset."""
    if request.param == "sampled":
        monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "absent" / "clear_refs")
        monkeypatch.setattr(memory, "SAMPLE_SECONDS", 0.0005)
    return f"process_{request.param}"


def test_a_peak_that_is_over_when_the_block_ends_is_seen(method: str) -> None:
    with PeakMemory(CPU) as peak:
        for _ in range(3):
            touch(200)
    assert peak.method == method
    assert 150 <= added(peak) <= 400


def test_a_peak_before_the_block_does_not_count(method: str) -> None:
    touch(400)
    with PeakMemory(CPU) as peak:
        touch(1)
    assert peak.method == method
    assert added(peak) < 200


def test_an_inner_block_hides_no_peak_from_the_outer_one(method: str) -> None:
    with PeakMemory(CPU) as outer:
        touch(300)
        with PeakMemory(CPU) as inner:
            touch(50)
    assert outer.method == inner.method == method
    assert added(outer) >= 250
    assert added(inner) < 200


def test_an_error_inside_ends_the_measurement_and_passes_through(method: str) -> None:
    peak = PeakMemory(CPU)
    with pytest.raises(KeyError), peak:
        raise KeyError(method)
    assert peak.peak_bytes is not None
    assert PeakMemory._open == []


def test_a_reset_that_has_no_effect_is_not_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("VmHWM:\t 900000 kB\nVmRSS:\t 100000 kB\n")
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", status)
    with PeakMemory(CPU) as peak:
        pass
    assert (peak.method, peak.peak_bytes) == ("process_sampled", 100000 * 1024)


def test_where_nothing_can_be_read_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "absent")
    with PeakMemory(CPU) as peak:
        touch(1)
    assert (peak.method, peak.peak_bytes, peak.start_bytes) == (None, None, None)


@pytest.mark.gpu
def test_on_a_gpu_the_allocator_tells() -> None:
    device = torch.device("cuda", 0)
    with PeakMemory(device) as peak:
        torch.ones(200 * MIB, dtype=torch.uint8, device=device)
    assert peak.method == "cuda_allocator"
    assert 200 <= added(peak) <= 220
