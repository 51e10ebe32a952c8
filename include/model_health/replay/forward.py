"""Puts one batch through a model, in one piece or in pieces through a KV cache, with probes on its states.

Owns what a forward call of transformers is told (mask, positions, cache, encoder output) and where logits come from:
the model's own code applied to the final states of scored positions only (`capture.head`), where that gives what the
model gives; else the logits of all positions. Knows nothing of what is kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from model_health.baseline.key import ReplayShape
from model_health.capture.head import HeadReplay
from model_health.capture.layout import ModelLayout
from model_health.errors import CaptureError
from model_health.replay.logits import miss
from model_health.replay.plan import Padded
from model_health.replay.probes import Stack, StateProbes

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_TOLERANCE_HALF = 4e-2

LogitsOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits [n, V] of positions of the current piece, given as rows [n] and columns [n]."""


@dataclass(frozen=True)
class Piece:
    """One forward pass: the decoder's columns first .. last - 1, its vocabulary, and how to get logits of them."""

    first: int
    last: int
    vocabulary: int
    logits_of: LogitsOf


class HeadMissed(CaptureError):
    """Logits made of final states alone are not those of the model: they must be taken whole."""


class Forward:
    """A model with probes attached, ready for batches.

    Args:
        model: in eval mode.
        layout: of that model.
        probes: on that model.
        shape: pieces and cache.
    """

    def __init__(self, model: PreTrainedModel, layout: ModelLayout, probes: StateProbes, shape: ReplayShape) -> None:
        self._model, self._probes, self._shape = model, probes, shape
        # of the class: whoever wraps the forward of an instance may hide what it takes
        self._accepts = frozenset(inspect.signature(type(model).forward).parameters)
        own_head = not model.config.is_encoder_decoder and "logits_to_keep" in self._accepts
        self._head = HeadReplay(layout.head) if own_head and layout.head is not None else None
        self._cut = own_head

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Keep the probes on for the time of the context."""
        with ExitStack() as stack:
            stack.enter_context(self._probes.attached())
            if self._head is not None:
                stack.callback(self._head.forget)

                def keep(handle: RemovableHandle) -> None:
                    stack.callback(handle.remove)

                self._head.attach(keep)
            yield

    def take_whole_logits(self) -> None:
        """From now on let the model make the logits of every position."""
        self._cut = False

    def pieces(self, decoder: Padded, encoder: Padded | None) -> Iterator[Piece]:
        """Run the batch, piece by piece; a piece is good until the next is asked for.

        Raises:
            CaptureError: states cannot be read, or the model keeps no cache that a pass in pieces could go on with.
            HeadMissed: call `take_whole_logits` and start the batch again.
        """
        cached = self._shape.cache == "chunked"
        step = (self._shape.chunk_tokens or decoder.width) if cached else decoder.width
        cache: Any = None
        encoded: Any = None
        for first in range(0, decoder.width, step):
            last = min(first + step, decoder.width)
            arguments = self._arguments(decoder, encoder, first, last, cached=cached)
            sizes: dict[Stack, tuple[int, int]] = {"decoder": (len(decoder.lengths), last - first)}
            if cache is not None:
                arguments["past_key_values"] = cache
            if encoder is not None and encoded is None:
                sizes["encoder"] = (len(encoder.lengths), encoder.width)
            elif encoded is not None:
                del arguments["input_ids"]
                arguments["encoder_outputs"] = (encoded,)
            if self._head is not None:
                self._head.listen()
            with self._probes.watching(sizes):
                output: Any = self._model(**arguments)
            if last < decoder.width:
                cache = getattr(output, "past_key_values", None)
                if cache is None:
                    raise CaptureError(
                        "keeps no key-value cache that a pass in pieces could use",
                        subject=type(self._model).__name__,
                        hint='replay with cache "off"',
                    )
                encoded = getattr(output, "encoder_last_hidden_state", None)
            yield self._piece(first, last, output, decoder)
            if self._head is not None:
                self._head.forget()

    def _arguments(
        self, decoder: Padded, encoder: Padded | None, first: int, last: int, *, cached: bool
    ) -> dict[str, Any]:
        mask = decoder.mask[:, :last]
        if encoder is not None:
            return {
                "input_ids": encoder.ids,
                "attention_mask": encoder.mask,
                "decoder_input_ids": decoder.ids[:, first:last],
                "decoder_attention_mask": mask,
                "use_cache": cached,
            }
        arguments: dict[str, Any] = {"input_ids": decoder.ids[:, first:last], "attention_mask": mask}
        if "use_cache" in self._accepts or cached:
            arguments["use_cache"] = cached
        if "position_ids" in self._accepts:
            arguments["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)[:, first:]
        if self._cut:
            arguments["logits_to_keep"] = 1
        return arguments

    def _piece(self, first: int, last: int, output: Any, decoder: Padded) -> Piece:
        logits: torch.Tensor = output.logits
        vocabulary = int(logits.shape[-1])
        if not self._cut:
            if logits.shape[1] != last - first:
                raise CaptureError("gives no logits per position", subject=type(self._model).__name__)
            return Piece(first, last, vocabulary, lambda rows, columns: logits[rows, columns])
        if self._head is None or self._head.positions != last - first:
            raise HeadMissed("the head cannot be applied to states alone", subject=type(self._model).__name__)
        head = self._head
        states = head.states

        def logits_of(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
            return head.apply_to(states[rows, columns][None])[0]

        if first == 0:
            self._check(logits_of, logits, decoder, last)
        return Piece(first, last, vocabulary, logits_of)

    def _check(self, logits_of: LogitsOf, logits: torch.Tensor, decoder: Padded, last: int) -> None:
        """Compare with the logits that the model made of the piece's last column, where that is a real token."""
        ends = [
            row for row, (o, n) in enumerate(zip(decoder.offsets, decoder.lengths, strict=True)) if o < last <= o + n
        ]
        rows = torch.tensor(ends, dtype=torch.int64, device=logits.device)
        rebuilt = logits_of(rows, torch.full_like(rows, last - 1))
        actual = logits[rows, -1]
        limit = _TOLERANCE.get(logits.dtype, _TOLERANCE_HALF)
        if rebuilt.shape != actual.shape or not miss(rebuilt, actual) <= limit:
            raise HeadMissed("the head gives other logits for states alone", subject=type(self._model).__name__)
