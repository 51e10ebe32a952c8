"""Under what exactly a replay happened: the model as loaded, the libraries and device under it, the suite, the shape.

Two observations are paired measurements whatever their keys say, but what may differ between them follows from the
keys: same key, same bits; otherwise the *axes* that differ say which tolerance applies. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

PaddingSide = Literal["left", "right"]
CacheMode = Literal["off", "chunked"]
Axis = Literal[
    "suite",
    "tokenizer",
    "sketch",
    "weights",
    "config",
    "dtype",
    "quantization",
    "attention_backend",
    "libraries",
    "device",
    "driver",
    "batch",
    "padding",
    "cache",
    "threads",
]

AXES: tuple[Axis, ...] = get_args(Axis)
INCOMPARABLE: frozenset[Axis] = frozenset({"suite", "tokenizer", "sketch"})
"""Axes under which the tokens, or the projection of the sketches, are no longer the same: nothing can be paired."""
MODEL: frozenset[Axis] = frozenset({"weights", "config"})
"""Axes that are the model itself: a difference here is what a comparison is to find, never what it tolerates."""


@dataclass(frozen=True)
class ReplayShape:
    """How the sequences were put through the model. Each field alters the last bits of what is computed.

    batch_size: sequences at most per forward pass.
    padding_side: where shorter sequences of a batch are filled up.
    cache: "off" computes each sequence in one piece; "chunked" in pieces of `chunk_tokens` through a KV cache.
    threads: CPU threads inside an operation; part of the key on a CPU only.
    """

    batch_size: int
    padding_side: PaddingSide = "left"
    cache: CacheMode = "off"
    chunk_tokens: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class ReplayKey:
    """The key of a replay or a baseline. Digests are `sha256:<hex>`, the suite's plain hex; None is *not known*.

    weights_digest, config_digest: of the model in memory (`runner.digests`).
    tokenizer_digest, chat_template_digest: the latter None where there is no template.
    dtype: of the weights, "float32". quantization: its method, "none" where there is none.
    attention_backend: "eager", "sdpa", ...
    libraries: versions by package name. driver: CUDA and driver version ("cuda 12.8, driver 570.1"), None on a CPU.
    device_kind, device_name, device_uuid: "cpu" or "cuda", the product, the GPU's UUID (None on a CPU).
    platform: operating system, processor architecture, C library, and the instructions that torch uses.
    suite, suite_version, suite_digest: what was asked; only the digest decides.
    sketch_seed, sketch_dim: of the random projection.
    """

    weights_digest: str
    config_digest: str
    tokenizer_digest: str
    chat_template_digest: str | None
    dtype: str
    quantization: str
    attention_backend: str
    libraries: Mapping[str, str] = field(hash=False)
    driver: str | None
    device_kind: str
    device_name: str | None
    device_uuid: str | None
    platform: str | None
    suite: str
    suite_version: str
    suite_digest: str
    sketch_seed: int
    sketch_dim: int
    shape: ReplayShape


def changed_axes(old: ReplayKey, new: ReplayKey) -> tuple[Axis, ...]:
    """The axes on which two keys differ, in the order of `AXES`; empty: the same key, where bits must be equal."""
    pairs: dict[Axis, tuple[object, object]] = {
        "suite": (old.suite_digest, new.suite_digest),
        "tokenizer": (
            (old.tokenizer_digest, old.chat_template_digest),
            (new.tokenizer_digest, new.chat_template_digest),
        ),
        "sketch": ((old.sketch_seed, old.sketch_dim), (new.sketch_seed, new.sketch_dim)),
        "weights": (old.weights_digest, new.weights_digest),
        "config": (old.config_digest, new.config_digest),
        "dtype": (old.dtype, new.dtype),
        "quantization": (old.quantization, new.quantization),
        "attention_backend": (old.attention_backend, new.attention_backend),
        "libraries": (dict(old.libraries), dict(new.libraries)),
        "device": (_device(old), _device(new)),
        "driver": (old.driver, new.driver),
        "batch": (old.shape.batch_size, new.shape.batch_size),
        "padding": (old.shape.padding_side, new.shape.padding_side),
        "cache": ((old.shape.cache, old.shape.chunk_tokens), (new.shape.cache, new.shape.chunk_tokens)),
        "threads": (_threads(old), _threads(new)),
    }
    return tuple(axis for axis in AXES if pairs[axis][0] != pairs[axis][1])


def comparable(old: ReplayKey, new: ReplayKey) -> bool:
    """Whether the two describe the same tokens and the same projection, so that tokens can be paired."""
    return not INCOMPARABLE & set(changed_axes(old, new))


def _device(key: ReplayKey) -> tuple[object, ...]:
    return key.device_kind, key.device_name, key.device_uuid, key.platform


def _threads(key: ReplayKey) -> int | None:
    return key.shape.threads if key.device_kind == "cpu" else None
