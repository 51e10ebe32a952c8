"""A project with a tiny model that has a promoted baseline, and candidates that differ from it, for comparisons."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from model_health.baseline.document import Provenance
from model_health.config.settings import Settings
from model_health.runner.canary import run_canaries, utc_now
from model_health.runner.compare_candidate import CandidateChoices
from model_health.runner.compare_run import CompareRequest, compare_candidate
from model_health.runner.replay_baseline import BaselineRequest, create_baseline
from model_health.runner.request import RunRequest
from support.projects import tiny_project

REPOSITORY = Path(__file__).resolve().parents[2]
ME = Provenance(by="me", reason="a test")
WORDS = ["rain", "snow", "wind", "sun", "moon", "star", "tree", "leaf", "bird", "fish", "bread", "salt"]
PROMPTS = [{"id": word, "text": f"The {word} is", "golden": f" a {word} like any other"} for word in WORDS]
"""Twelve prompts with golden text: the fewest that can show harm at the shipped alarm budget are nine."""


def accepted_project(home: Path, *, prompts: list[dict[str, Any]] = PROMPTS, **fields: Any) -> Settings:
    """A project whose model `tiny` has a promoted baseline on `smoke`, made of the run `night-0`."""
    settings = tiny_project(home, prompts=prompts, batch_size=4, **fields)
    for name in ("gates.yaml", "sinks.yaml"):
        shutil.copy(REPOSITORY / "configs" / name, home / "configs")
    run_canaries(RunRequest(model="tiny", run_id="night-0"), settings)
    create_baseline(BaselineRequest("tiny", ME, promote=True), settings, say=lambda line: None, clock=utc_now)
    return settings


def candidate_of(settings: Settings, name: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of the tiny model's folder, with its weights changed in place."""
    folder = settings.home / "weights" / name
    shutil.copytree(settings.home / "weights" / "tiny", folder)
    change_weights(folder, change)
    return folder


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the weights of a model folder."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip


def last_bit(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    """Flip the last bit of the first number of one weight."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[name].view(-1).view(torch.int32)[0] ^= 1

    return change


def round_trip(bits: int) -> Callable[[dict[str, torch.Tensor]], None]:
    """Quantise every matrix to so many bits, row by row, symmetrically, and widen it again."""
    most = 2 ** (bits - 1) - 1

    def change(weights: dict[str, torch.Tensor]) -> None:
        for name, weight in weights.items():
            if weight.ndim == 2:
                scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / most
                weights[name] = (weight / scale).round().clamp(-most, most) * scale

    return change


def compared(settings: Settings, candidate: Path | str | None, purpose: Any = "promotion", **choices: Any) -> Any:
    """What `model-health compare` puts on record."""
    named = None if candidate is None else str(candidate)
    request = CompareRequest("tiny/smoke", named, purpose, CandidateChoices(**choices))
    return compare_candidate(request, settings, say=lambda line: None, clock=utc_now)
