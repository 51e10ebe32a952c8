"""A tiny project that a self-test can run on, and made-up results of one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from model_health.config.settings import Settings
from model_health.selftest.result import HarmlessTrial, SelfTest, Trial
from support.projects import tiny_project

REPOSITORY = Path(__file__).resolve().parents[2]
PROMPTS: list[dict[str, Any]] = [
    {"id": "chat", "messages": [{"role": "user", "content": "Hello there"}], "golden": " my friend"},
    {"id": "sun", "text": "The sun is a", "golden": " star in the sky"},
    {"id": "rain", "text": "Rain", "golden": "drops keep falling on my head"},
    {"id": "times", "text": "It was", "golden": " the best of times, it was the worst"},
    {"id": "king", "text": "Once upon", "golden": " a time there was a king"},
]


def self_test_project(home: Path, family: str = "llama", **fields: Any) -> Settings:
    """A project with the model `tiny`, the suite `smoke` and the shipped gates. Its prompts tolerate nothing."""
    prompts = [{**prompt, "tolerates": []} for prompt in PROMPTS]
    settings = tiny_project(home, family=family, prompts=prompts, **{"batch_size": 4, **fields})
    shutil.copy(REPOSITORY / "configs/gates.yaml", home / "configs")
    return settings


def trial(fault: str = "NaN in one weight, layer 1", **fields: Any) -> Trial:
    """A fault of one layer that was caught and placed."""
    usual: dict[str, Any] = {
        "kind": "non-finite weight",
        "configuration": "same",
        "place": "layer.1",
        "single_layer": True,
        "answer": "broken",
        "detected": True,
        "attributed": "layer.1",
        "placement": "right",
        "delay_nights": 1,
        "reason": "not finite",
    }
    return Trial(fault, **{**usual, **fields})


def missed(fault: str = "sign bit of one weight, layer 1", **fields: Any) -> Trial:
    """A fault of one layer that was not caught."""
    usual = {"answer": "equivalent", "detected": False, "attributed": None, "placement": "not asked"}
    return trial(fault, **{**usual, "delay_nights": None, "missed": "too small", **fields})


def self_test_of(*trials: Trial, **fields: Any) -> SelfTest:
    """A self-test of the given trials, or of two that were caught, with one harmless change and three replays."""
    usual: dict[str, Any] = {
        "model": "tiny",
        "suite": "smoke 1.0.0",
        "dtype": "float32",
        "device": "a processor",
        "machine": "Linux",
        "libraries": {"torch": "2.13.0"},
        "started_at": "2026-11-22T12:00:00+00:00",
        "seed": 0,
        "items": 12,
        "tokens": 183,
        "golden_clusters": 10,
        "same": "batch 16",
        "other": "batch 8",
        "floors": {"logprob": 1e-5},
        "trials": trials or (trial(), trial(configuration="other")),
        "harmless": (HarmlessTrial("one text per batch", ("batch",), answer="equivalent", ratio=0.1),),
        "healthy": tuple(HarmlessTrial(f"healthy {n}", ("batch",), answer="equivalent", ratio=0.2) for n in range(3)),
        "cpu_seconds": 1.0,
        "wall_seconds": 2.0,
        "replay_cpu_seconds": 0.1,
        "restored": True,
    }
    return SelfTest(**{**usual, **fields})
