"""Replay observations made of seeded numbers: a model as logits and states, moved by as much as a test asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model_health.baseline.key import ReplayKey, ReplayShape
from model_health.baseline.numbers import Numbers, measure
from model_health.baseline.observations import ItemObservation, Kind, ReplayObservation
from model_health.baseline.tolerance import Tolerance, learn

STATES = ("embedding", "layer.0", "layer.1", "layer.2", "final")
VOCABULARY, DIMENSIONS, TOP = 40, 8, 20

KEY = ReplayKey(
    weights_digest="sha256:aa",
    config_digest="sha256:bb",
    tokenizer_digest="sha256:cc",
    chat_template_digest=None,
    dtype="float32",
    quantization="none",
    attention_backend="sdpa",
    libraries={"torch": "2.13.0"},
    driver=None,
    device_kind="cpu",
    device_name=None,
    device_uuid=None,
    platform="linux-x86_64",
    suite="core",
    suite_version="1",
    suite_digest="dd",
    sketch_seed=1,
    sketch_dim=DIMENSIONS,
    shape=ReplayShape(batch_size=8, threads=1),
)


def key(**changes: Any) -> ReplayKey:
    """`KEY` with other fields; those of its shape are taken too."""
    shape = {name: changes.pop(name) for name in list(changes) if name in vars(KEY.shape)}
    return replace(KEY, shape=replace(KEY.shape, **shape), **changes)


def observation(
    under: ReplayKey = KEY,
    *,
    prompts: int = 12,
    passages: int = 2,
    tokens: int = 6,
    seed: int = 0,
    noise: float = 0.0,
    noise_seed: int = 1,
    first_state: int = 0,
    logits_only: bool = False,
    temperature: float = 1.0,
    worse: float = 0.0,
) -> ReplayObservation:
    """A model's replay.

    Args:
        noise: relative size of a disturbance of states and logits, from the state `first_state` on.
        logits_only: leave the states alone.
        temperature: by which logits are divided.
        worse: nats by which the scored tokens of golden text get less likely, about, varying by item.
    """
    ids = [(f"p{n}", f"p{n}:{kind}", kind) for n in range(prompts) for kind in ("continuation", "golden")]
    ids += [(f"passage:g{n}", f"g{n}:passage", "golden") for n in range(passages)]
    plain, moved = np.random.default_rng(seed), np.random.default_rng(noise_seed)
    items = []
    for prompt_id, item_id, kind in ids:
        logits = plain.normal(0.0, 2.0, (tokens, VOCABULARY))
        states = plain.normal(0.0, 1.0, (tokens, len(STATES), DIMENSIONS))
        scored = plain.integers(0, VOCABULARY, tokens)
        reference = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
        if kind == "continuation":
            scored = reference[:, 0]
        disturbed = states + noise * moved.normal(size=states.shape) * np.abs(states)
        if not logits_only:
            states = np.where((np.arange(len(STATES)) >= first_state)[None, :, None], disturbed, states)
        logits = logits + noise * moved.normal(size=logits.shape)
        if kind == "golden" and worse:
            logits[np.arange(tokens), scored] -= worse * moved.uniform(0.5, 1.5)
        logits = logits / temperature
        items.append(_item(prompt_id, item_id, kind, logits, states, scored, reference, plain))  # type: ignore[arg-type]
    return ReplayObservation(under, STATES, tuple(items), cpu_seconds=0.0, wall_seconds=0.0)


def _item(
    prompt_id: str,
    item_id: str,
    kind: Kind,
    logits: npt.NDArray[np.float64],
    states: npt.NDArray[np.float64],
    scored: npt.NDArray[np.int64],
    reference: npt.NDArray[np.int64],
    plain: np.random.Generator,
) -> ItemObservation:
    logits32, states32 = logits.astype(np.float32), states.astype(np.float32)
    exact = logits32.astype(np.float64)
    logprobs = exact - np.logaddexp.reduce(exact, axis=1)[:, None]
    top = np.argsort(-logprobs, axis=1, kind="stable")[:, :TOP]
    rows = np.arange(len(scored))
    return ItemObservation(
        item_id=item_id,
        prompt_id=prompt_id,
        kind=kind,
        group="golden_passages" if prompt_id.startswith("passage:") else "plain",
        context_ids=plain.integers(0, VOCABULARY, 4).astype(np.int32),
        token_ids=scored.astype(np.int32),
        logprobs=logprobs[rows, scored].astype(np.float32),
        entropy_bits=(-(np.exp(logprobs) * logprobs).sum(axis=1) / np.log(2)).astype(np.float32),
        argmax_ids=top[:, 0].astype(np.int32),
        top_ids=top.astype(np.int32),
        top_logprobs=np.take_along_axis(logprobs, top, axis=1).astype(np.float32),
        reference_logprobs=np.take_along_axis(logprobs, reference, axis=1).astype(np.float32),
        norms=np.linalg.norm(states32, axis=2).astype(np.float32),
        sketch_rows=rows.astype(np.int32),
        sketches=states32,
        state_digests=tuple(_digest(states32[:, state]) for state in range(states32.shape[1])),
        logits_digest=_digest(logits32),
        non_finite=np.zeros(states32.shape[1], dtype=np.int32),
        logits_non_finite=0,
    )


def _digest(values: npt.NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def with_item(seen: ReplayObservation, index: int, **changes: Any) -> ReplayObservation:
    """A copy in which one item has other values."""
    items = list(seen.items)
    items[index] = replace(items[index], **changes)
    return replace(seen, items=tuple(items))


def healthy_numbers(count: int, *, noise: float = 1e-6, **shape: int) -> list[Numbers]:
    """Comparisons of one baseline with disturbed copies of itself."""
    base = observation(**shape)  # type: ignore[arg-type]
    return [
        measure(base, observation(key(batch_size=1), noise=noise, noise_seed=10 + n, **shape))  # type: ignore[arg-type]
        for n in range(count)
    ]


def tolerance_of(base: ReplayObservation, axes: Sequence[dict[str, Any]], *, noise: float = 1e-6) -> Tolerance:
    """What healthy copies of `base` under each of these changes of key teach, three of each."""
    pairs = [
        (base, observation(key(**change), noise=noise, noise_seed=100 + 10 * index + n))
        for index, change in enumerate(axes)
        for n in range(3)
    ]
    return learn(pairs, dtype=base.key.dtype)
