"""How far two next-token distributions lie apart, of which only the most likely tokens are known.

Owns the KL divergence over the shared top tokens and the swing of a flip. Neither says *worse*: near the baseline
KL has no correlation with benchmark scores (arXiv 2606.19558).
"""

from __future__ import annotations

from math import log
from typing import Final

import numpy as np
import numpy.typing as npt

from model_health.baseline.observations import ItemObservation

LEAST_REST: Final = 2.0**-20
"""Probability below which the rest outside the top tokens is rounding of float32 log-probabilities, not mass."""
LOWEST_LOGPROB: Final = -700.0


def kl_bits(old: ItemObservation, new: ItemObservation) -> npt.NDArray[np.float64]:
    """[T] bits, >= 0: a lower bound of KL(old || new), exact to `LEAST_REST` of probability.

    The baseline's top tokens that `new` knows too are compared one by one, all others as one bin. Merging outcomes can
    only shrink a KL divergence (the data processing inequality), hence *lower bound*.
    """
    p_log, q_log, shared = _shared(old, new)
    p = np.where(shared, np.exp(p_log), 0.0)
    q = np.where(shared, np.exp(q_log), 0.0)
    p_rest = np.maximum(1.0 - p.sum(axis=1), LEAST_REST)
    q_rest = np.maximum(1.0 - q.sum(axis=1), LEAST_REST)
    nats = np.where(shared, p * (p_log - q_log), 0.0).sum(axis=1) + p_rest * np.log(p_rest / q_rest)
    return np.asarray(np.maximum(nats, 0.0) / log(2))


def swing(old: ItemObservation, new: ItemObservation) -> npt.NDArray[np.float64]:
    """[T] nats: how far the two candidates of a flip moved against each other; NaN where the most likely token stayed.

    The lead that the old winner lost plus the lead that the new one gained. Where every log-probability moved by at
    most d, no swing exceeds 2 d, so a flip between near-equals is told from a change of mind. A token outside the other
    side's top tokens counts as the last of these: a lower bound.
    """
    lost = old.top_logprobs[:, 0] - _logprob_of(old, new.argmax_ids)
    gained = new.top_logprobs[:, 0] - _logprob_of(new, old.argmax_ids)
    moved = np.maximum(lost.astype(np.float64), 0.0) + np.maximum(gained.astype(np.float64), 0.0)
    return np.where(old.argmax_ids == new.argmax_ids, np.nan, moved)


def _shared(
    old: ItemObservation, new: ItemObservation
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """[T, K] log-probabilities under both, and where both are known."""
    # Both columns are over the baseline's tokens: `old` is that baseline, or was replayed over the same one.
    known = old.top_logprobs if old.reference_logprobs is None else old.reference_logprobs
    p_log = np.maximum(known.astype(np.float64), LOWEST_LOGPROB)
    if new.reference_logprobs is not None:
        q_log = np.maximum(new.reference_logprobs.astype(np.float64), LOWEST_LOGPROB)
        return p_log, q_log, np.ones(p_log.shape, dtype=np.bool_)
    p_log = np.maximum(old.top_logprobs.astype(np.float64), LOWEST_LOGPROB)
    same = old.top_ids[:, :, None] == new.top_ids[:, None, :]
    place = same.argmax(axis=2)
    q_log = np.take_along_axis(np.maximum(new.top_logprobs.astype(np.float64), LOWEST_LOGPROB), place, axis=1)
    return p_log, q_log, same.any(axis=2)


def _logprob_of(item: ItemObservation, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    same = item.top_ids == ids[:, None]
    found = np.take_along_axis(item.top_logprobs, same.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(same.any(axis=1), found, item.top_logprobs[:, -1])
