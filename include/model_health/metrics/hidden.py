"""Reduces hidden states to mean, standard deviation, L2 norm, largest magnitude and non-finite marks, on their device.

All statistics run over the hidden width of one token in float32 (a float16 state may hold finite values whose square
overflows). std is the population standard deviation, sqrt(mean(x^2) - mean(x)^2).
"""

from __future__ import annotations

import numpy as np
import torch

STATISTICS = 4
"""Columns: mean, std, l2_norm, max_abs."""


def hidden_statistics(state: torch.Tensor) -> torch.Tensor:
    """[..., H] -> [..., 4] float32: mean, std, l2_norm, max_abs.

    Four plain reductions: var_mean and aminmax over the last axis are ten times slower on a CPU. Where the mean dwarfs
    the spread E[x^2] - E[x]^2 loses digits; hidden states are centred well enough for 1e-4 relative.
    """
    x = state.float()
    width = x.shape[-1]
    norm = torch.linalg.vector_norm(x, dim=-1)
    mean = x.sum(-1) / width
    std = (norm * norm / width - mean * mean).clamp_min(0.0).sqrt()
    return torch.stack((mean, std, norm, torch.maximum(x.amax(-1), -x.amin(-1))), dim=-1)


def non_finite(state: torch.Tensor, statistics: torch.Tensor) -> torch.Tensor:
    """[..., H] and its statistics [..., 4] -> [..., 2] bool: any NaN, any infinity.

    The largest magnitude tells both, except for an infinity beside a NaN. On a GPU that is always looked for, since
    asking whether there is a NaN would make the host wait; on a CPU only where there is one.
    """
    peak = statistics[..., 3]
    infinite = torch.isinf(peak) if _known_without_nan(peak) else torch.isinf(state).any(-1)
    return torch.stack((torch.isnan(peak), infinite), dim=-1)


def _known_without_nan(values: torch.Tensor) -> bool:
    """Whether values in the host's own memory hold no NaN; of a device's values nothing is known without waiting."""
    return values.device.type == "cpu" and not np.isnan(values.numpy()).any()


def compact(view: torch.Tensor) -> torch.Tensor:
    """The tensor itself, or a copy where it is a view of something larger, which keeping it would keep alive."""
    whole = view.untyped_storage().nbytes()
    return view if whole <= view.numel() * view.element_size() else view.clone()


def on(device: torch.device, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on that device; itself, at no cost, where it is there."""
    return tensor if tensor.device == device else tensor.to(device)


def masked_mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean over tokens: [B, S, ...] -> [B, ...], where `mask` [B, S] marks real tokens (None: all are).

    Masked values are dropped, not multiplied by zero: what a model computes for padding may be NaN.
    """
    if mask is None:
        return values.mean(1)
    weights = mask.reshape(*mask.shape, *([1] * (values.dim() - 2)))
    total: torch.Tensor = torch.where(weights, values, 0.0).sum(1)
    return total / weights.sum(1)


def projection(width: int, dimensions: int, seed: int, device: torch.device) -> torch.Tensor:
    """Seeded Gaussian random projection [H, D], scaled by 1/sqrt(D) so that squared norms hold in expectation.

    Drawn on the CPU: the same seed gives the same matrix on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(width, dimensions, generator=generator) / max(dimensions, 1) ** 0.5
    placed: torch.Tensor = matrix.to(device)
    return placed


def lag_cosines(recent: torch.Tensor, fresh: torch.Tensor, lags: int) -> torch.Tensor:
    """Cosines between each fresh final state and those 1..lags steps before it.

    recent [M, B, H] (M <= lags earlier states) and fresh [N, B, H], oldest first -> [N, B, lags], NaN where there is no
    state that early. Rows of zeros give 0.
    """
    states = torch.nn.functional.normalize(torch.cat((recent, fresh)).float(), dim=-1, eps=1e-12).transpose(0, 1)
    known, new = recent.shape[0], fresh.shape[0]
    products = states[:, known:] @ states.transpose(1, 2)  # [B, N, M + N]
    device = states.device
    column = torch.arange(new, device=device)[:, None] + known - torch.arange(1, lags + 1, device=device)[None]
    found = products.gather(-1, column.clamp_min(0).expand(products.shape[0], new, lags))
    return torch.where(column >= 0, found, torch.nan).transpose(0, 1)
