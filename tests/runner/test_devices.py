from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from model_health.errors import ConfigError, ExitCode
from model_health.runner.devices import (
    check_quantization,
    describe_device,
    driver_version,
    resolve_device,
    use_threads,
)


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(name="Card", uuid="0000-11", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)


@pytest.mark.usefixtures("no_cuda")
def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert resolve_device("auto") == torch.device("cpu")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("requested", "device"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")]
)
def test_a_gpu_is_taken_where_there_is_one(requested: str, device: str) -> None:
    assert str(resolve_device(requested)) == device


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize("requested", ["cuda", "cuda:0"])
def test_cuda_that_is_absent_never_falls_back_to_the_cpu(requested: str) -> None:
    with pytest.raises(ConfigError, match="CUDA is not available") as caught:
        resolve_device(requested)
    assert caught.value.exit_code == ExitCode.BAD_INPUT


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_beyond_the_last_is_refused() -> None:
    with pytest.raises(ConfigError, match="only 2 GPUs"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("requested", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "mps", "CPU"])
def test_what_is_no_device_is_refused(requested: str) -> None:
    with pytest.raises(ConfigError, match="not a device"):
        resolve_device(requested)


def test_no_quantisation_needs_nothing() -> None:
    check_quantization("none", torch.device("cpu"))


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_quantisation_needs_cuda(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"quantization '{kind}': bitsandbytes quantises on CUDA only"):
        check_quantization(kind, torch.device("cpu"))


def test_quantisation_needs_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="bitsandbytes is not installed"):
        check_quantization("int4", torch.device("cuda", 0))


def test_the_cpu_is_described_by_name_cores_and_memory() -> None:
    facts = describe_device(torch.device("cpu"))
    assert (facts.kind, facts.torch_device, facts.uuid, facts.driver_version) == ("cpu", "cpu", None, None)
    assert facts.name
    assert facts.cores is not None
    assert 1 <= facts.cores <= (os.cpu_count() or 1)
    assert facts.memory_bytes is not None
    assert facts.memory_bytes > 2**28


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_described_by_name_uuid_and_memory() -> None:
    facts = describe_device(torch.device("cuda", 1))
    assert (facts.kind, facts.torch_device, facts.name, facts.uuid) == ("cuda", "cuda:1", "Card", "GPU-0000-11")
    assert (facts.memory_bytes, facts.compute_capability) == (80 * 2**30, "9.0")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Feb 17\n", "535.161.08"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\n", "550.54.15"),
        ("something else\n", None),
    ],
)
def test_the_driver_version_is_read_from_the_kernel_module(text: str, version: str | None, tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text(text)
    assert driver_version(file) == version
    assert driver_version(tmp_path / "absent") is None


def test_threads_are_set_only_if_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        assert use_threads(None) == before
        assert use_threads(3) == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
