"""Replays a plan: a few batched forward passes, reduced as they stream to one `ReplayObservation`.

Owns the order of things: batches, pieces, reduction, assembly in the order of the plan. The model is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter, process_time

import numpy as np
import torch
from transformers import PreTrainedModel

from model_health.baseline.key import ReplayKey, ReplayShape
from model_health.baseline.observations import TOP_K, Floats, Ints, ItemObservation, ReplayObservation
from model_health.capture.compiled import runs_eagerly
from model_health.capture.layout import find_layout
from model_health.errors import UnsupportedGeneration
from model_health.replay.forward import Forward, HeadMissed
from model_health.replay.logits import LogitReducer
from model_health.replay.plan import Padded, ReplayItem, batches, pad
from model_health.replay.probes import Stack, StateProbes, state_names
from model_health.replay.reduce import Sight, StackReducer, joined, sketched_rows


def replay(model: PreTrainedModel, items: Sequence[ReplayItem], key: ReplayKey, *, pad_id: int) -> ReplayObservation:
    """Replay items through a model, as `key.shape` says.

    Args:
        model: in eval mode, on its device, under the attention backend that the key names.
        items: in the order in which they shall come back.
        key: under what this happens; its shape, seed and dimensions are obeyed, the rest is passed on.
        pad_id: any token of the vocabulary; what is computed for it is never looked at.

    Raises:
        CaptureError: the states of this architecture cannot be read.
        UnsupportedGeneration: the shape is not possible for this model.
    """
    check_shape(model, key.shape)
    started, cpu = perf_counter(), process_time()
    with torch.inference_mode(), runs_eagerly(model), _threads(key.shape.threads):
        run = _Replay(model, items, key, pad_id)
        found = run.observe()
    return ReplayObservation(
        key=key,
        state_names=state_names(run.layout),
        items=tuple(found[at] for at in range(len(items))),
        cpu_seconds=process_time() - cpu,
        wall_seconds=perf_counter() - started,
    )


def check_shape(model: PreTrainedModel, shape: ReplayShape) -> None:
    """Refuse a shape that would give wrong numbers.

    Raises:
        UnsupportedGeneration: what is wrong with it.
    """
    subject = type(model).__name__
    if shape.cache == "chunked" and (shape.chunk_tokens or 0) < 1:
        raise UnsupportedGeneration("a replay in chunks needs chunk_tokens of at least 1", subject=subject)
    if model.config.is_encoder_decoder and shape.padding_side == "left":
        raise UnsupportedGeneration(
            "padding on the left is not possible for an encoder-decoder model", subject=subject, hint="use right"
        )
    if shape.batch_size < 1:
        raise UnsupportedGeneration(f"batch_size must be at least 1, not {shape.batch_size}", subject=subject)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


class _Replay:
    """One replay under way."""

    def __init__(self, model: PreTrainedModel, items: Sequence[ReplayItem], key: ReplayKey, pad_id: int) -> None:
        self._items, self._key, self._pad_id = items, key, pad_id
        self.layout = find_layout(model)
        self._device = next(model.get_input_embeddings().parameters()).device
        self._forward = Forward(model, self.layout, StateProbes(model, self.layout, self._take), key.shape)
        self._reducers: dict[Stack, StackReducer] = {}
        self._first = 0

    def observe(self) -> dict[int, ItemObservation]:
        """Every item's observation, by its place."""
        found: dict[int, ItemObservation] = {}
        with self._forward.attached():
            for places in batches(self._items, self._key.shape.batch_size):
                try:
                    rows = self._batch(places)
                except HeadMissed:
                    self._forward.take_whole_logits()
                    rows = self._batch(places)
                found.update(zip(places, rows, strict=True))
        return found

    def _take(self, stack: Stack, index: int, state: torch.Tensor) -> None:
        self._reducers[stack].take(index, state, self._first if stack == "decoder" else 0)

    def _reducer(self, padded: Padded, positions: list[Ints], rows: list[Ints], states: int) -> StackReducer:
        sight = Sight(padded, tuple(positions), tuple(rows))
        return StackReducer(sight, states, dimensions=self._key.sketch_dim, seed=self._key.sketch_seed)

    def _batch(self, places: Sequence[int]) -> list[ItemObservation]:
        items = [self._items[place] for place in places]
        shape = self._key.shape
        decoder = pad([item.fed for item in items], shape.padding_side, self._pad_id, self._device)
        rows = [sketched_rows(len(item.token_ids)) for item in items]
        positions = [np.arange(item.first, item.first + len(item.token_ids), dtype=np.int32) for item in items]
        self._reducers = {"decoder": self._reducer(decoder, positions, rows, len(self.layout.decoder.layers) + 2)}
        encoder = None
        if self.layout.encoder is not None:
            encoder = pad([item.context_ids for item in items], "right", self._pad_id, self._device)
            spread = [_spread(len(item.context_ids), len(item.token_ids)) for item in items]
            states = len(self.layout.encoder.layers) + 2
            self._reducers = {"encoder": self._reducer(encoder, spread, rows, states), **self._reducers}
        logits = self._logit_reducer(items)
        self._first = 0
        for piece in self._forward.pieces(decoder, encoder):
            place, row, column = self._reducers["decoder"].scored(piece.first, piece.last)

            def make(first: int, last: int, row: torch.Tensor = row, column: torch.Tensor = column) -> torch.Tensor:
                return piece.logits_of(row[first:last], column[first:last])  # noqa: B023

            logits.take(place, piece.vocabulary, make)
            self._first = piece.last
        return self._assemble(items, rows, logits)

    def _logit_reducer(self, items: Sequence[ReplayItem]) -> LogitReducer:
        targets = np.concatenate([np.asarray(item.token_ids, dtype=np.int64) for item in items])
        owner = np.concatenate([np.full(len(item.token_ids), at) for at, item in enumerate(items)])
        given = [item.reference_ids for item in items]
        reference = None
        if all(ids is not None for ids in given):
            reference = torch.from_numpy(np.concatenate([np.asarray(ids, dtype=np.int64) for ids in given]))
            reference = reference.to(self._device)
        return LogitReducer(torch.from_numpy(targets).to(self._device), torch.from_numpy(owner), reference, TOP_K)

    def _assemble(
        self, items: Sequence[ReplayItem], rows: Sequence[Ints], logits: LogitReducer
    ) -> list[ItemObservation]:
        reducers = list(self._reducers.values())
        norms, sketches = [one.norms() for one in reducers], [one.sketches() for one in reducers]
        digests, bad = [one.digests() for one in reducers], [one.non_finite() for one in reducers]
        kept, logit_digests = logits.rows(), logits.digests()
        found, begin = [], 0
        for at, item in enumerate(items):
            end = begin + len(item.token_ids)
            reference: Floats | None = None
            if kept.reference_logprobs is not None:
                reference = kept.reference_logprobs[begin:end]
            found.append(
                ItemObservation(
                    item_id=item.item_id,
                    prompt_id=item.prompt_id,
                    kind=item.kind,
                    group=item.group,
                    context_ids=np.asarray(item.context_ids, dtype=np.int32),
                    token_ids=np.asarray(item.token_ids, dtype=np.int32),
                    logprobs=kept.logprobs[begin:end],
                    entropy_bits=kept.entropy_bits[begin:end],
                    argmax_ids=kept.argmax_ids[begin:end],
                    top_ids=kept.top_ids[begin:end],
                    top_logprobs=kept.top_logprobs[begin:end],
                    reference_logprobs=reference,
                    norms=joined([part[at] for part in norms], axis=1),
                    sketch_rows=rows[at],
                    sketches=joined([part[at] for part in sketches], axis=1),
                    state_digests=tuple(digest for part in digests for digest in part[at]),
                    logits_digest=logit_digests[at],
                    non_finite=np.concatenate([part[at] for part in bad]).astype(np.int32),
                    logits_non_finite=int(kept.non_finite[begin:end].sum()),
                    decoder_start=np.asarray(item.decoder_start, dtype=np.int32),
                )
            )
            begin = end
        return found


def _spread(positions: int, rows: int) -> Ints:
    """Which of the encoder's P positions stands for each of T rows."""
    return np.round(np.arange(rows) * (positions - 1) / max(rows - 1, 1)).astype(np.int32)
