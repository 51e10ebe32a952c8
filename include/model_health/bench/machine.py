"""What a result must say of where and on what it was measured: machine, versions, commit, date."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from model_health import __version__
from model_health.bench.records import Machine
from model_health.runner.devices import describe_device

PACKAGES = ("torch", "transformers", "numpy", "pydantic", "great-expectations", "apache-airflow")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine(device: torch.device) -> Machine:
    """The machine, and the GPU if the device is one."""
    host = describe_device(torch.device("cpu"))
    gpu = describe_device(device) if device.type == "cuda" else None
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=host.name,
        cores=host.cores,
        memory_bytes=host.memory_bytes,
        gpu=gpu.name if gpu else None,
        gpu_memory_bytes=gpu.memory_bytes if gpu else None,
        driver=gpu.driver_version if gpu else None,
    )


def versions() -> dict[str, str]:
    """Python, this library, and those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version(), "model-health": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the code that runs, with `+` where files differ from it; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    name = git("rev-parse", "--short=12", "HEAD")
    if name is None:
        return None
    return name + ("+" if git("status", "--porcelain", "--", str(here.parent)) else "")


def load_average() -> tuple[float, float, float] | None:
    """How busy the machine is, where the system says so."""
    try:
        return os.getloadavg()
    except (AttributeError, OSError):
        return None
