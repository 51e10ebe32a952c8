"""A NaN or Inf anywhere is seen, in the right place first, and turns into null with a reason, never into a number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model_health.config.measure import PRESETS
from model_health.metrics.findings import NonFiniteFinding
from model_health.metrics.non_finite import find_non_finite
from model_health.metrics.telemetry import AttentionSeries
from model_health.report.serialise import to_json
from support.models import build
from support.recordings import findings_of, prompts, report_of, watch
from support.telemetry import make_telemetry

INF, NAN = float("inf"), float("nan")
LAYERS = 4
WEIGHTS = {
    "llama": "model.layers.{}.mlp.down_proj",
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "t5": "decoder.block.{}.layer.2.DenseReluDense.wo",
    "mamba": "backbone.layers.{}.mixer.out_proj",
}


@contextmanager
def changed_output(module: Any, change: Any) -> Iterator[None]:
    """Let `change` work on a copy of what a module returns."""

    def hook(_: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        copy = output.clone()
        change(copy)
        return copy

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


# -- unit


def test_a_healthy_prompt_has_none() -> None:
    assert find_non_finite(make_telemetry(encoder=True)) == ()


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_the_first_step_and_its_first_layer_are_named(kind: str) -> None:
    telemetry = make_telemetry(layers=3)
    assert telemetry.hidden is not None
    assert telemetry.logits is not None
    marks = np.zeros((6, 3), bool)
    marks[4, 0] = marks[2, 1:] = True
    steps = marks.any(1)
    telemetry = replace(
        telemetry,
        hidden=replace(telemetry.hidden, **{kind: marks}),
        logits=replace(telemetry.logits, **{kind: steps}),
    )
    assert set(find_non_finite(telemetry)) == {
        NonFiniteFinding(where="hidden", kind=kind, step=2, layer=1),
        NonFiniteFinding(where="logits", kind=kind, step=2, layer=None),
    }


def test_the_final_norm_counts_as_one_layer_more_for_a_kind_that_no_block_showed() -> None:
    telemetry = make_telemetry(layers=3)
    assert telemetry.hidden is not None
    assert telemetry.final_hidden is not None
    inf = np.zeros((6, 3), bool)
    inf[1, 2] = True
    late = np.zeros((6, 1), bool)
    late[1] = True
    telemetry = replace(
        telemetry,
        hidden=replace(telemetry.hidden, inf=inf),
        final_hidden=replace(telemetry.final_hidden, nan=late, inf=late),
    )
    assert set(find_non_finite(telemetry)) == {
        NonFiniteFinding(where="hidden", kind="inf", step=1, layer=2),
        NonFiniteFinding(where="hidden", kind="nan", step=1, layer=3),
    }


def test_an_attention_row_that_is_nan_is_found_at_its_earliest_step() -> None:
    rows = np.ones((3, 2), np.float32)
    late, early = rows.copy(), rows.copy()
    late[2, 0] = early[1, 1] = np.nan
    keys = np.array([5, 6, 7])
    series = (AttentionSeries(0, late, rows, keys), AttentionSeries(1, early, rows, keys))
    found = find_non_finite(make_telemetry(attention=series))
    assert found == (NonFiniteFinding(where="attention", kind="nan", step=1, layer=1),)


def test_an_infinite_surprisal_is_a_masked_token_and_no_anomaly_unless_its_sign_says_otherwise() -> None:
    telemetry = make_telemetry()
    assert telemetry.prompt is not None
    for value, kinds in ((np.inf, []), (np.nan, ["nan"]), (-np.inf, ["inf"])):
        bits = telemetry.prompt.prompt_surprisals_bits.copy()
        bits[1] = value
        prompt = replace(telemetry.prompt, prompt_surprisals_bits=bits)
        assert [found.kind for found in find_non_finite(replace(telemetry, prompt=prompt))] == kinds


# -- planted in real models


@pytest.mark.parametrize("value", [NAN, INF], ids=["nan", "inf"])
@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize("family", WEIGHTS)
def test_a_weight_gone_bad_is_found_in_its_layer_and_no_metric_looks_healthy(
    family: str, layer: int, value: float
) -> None:
    model, facts = build(family)
    model.get_submodule(WEIGHTS[family].format(layer)).weight.data[0, 0] = value
    batch, _ = watch(model, prompts(6, 3, left=not facts.is_encoder_decoder), max_new_tokens=4)
    for telemetry in batch.prompts:
        assert telemetry.hidden is not None
        bad = telemetry.hidden.nan | telemetry.hidden.inf
        assert np.argwhere(bad.any(0))[0, 0] == layer
        found = findings_of(telemetry)
        assert found.nan_detected is True
        hidden = [one for one in found.non_finite if one.where == "hidden"]
        assert min(one.layer for one in hidden if one.layer is not None) == layer
        assert telemetry.logits is not None
        assert np.isnan(telemetry.logits.entropy_bits[telemetry.logits.nan]).all()
        assert telemetry.logits.nan[-1]
        trace = report_of(telemetry)
        to_json(trace)
        newest = trace.timeline[-1]
        summary = newest.logits_summary
        assert summary.entropy is summary.top1_top2_margin is summary.surprisal is summary.perplexity is None
        assert newest.layers[layer].hidden_summary.l2_norm_mean is None
        for part, at in (("timeline.logits_summary.entropy", None), ("timeline.layers.hidden_summary.mean", layer)):
            reason = trace.why_null(part, step=len(trace.timeline) - 1, layer=at)
            assert reason, part
        assert all(trace.why_null(gap.part, step=gap.step, layer=gap.layer) for gap in trace.gaps())
        if layer:
            assert trace.timeline[-1].layers[layer - 1].hidden_summary.l2_norm_mean is not None


def test_an_infinite_state_that_the_final_norm_hides_is_still_seen() -> None:
    model, _ = build("llama")

    def plant(state: torch.Tensor) -> None:
        state[..., 0] = INF

    def hide(state: torch.Tensor) -> None:
        state.nan_to_num_(0.0, 1.0, -1.0)

    with changed_output(model.model.layers[-1], plant), changed_output(model.model.norm, hide):
        batch, _ = watch(model, prompts(5), max_new_tokens=3)
    (telemetry,) = batch.prompts
    found = findings_of(telemetry)
    assert found.inf_detected is True
    assert found.nan_detected is False
    assert found.non_finite[0] == NonFiniteFinding(where="hidden", kind="inf", step=0, layer=LAYERS - 1)
    assert telemetry.logits is not None
    assert np.isfinite(telemetry.logits.entropy_bits).all()


def test_logits_that_the_model_masks_on_purpose_are_no_anomaly() -> None:
    model, _ = build("llama")

    def mask(logits: torch.Tensor) -> None:
        logits[..., 200:] = -INF

    with changed_output(model.lm_head, mask):
        batch, _ = watch(model, prompts(5, 2, vocabulary=150))
    for telemetry in batch.prompts:
        found = findings_of(telemetry)
        assert found.non_finite == ()
        assert found.nan_detected is found.inf_detected is False
        assert telemetry.logits is not None
        assert np.isfinite(telemetry.logits.entropy_bits).all()
        assert (telemetry.logits.entropy_bits <= np.log2(200) + 1e-4).all()
        assert telemetry.prompt is not None
        assert np.isfinite(telemetry.prompt.prompt_surprisals_bits).all()
        assert [gap.part for gap in report_of(telemetry).gaps()] == ["model_health.router"]  # no mixture of experts


def test_a_row_in_which_all_is_masked_is_an_anomaly_of_that_row_alone() -> None:
    model, _ = build("llama")

    def kill(logits: torch.Tensor) -> None:
        logits[1] = -INF

    with changed_output(model.lm_head, kill):
        batch, _ = watch(model, prompts(5, 5), max_new_tokens=3)
    healthy, dead = batch.prompts
    assert findings_of(healthy).inf_detected is False
    assert findings_of(dead).inf_detected is True
    trace = report_of(dead)
    assert [step.logits_summary.entropy for step in trace.timeline] == [None] * 3
    assert [step.logits_summary.topk for step in trace.timeline] == [()] * 3


def test_nan_that_appears_late_is_dated() -> None:
    model, _ = build("gpt2")
    calls = 0

    def late(state: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            state[0, -1, 3] = NAN

    with changed_output(model.transformer.h[1], late):
        batch, _ = watch(model, prompts(4, 4), max_new_tokens=24)
    first, second = batch.prompts
    assert findings_of(first).non_finite[0] == NonFiniteFinding(where="hidden", kind="nan", step=20, layer=1)
    assert findings_of(second).non_finite == ()
    assert first.hidden is not None
    assert np.isfinite(first.hidden.l2_norm[:20]).all()


def test_a_query_gone_bad_is_seen_in_attention_even_with_the_hidden_states_switched_off() -> None:
    model, _ = build("llama")
    model.model.layers[2].self_attn.q_proj.weight.data[0, 0] = NAN
    switches = PRESETS["full"].model_copy(update={"hidden": False, "logits": False})
    (telemetry,) = watch(model, prompts(6), switches, max_new_tokens=4)[0].prompts
    found = findings_of(telemetry)
    assert found.nan_detected is True
    assert NonFiniteFinding(where="attention", kind="nan", step=0, layer=2) in found.non_finite
    assert found.attention_collapse_detected is not False


def test_an_encoder_gone_bad_is_seen_in_its_own_stack() -> None:
    model, _ = build("t5")
    model.encoder.block[1].layer[1].DenseReluDense.wo.weight.data[0, 0] = NAN
    (telemetry,) = watch(model, prompts(6, left=False), max_new_tokens=3)[0].prompts
    found = findings_of(telemetry)
    assert NonFiniteFinding(where="prompt", kind="nan", step=None, layer=1) in found.non_finite
    assert found.nan_detected is True
    assert report_of(telemetry).encoder_layers is not None
