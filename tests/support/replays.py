"""Replays of tiny models, and made-up observations with the same shape, for tests of baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_health.baseline.document import HealthyRun, Provenance
from model_health.baseline.key import ReplayKey, ReplayShape
from model_health.baseline.observations import ItemObservation, ReplayObservation
from model_health.config.suites import CanarySuite
from model_health.runner.loading import LoadedModel
from model_health.runner.replay import key_of, production_shape
from support.loading import load_folder, suite
from support.models import save_tiny_model

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SUITE = suite(
    {"id": "chat", "text": "Hello there my friend", "golden": " you are fine"},
    {"id": "one-token", "text": "x", "golden": " abc"},
    {"id": "long", "text": "The quick brown fox jumps over the lazy dog and then some more of it"},
    golden_passages=[{"id": "rain", "text": "It rained all day long, and nobody minded."}],
)
CONTINUATIONS: Mapping[str, Sequence[int]] = {
    "chat": (5, 6, 7, 8),
    "one-token": (9,),
    "long": tuple(range(3, 40)),
}


def tiny(folder: Path, family: str = "llama", **fields: Any) -> LoadedModel:
    """A tiny model in `folder`, loaded as the runner does, three sequences a batch."""
    torch.set_num_threads(1)
    save_tiny_model(folder / family, family)
    return load_folder(folder / family, **{"batch_size": 3, "threads": 1, **fields})


def key(loaded: LoadedModel, asked: CanarySuite = SUITE, **shape: Any) -> ReplayKey:
    """The key of a replay in production's shape, or another."""
    return key_of(loaded, asked, replace(production_shape(loaded), **shape))


@contextmanager
def flipped_bit(weight: torch.Tensor, at: int = 0, bit: int = 0) -> Iterator[None]:
    """One bit of one float32 weight is the other way round, for the time of the context."""
    bits = weight.data.view(-1).view(torch.int32)
    before = bits[at].clone()
    bits[at] ^= 1 << bit
    try:
        yield
    finally:
        bits[at] = before


def largest(old: ReplayObservation, new: ReplayObservation) -> dict[str, float]:
    """How far two replays lie apart at most: nats, relative sketch distance, relative norm difference, flips."""
    pairs = list(zip(old.items, new.items, strict=True))
    return {
        "logprob": max(float(np.abs(a.logprobs - b.logprobs).max()) for a, b in pairs),
        "sketch": max(
            float((np.linalg.norm(a.sketches - b.sketches, axis=-1) / np.linalg.norm(a.sketches, axis=-1)).max())
            for a, b in pairs
        ),
        "norm": max(float((np.abs(a.norms - b.norms) / a.norms).max()) for a, b in pairs),
        "flips": float(sum((a.argmax_ids != b.argmax_ids).sum() for a, b in pairs)),
    }


def made_up_key(**replaced: Any) -> ReplayKey:
    """A key of no model."""
    fields: dict[str, Any] = {
        "weights_digest": "sha256:" + "1" * 64,
        "config_digest": "sha256:" + "2" * 64,
        "tokenizer_digest": "sha256:" + "3" * 64,
        "chat_template_digest": None,
        "dtype": "float32",
        "quantization": "none",
        "attention_backend": "sdpa",
        "libraries": {"torch": "2.13.0", "transformers": "5.23.0"},
        "driver": None,
        "device_kind": "cpu",
        "device_name": "a processor",
        "device_uuid": None,
        "platform": "Linux x86_64",
        "suite": "smoke",
        "suite_version": "1.0.0",
        "suite_digest": "4" * 64,
        "sketch_seed": 1,
        "sketch_dim": 4,
        "shape": ReplayShape(batch_size=4, threads=1),
    }
    return ReplayKey(**{**fields, **replaced})


def made_up_item(item_id: str = "one:continuation", tokens: int = 5, seed: int = 0, **replaced: Any) -> ItemObservation:
    """An item of three states with random numbers."""
    draw = np.random.default_rng(seed)
    top = np.sort(draw.integers(0, 100, (tokens, 3)), axis=1).astype(np.int32)
    fields: dict[str, Any] = {
        "item_id": item_id,
        "prompt_id": item_id.split(":")[0],
        "kind": "continuation" if item_id.endswith("continuation") else "golden",
        "group": "facts",
        "context_ids": np.arange(3, dtype=np.int32),
        "token_ids": draw.integers(0, 100, tokens).astype(np.int32),
        "logprobs": -draw.random(tokens, dtype=np.float32),
        "entropy_bits": draw.random(tokens, dtype=np.float32),
        "argmax_ids": top[:, 0],
        "top_ids": top,
        "top_logprobs": -np.sort(draw.random((tokens, 3), dtype=np.float32)),
        "reference_logprobs": None,
        "norms": draw.random((tokens, 3), dtype=np.float32),
        "sketch_rows": np.asarray([0, tokens - 1], dtype=np.int32),
        "sketches": draw.standard_normal((2, 3, 4), dtype=np.float32),
        "state_digests": tuple(f"{seed:02x}{state:02x}" + "0" * 28 for state in range(3)),
        "logits_digest": f"{seed:02x}ff" + "0" * 28,
        "non_finite": np.zeros(3, np.int32),
        "logits_non_finite": 0,
    }
    return ItemObservation(**{**fields, **replaced})


def made_up(*items: ItemObservation, **key_fields: Any) -> ReplayObservation:
    """An observation of the given items, or of two."""
    chosen = items or (made_up_item(), made_up_item("one:golden", 7, 1))
    return ReplayObservation(made_up_key(**key_fields), ("embedding", "layer.0", "final"), chosen, 1.5, 2.5)


def facts(**replaced: Any) -> dict[str, Any]:
    """What a document says besides its observation."""
    run = HealthyRun(
        run_id="night-1",
        manifest_uri="file:///store/runs/tiny/smoke/night-1/manifest.json",
        manifest_digest="sha256:" + "5" * 64,
        started_at=NOW,
        flags={"one": ("loop_detected",), "two": ()},
        generated_tokens={"one": 5, "two": 4},
        entropy_bits_mean={"one": 1.0, "two": None},
        time_to_first_token_seconds={"one": 0.5, "two": None},
        time_per_output_token_seconds={"one": 0.25, "two": 0.125},
    )
    given: dict[str, Any] = {
        "model_name": "tiny",
        "suite": "smoke",
        "created_at": NOW,
        "provenance": Provenance(by="someone", reason="a test"),
        "replays": 2,
        "reproducible": True,
        "runs": (run,),
        "agreeing": {"one": 1, "two": 1},
    }
    return {**given, **replaced}
