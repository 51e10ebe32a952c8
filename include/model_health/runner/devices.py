"""Where a model runs: which device a request means, and what that device is.

Knows nothing of models. A device that was asked for and is absent is an error, never a silent fall back to the CPU:
a canary that moved to another device measures another system.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from model_health.errors import ConfigError
from model_health.host import cpu_name, memory_bytes

_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class DeviceFacts:
    """What a device is. A field that cannot be known on this platform is None.

    `torch_device` is `cpu` or `cuda:N`; `kind` is `cpu` or `cuda`; `uuid` is the GPU's own (`GPU-...`), so that two
    cards of one name stay apart; `cores` are the CPU cores that this process may use; `compute_capability` is CUDA's.
    """

    kind: str
    torch_device: str
    name: str
    uuid: str | None
    cores: int | None
    memory_bytes: int | None
    driver_version: str | None
    compute_capability: str | None


def resolve_device(requested: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that exists.

    Raises:
        ConfigError: the name is none of these, or the device is not there.
    """
    if requested == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if requested == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", requested)
    if match is None:
        raise ConfigError("not a device", subject=f"device {requested!r}", hint="use auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "torch sees no usable GPU"
        raise ConfigError(f"CUDA is not available: {why}", subject=f"device {requested!r}", hint="use auto or cpu")
    index, count = int(match[1] or 0), torch.cuda.device_count()
    if index >= count:
        raise ConfigError(f"there are only {count} GPUs", subject=f"device {requested!r}", hint="counting starts at 0")
    return torch.device("cuda", index)


def check_quantization(quantization: str, device: torch.device) -> None:
    """Refuse int8 and int4 where they cannot run: bitsandbytes needs CUDA, and must be installed.

    Raises:
        ConfigError: with what is missing.
    """
    if quantization == "none":
        return
    if device.type != "cuda":
        raise ConfigError(
            "bitsandbytes quantises on CUDA only, and this run is on the CPU",
            subject=f"quantization {quantization!r}",
            hint="set device to cuda on a machine that has one, or quantization to none",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "bitsandbytes is not installed",
            subject=f"quantization {quantization!r}",
            hint="install bitsandbytes, or set quantization to none",
        )


def describe_device(device: torch.device) -> DeviceFacts:
    """Collect the facts of a device that `resolve_device` returned."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        uuid = getattr(properties, "uuid", None)  # absent in builds for other vendors' cards
        return DeviceFacts(
            kind="cuda",
            torch_device=str(device),
            name=properties.name,
            uuid=None if uuid is None else f"GPU-{uuid}",
            cores=None,
            memory_bytes=int(properties.total_memory),
            driver_version=driver_version(),
            compute_capability=f"{properties.major}.{properties.minor}",
        )
    return DeviceFacts(
        kind="cpu",
        torch_device="cpu",
        name=cpu_name(),
        uuid=None,
        cores=_usable_cores(),
        memory_bytes=memory_bytes(),
        driver_version=None,
        compute_capability=None,
    )


def driver_version(file: Path = _DRIVER) -> str | None:
    """The NVIDIA kernel driver's version; None where the kernel module does not publish it."""
    if not file.is_file():
        return None
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", file.read_text(errors="replace"))
    return found[1] if found else None


def use_threads(threads: int | None) -> int:
    """Set how many threads torch uses inside an operation (process-wide), and return the number in force.

    None leaves the choice to torch. The number belongs to a run's identity: it changes the order of sums.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
