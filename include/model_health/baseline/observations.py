"""What one replay saw, in numpy: the contract between the torch side that replays and the statistics that judge.

An *item* is one token sequence that was put through the model: a prompt followed by its accepted continuation, a prompt
followed by its golden continuation, or a golden passage. T of its tokens are *scored*: the model's distribution for
each, given all tokens before it, is measured. Two observations under comparable keys hold the same items with the same
tokens in the same order, so row t of one is paired with row t of the other.

*States* are where hidden states are looked at, in the order in which the model computes them (`state_names`):

    embedding            the input of block 0
    layer.<i>            the output of block i
    final                the state after the final norm

and for an encoder-decoder model `encoder.embedding`, `encoder.layer.<i>`, `encoder.final` before these. So the first
state that differs names the place of a change. Knows nothing of torch, of files and of what a difference means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import log
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model_health.baseline.key import ReplayKey

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Kind = Literal["continuation", "golden"]

TOP_K = 20
SKETCH_DIM = 32
SKETCH_SEED = 20_240_726
PASSAGES = "golden_passages"
"""The group of golden passages, which belong to no prompt."""


@dataclass(frozen=True)
class ItemObservation:
    """One item. T scored tokens, S states, K = `TOP_K` (or the vocabulary, if smaller), R sketched rows, D dimensions.

    A value that the model made non-finite is kept as it is (NaN or an infinity): look at `is_finite` before a
    statistic.

    Args:
        item_id: unique in an observation: `<prompt>:continuation`, `<prompt>:golden`, `<passage>:passage`.
        prompt_id: the cluster: items of one prompt share it. For a passage `passage:<id>`, which no prompt can be.
        kind: "continuation" (tokens that the accepted model chose) or "golden" (text written by people).
        group: the prompt's group in the suite, `golden_passages` for a passage.
        context_ids: [P] int32; what comes before the first scored token. Encoder-decoder: the encoder's input.
        token_ids: [T] int32; the scored tokens, T >= 1.
        logprobs: [T] float32, nats, <= 0; of each scored token.
        entropy_bits: [T] float32, bits; of the whole next-token distribution.
        argmax_ids: [T] int32; the most likely token, the lowest id of equals. Row t flips if it differs from the
            baseline's.
        top_ids, top_logprobs: [T, K] int32 and float32 (nats), most likely first.
        reference_logprobs: [T, K] float32, nats; what this model gives to the *baseline's* `top_ids`, for a KL
            divergence. None in an observation that had no baseline (then its own `top_logprobs` are that).
        norms: [T, S] float32; L2 norm of the state from which each scored token was predicted. For encoder states row t
            is the encoder's token `round(t * (P - 1) / max(T - 1, 1))`.
        sketch_rows: [R] int32, ascending, R <= T; the rows of which there is a sketch.
        sketches: [R, S, D] float32; the state times a seeded Gaussian [width, D] / sqrt(D), so that the distance of two
            sketches estimates that of the states.
        state_digests: [S] hex; each over the bits of the state for *all* tokens of the item, its context included,
            never of padding. Equal means bit-equal.
        logits_digest: hex; over the bits of the logits of the T scored rows.
        non_finite: [S] int32; NaN and infinite values per state, over all tokens of the item.
        logits_non_finite: NaN and +inf among the logits of the scored rows (-inf masks a token on purpose).
        decoder_start: int32; what the decoder began with. Empty for a causal model.
    """

    item_id: str
    prompt_id: str
    kind: Kind
    group: str
    context_ids: Ints
    token_ids: Ints
    logprobs: Floats
    entropy_bits: Floats
    argmax_ids: Ints
    top_ids: Ints
    top_logprobs: Floats
    reference_logprobs: Floats | None
    norms: Floats
    sketch_rows: Ints
    sketches: Floats
    state_digests: tuple[str, ...]
    logits_digest: str
    non_finite: Ints
    logits_non_finite: int
    decoder_start: Ints = field(default_factory=lambda: np.zeros(0, np.int32))

    @property
    def tokens(self) -> int:
        """T."""
        return int(self.token_ids.shape[0])

    @property
    def surprisal_bits(self) -> Floats:
        """[T] float32, bits: -log2 of each scored token's probability."""
        return (-self.logprobs / np.float32(log(2))).astype(np.float32)

    @property
    def is_finite(self) -> bool:
        """Whether nothing that the model computed for this item was NaN or infinite."""
        return not self.non_finite.any() and self.logits_non_finite == 0 and bool(np.isfinite(self.logprobs).all())


@dataclass(frozen=True)
class ReplayObservation:
    """One replay of one suite through one model under one configuration.

    Args:
        key: under what it happened. `key.suite_digest` and the tokenizer fix which items there are.
        state_names: [S], in the order of computation; see the module.
        items: in a fixed order: prompts as in the suite, each continuation before its golden one, then passages.
        cpu_seconds, wall_seconds: what the forward passes and their reduction cost.
    """

    key: ReplayKey
    state_names: tuple[str, ...]
    items: tuple[ItemObservation, ...]
    cpu_seconds: float
    wall_seconds: float

    @cached_property
    def by_id(self) -> Mapping[str, ItemObservation]:
        """The items by `item_id`."""
        return {item.item_id: item for item in self.items}

    @property
    def tokens(self) -> int:
        """Scored tokens of all items."""
        return sum(item.tokens for item in self.items)

    @property
    def is_finite(self) -> bool:
        """Whether every item is finite."""
        return all(item.is_finite for item in self.items)

    def of_kind(self, kind: Kind) -> tuple[ItemObservation, ...]:
        """The items of one kind."""
        return tuple(item for item in self.items if item.kind == kind)


def bit_equal(old: ReplayObservation, new: ReplayObservation) -> bool:
    """Whether every state and every logit of every item is the same to the last bit."""
    return [_digests(item) for item in old.items] == [_digests(item) for item in new.items]


def first_difference(old: ItemObservation, new: ItemObservation) -> int | None:
    """The first state of an item whose bits differ; S if only the logits differ; None if nothing does."""
    for index, (one, other) in enumerate(zip(old.state_digests, new.state_digests, strict=True)):
        if one != other:
            return index
    return None if old.logits_digest == new.logits_digest else len(old.state_digests)


def _digests(item: ItemObservation) -> tuple[Any, ...]:
    return item.item_id, item.token_ids.tobytes(), item.state_digests, item.logits_digest
