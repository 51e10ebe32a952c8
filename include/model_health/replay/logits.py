"""What is kept of the logits of scored rows: log-probabilities, entropy, the most likely tokens, a digest of the bits.

Logits are made for a few rows at a time, so that a long replay over a large vocabulary needs little memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from model_health.baseline.observations import Floats, Ints
from model_health.metrics.logits import logit_statistics
from model_health.replay.digest import RowDigests

ELEMENTS_CPU = 1 << 22
ELEMENTS_DEVICE = 1 << 26
"""Logits made at a time: 16 MB in float32 on a CPU, 256 MB on an accelerator."""

MakeLogits = Callable[[int, int], torch.Tensor]
"""Logits [n, V] of the scored rows first .. last - 1 of the current piece."""


@dataclass(frozen=True)
class LogitRows:
    """Per scored row of a batch; see `baseline.observations.ItemObservation`."""

    logprobs: Floats
    entropy_bits: Floats
    argmax_ids: Ints
    top_ids: Ints
    top_logprobs: Floats
    reference_logprobs: Floats | None
    non_finite: Ints


class LogitReducer:
    """Collects the rows of one batch, in any number of pieces.

    Args:
        targets: [N] int64, the scored token of each row, on the model's device.
        items: [N] int64, the item of each row, on the host.
        reference: [N, K] int64, tokens to look up besides; or None.
        k: how many of the most likely tokens to keep.
    """

    def __init__(self, targets: torch.Tensor, items: torch.Tensor, reference: torch.Tensor | None, k: int) -> None:
        self._targets, self._items, self._reference, self._k = targets, items, reference, k
        count = int(items.max()) + 1
        self._digests = RowDigests(count)
        self._parts: dict[str, list[torch.Tensor]] = {}
        self._places: list[torch.Tensor] = []

    def take(self, place: torch.Tensor, vocabulary: int, make: MakeLogits) -> None:
        """Take the rows `place` [n] (ascending within an item), whose logits `make` makes."""
        budget = ELEMENTS_CPU if place.device.type == "cpu" else ELEMENTS_DEVICE
        step = max(1, budget // vocabulary)
        for first in range(0, len(place), step):
            chosen = place[first : first + step]
            logits = make(first, first + len(chosen))
            self._reduce(chosen, logits)
            self._places.append(chosen.cpu())

    def _reduce(self, place: torch.Tensor, logits: torch.Tensor) -> None:
        kept = logit_statistics(logits, self._k)
        z = logits.float()
        # log p(1) = -log sum exp(z - z1): relative to the largest, so that nothing overflows
        base = kept.topk_logits[:, :1] - kept.topk_probs[:, :1].log()
        odd = kept.nan | kept.inf
        values = {
            "logprobs": (z.gather(-1, self._targets[place, None]) - base)[:, 0],
            "entropy_bits": kept.entropy_bits,
            "argmax_ids": z.argmax(-1),
            "top_ids": kept.topk_token_ids,
            "top_logprobs": kept.topk_logits - base,
            "non_finite": (torch.isnan(z) | torch.isposinf(z)).sum(-1) if bool(odd.any()) else odd.long(),
        }
        if self._reference is not None:
            values["reference_logprobs"] = z.gather(-1, self._reference[place]) - base
        for name, value in values.items():
            self._parts.setdefault(name, []).append(value.cpu())
        items = self._items[place.cpu()]
        for item in torch.unique_consecutive(items).tolist():
            rows = torch.nonzero(items == item)[:, 0]
            first, last = int(rows[0]), int(rows[-1]) + 1
            self._digests.update(logits[None], [(item, 0, first, last)])

    def rows(self) -> LogitRows:
        """Everything taken, in the order of rows."""
        order = torch.cat(self._places).argsort()
        if len(order) != len(self._items):
            raise ValueError(f"{len(order)} of {len(self._items)} rows were taken")
        whole = {name: torch.cat(parts)[order].numpy() for name, parts in self._parts.items()}
        floats = {name: value.astype(np.float32) for name, value in whole.items() if value.dtype.kind == "f"}
        ints = {name: value.astype(np.int32) for name, value in whole.items() if value.dtype.kind == "i"}
        return LogitRows(
            logprobs=floats["logprobs"],
            entropy_bits=floats["entropy_bits"],
            argmax_ids=ints["argmax_ids"],
            top_ids=ints["top_ids"],
            top_logprobs=floats["top_logprobs"],
            reference_logprobs=floats.get("reference_logprobs"),
            non_finite=ints["non_finite"],
        )

    def digests(self) -> tuple[str, ...]:
        """One per item."""
        return self._digests.hexdigests()


def miss(rebuilt: torch.Tensor, actual: torch.Tensor) -> float:
    """How far rebuilt logits [n, V] miss those that the model gave, relative to their largest finite magnitude."""
    finite = torch.isfinite(actual)
    if not bool(finite.any()):
        return 0.0
    distance = torch.where(finite, rebuilt.float() - actual.float(), 0.0).abs().amax()
    value = float(distance / torch.where(finite, actual.float(), 0.0).abs().amax().clamp_min(1e-12))
    return math.inf if math.isnan(value) else value
