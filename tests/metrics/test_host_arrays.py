"""From device blocks to the arrays of one prompt: the right row, the right steps, and nothing rounded on the way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model_health.metrics.host_arrays import hidden_cutter, host, logit_cutter, pass_block
from model_health.metrics.logits import logit_statistics
from model_health.metrics.recorder import HiddenBlock


def block(steps: int, first: int, *, sketch: bool = True, layers: int = 3, batch: int = 2) -> HiddenBlock:
    """A block whose values say where they are: step, layer, row, column in the digits."""
    axes = torch.meshgrid(*(torch.arange(n) for n in (steps, layers, batch, 4)), indexing="ij")
    values = ((axes[0] + first) * 1000 + axes[1] * 100 + axes[2] * 10 + axes[3]).float()
    bad = torch.zeros(steps, layers, batch, 2, dtype=torch.bool)
    bad[-1, 0, 1, 1] = True
    return HiddenBlock(values, bad, values[..., :2] if sketch else None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64])
def test_every_tensor_becomes_a_float32_array(dtype: torch.dtype) -> None:
    array = host(torch.arange(4).to(dtype))
    assert array.dtype == np.float32
    assert array.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_blocks_are_joined_and_cut_by_row_and_step() -> None:
    cut = hidden_cutter([block(2, 0), block(3, 2)])
    series = cut(1, slice(0, 4))
    assert series.mean.tolist() == [[step * 1000 + layer * 100 + 10 for layer in range(3)] for step in range(4)]
    assert (series.std - series.mean == 1).all()
    assert (series.l2_norm - series.mean == 2).all()
    assert (series.max_abs - series.mean == 3).all()
    assert series.sketch.shape == (4, 3, 2)
    assert np.argwhere(series.inf).tolist() == [[1, 0]]
    assert not series.nan.any()
    assert not cut(0, slice(0, 5)).inf.any()


def test_without_a_sketch_the_axis_is_there_and_empty() -> None:
    assert hidden_cutter([block(2, 0, sketch=False)])(0, slice(0, 2)).sketch.shape == (2, 3, 0)


def test_the_pass_over_a_prompt_is_one_step() -> None:
    layers = [torch.full((2, 4), float(layer)) for layer in range(3)]
    bad = [torch.zeros(2, 2, dtype=torch.bool)] * 3
    seen: Any = SimpleNamespace(prompt_pass=SimpleNamespace(statistics=layers, bad=bad, sketches=[]))
    table = pass_block(seen)
    assert table is not None
    assert table.statistics.shape == (1, 3, 2, 4)
    assert table.sketch is None
    seen.prompt_pass.statistics = []
    assert pass_block(seen) is None


def records_of(z: torch.Tensor, tokens: torch.Tensor, k: int, mass_k: int) -> Any:
    """Records of steps of logits z [T, B, V] and the tokens [T, B] chosen by them."""
    return SimpleNamespace(
        logits=[logit_statistics(step[None], max(k, mass_k)) for step in z],
        chosen_logits=[step.gather(-1, one[:, None]).T for step, one in zip(z, tokens, strict=True)],
        switches=SimpleNamespace(topk=k, mass_k=mass_k),
    )


@pytest.mark.parametrize(("k", "mass_k"), [(5, 10), (10, 5), (1, 1), (40, 3)])
@pytest.mark.parametrize("vocabulary", [1, 2, 4, 30, 6000])
def test_margin_mass_and_top_tokens_are_those_of_the_row(vocabulary: int, k: int, mass_k: int) -> None:
    generator = torch.Generator().manual_seed(1)
    z = 2 * torch.randn(3, 2, vocabulary, generator=generator)
    tokens = torch.randint(0, vocabulary, (3, 2), generator=generator)
    cut = logit_cutter(records_of(z, tokens, k, mass_k))
    for row in range(2):
        series = cut(row, slice(0, 2))
        p = torch.softmax(z[:2, row].double(), -1)
        best = p.sort(descending=True).values
        second = best[:, 1] if vocabulary > 1 else torch.zeros(2)
        np.testing.assert_allclose(series.top1_top2_margin, best[:, 0] - second, atol=1e-6)
        np.testing.assert_allclose(series.topk_mass, best[:, :mass_k].sum(-1), atol=1e-6)
        assert (series.topk_mass <= 1).all()
        assert (series.top1_top2_margin <= series.topk_mass + 1e-6).all()
        assert series.topk_probs.shape == series.topk_token_ids.shape == (2, min(k, vocabulary))
        np.testing.assert_allclose(series.topk_probs, best[:, :k], atol=1e-6)
        chosen = p.gather(-1, tokens[:2, row, None])[:, 0]
        np.testing.assert_allclose(series.surprisal_bits, -chosen.log2().numpy(), atol=1e-5)


def test_a_step_that_is_not_finite_stays_so_in_every_series() -> None:
    z = torch.zeros(2, 2, 12)
    z[1, 0, 3] = torch.nan
    series = logit_cutter(records_of(z, torch.zeros(2, 2, dtype=torch.long), 5, 10))(0, slice(0, 2))
    assert series.nan.tolist() == [False, True]
    for name in ("entropy_bits", "top1_top2_margin", "topk_mass", "surprisal_bits"):
        assert np.isnan(getattr(series, name)).tolist() == [False, True], name
