"""A model whose layers lie on a GPU and on the host is measured as on one device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from accelerate import dispatch_model

from model_health.metrics.telemetry import PromptTelemetry
from support.models import build
from support.recordings import prompts, unexplained, watch

pytestmark = pytest.mark.gpu


def numbers(p: PromptTelemetry) -> list[Any]:
    assert p.logits is not None
    assert p.hidden is not None
    assert p.prompt is not None
    rows = [part for series in p.attention for part in (series.entropy_nats, series.max_weight)]
    basins = [layer.basin_scores for layer in p.prompt.layers]
    surprisals, turns = p.prompt.prompt_surprisals_bits, p.prompt.layer_transformations
    return [p.logits.entropy_bits, p.hidden.l2_norm, p.hidden.std, surprisals, turns, *rows, *basins]


def test_layers_on_two_devices_give_the_numbers_of_one(device: str) -> None:
    inputs = prompts(13, 6)
    whole, _ = watch(build("llama")[0], inputs)
    split, _ = build("llama")
    places: dict[str, Any] = {f"model.layers.{index}": device if index % 2 else "cpu" for index in range(4)}
    places |= dict.fromkeys(("model.embed_tokens", "model.rotary_emb"), "cpu") | {
        "model.norm": device,
        "lm_head": device,
    }
    split = dispatch_model(split, places, main_device="cpu")
    assert len({parameter.device for parameter in split.parameters()} - {torch.device("meta")}) == 2
    watched, _ = watch(split, inputs)
    for one, two in zip(whole.prompts, watched.prompts, strict=True):
        assert unexplained(two) == []
        assert one.generated_token_ids.tolist() == two.generated_token_ids.tolist()
        for a, b in zip(numbers(one), numbers(two), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-3)
