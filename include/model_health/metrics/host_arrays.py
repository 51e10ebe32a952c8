"""Moves recorded tensors to the host and cuts one prompt's series out of a batch's. Knows shapes, not reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from model_health.errors import CaptureError
from model_health.metrics.logits import LogitStatistics
from model_health.metrics.recorder import HiddenBlock, Records
from model_health.metrics.telemetry import HiddenSeries, LogitSeries

T = TypeVar("T", bound=np.generic)


def host(tensor: torch.Tensor) -> NDArray[np.float32]:
    """A device tensor as a float32 host array."""
    return tensor.detach().float().cpu().numpy()


@dataclass(frozen=True)
class Looked:
    """Which of a stack's layers, and of a generation's steps, were looked at."""

    layers: tuple[int, ...]
    layer_count: int
    every: int = 1
    step_count: int = 1

    @property
    def everything(self) -> bool:
        """Whether nothing was left out."""
        return len(self.layers) == self.layer_count and self.every == 1

    def spread(self, values: NDArray[T], empty: float) -> NDArray[T]:
        """[N, M, ...] of what was looked at as [T, L, ...], `empty` everywhere else.

        Raises:
            CaptureError: there are more or fewer steps or layers than were to be looked at.
        """
        steps = range(0, self.step_count, self.every)
        if values.shape[:2] != (len(steps), len(self.layers)):
            raise CaptureError(
                f"{values.shape[0]} steps of {values.shape[1]} layers were recorded, but {len(steps)} of"
                f" {len(self.layers)} were to be looked at",
                hint="report this",
            )
        whole = np.full((self.step_count, self.layer_count, *values.shape[2:]), empty, values.dtype)
        whole[np.ix_(list(steps), list(self.layers))] = values
        return whole


def hidden_cutter(tables: list[HiddenBlock], looked: Looked | None = None) -> Callable[[int, slice], HiddenSeries]:
    """Host arrays of [T, L, B, .] blocks, and a function that cuts one row out of them.

    Where layers or steps were left out (`looked`), they are there and hold NaN.
    """
    values = host(torch.cat([table.statistics for table in tables]))
    bad = torch.cat([table.bad for table in tables]).cpu().numpy()
    sketches = [table.sketch for table in tables if table.sketch is not None]
    sketch = host(torch.cat(sketches)) if len(sketches) == len(tables) else np.zeros((*values.shape[:3], 0), np.float32)
    seen = None
    if looked is not None and not looked.everything:
        seen = looked.spread(np.ones(values.shape[:2], np.bool_), False)
        values, sketch = (looked.spread(table, np.nan) for table in (values, sketch))
        bad = looked.spread(bad, False)

    def cut(row: int, steps: slice) -> HiddenSeries:
        v = values[steps, :, row]
        return HiddenSeries(
            mean=v[..., 0],
            std=v[..., 1],
            l2_norm=v[..., 2],
            max_abs=v[..., 3],
            nan=bad[steps, :, row, 0],
            inf=bad[steps, :, row, 1],
            sketch=sketch[steps, :, row],
            seen=None if seen is None else seen[steps],
        )

    return cut


def pass_block(records: Records) -> HiddenBlock | None:
    """The pass over the prompt as a block of one step."""
    seen = records.prompt_pass
    if not seen.statistics:
        return None
    sketch = torch.stack(seen.sketches)[None] if seen.sketches else None
    return HiddenBlock(torch.stack(seen.statistics)[None], torch.stack(seen.bad)[None], sketch)


def logit_cutter(records: Records) -> Callable[[int, slice], LogitSeries]:
    """Host arrays of every step's distribution, and a function that cuts one row's first steps out of them."""
    steps = LogitStatistics.join(records.logits)
    chosen = torch.cat(records.chosen_logits)
    surprisal, entropy, probs = (host(x) for x in (steps.surprisal_bits(chosen), steps.entropy_bits, steps.topk_probs))
    ids, nan, inf = (x.cpu().numpy() for x in (steps.topk_token_ids, steps.nan, steps.inf))
    k, mass_k = records.switches.topk, records.switches.mass_k

    def cut(row: int, span: slice) -> LogitSeries:
        p = probs[span, row]
        return LogitSeries(
            entropy_bits=entropy[span, row],
            top1_top2_margin=p[:, 0] - p[:, 1] if p.shape[1] > 1 else p[:, 0],
            topk_mass=np.minimum(p[:, :mass_k].sum(-1), np.float32(1.0)),  # rounding can leave 1.0000001; NaN stays
            surprisal_bits=surprisal[span, row],
            topk_token_ids=ids[span, row, :k],
            topk_probs=p[:, :k],
            nan=nan[span, row],
            inf=inf[span, row],
        )

    return cut
