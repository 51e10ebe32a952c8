"""Routers of mixtures of experts: found by the model's own declaration, and read as transformers itself reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model_health.capture.layout import find_layout
from model_health.capture.routers import NO_CAPACITY, NO_ROUTER, UNKNOWN_ROUTER, find_routers, logits_of
from model_health.config.measure import PRESETS
from support.models import build
from support.recordings import prompts, report_of, watch
from support.router_reference import check_routers, run_reference
from support.shrink import build_small

ROUTER_ONLY = PRESETS["flags"].model_copy(update={"router": True})
SOFTMAX = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "gpt_oss")
FAMILIES = (*SOFTMAX, "deepseek_v3", "dbrx", "llama4_text")


def small(name: str) -> Any:
    return build_small(name, "seq2seq" if name in ("switch_transformers", "nllb-moe") else "causal")


@pytest.mark.parametrize("name", FAMILIES)
def test_entropies_and_loads_are_those_of_the_models_own_router_logits(name: str) -> None:
    model, inputs = small(name), prompts(9, 1, 5, vocabulary=60)
    telemetry, sequences = watch(model, inputs, ROUTER_ONLY, max_new_tokens=20)
    compared = check_routers(telemetry, run_reference(model, inputs, sequences), inputs)
    routers = telemetry.prompts[0].routers
    assert routers
    assert all(series.no_drops == NO_CAPACITY and series.dropped is None for series in routers)
    assert compared == (0 if name == "llama4_text" else 3 * len(routers))
    report = report_of(telemetry.prompts[0])
    assert report.model_health.router is not None
    layer = report.model_health.router.layers[0]
    assert layer.assignments == sum(layer.load or ()) == (9 + 19) * (layer.experts_per_token or 0)
    assert report.why_null("model_health.router.layers.dropped_assignments", layer=layer.layer_index) == NO_CAPACITY


@pytest.mark.parametrize("name", ["switch_transformers", "nllb-moe"])
def test_encoder_and_decoder_routers_with_capacity_count_what_they_drop(name: str) -> None:
    model, inputs = small(name), prompts(9, 4, left=False, vocabulary=60)
    roomy, sequences = watch(model, inputs, ROUTER_ONLY, max_new_tokens=8)
    check_routers(roomy, run_reference(model, inputs, sequences), inputs)
    for module in model.modules():
        if hasattr(module, "expert_capacity"):
            module.expert_capacity = 1
            module.moe_eval_capacity_token_fraction = 0.0
    tight, _ = watch(model, inputs, ROUTER_ONLY, max_new_tokens=8)
    for before, after in zip(roomy.prompts, tight.prompts, strict=True):
        encoder = [series for series in after.routers if series.stack == "encoder"]
        assert encoder
        assert any((series.dropped or 0) > 0 for series in encoder)
        for series in after.routers:
            assert series.load is not None
            assert series.dropped is not None
            tokens = len(after.prompt_token_ids) if series.stack == "encoder" else 8
            assert int(series.load.sum()) + series.dropped == tokens * (series.experts_per_token or 0)
        assert sum(series.dropped or 0 for series in before.routers) < sum(series.dropped or 0 for series in encoder)
    report = report_of(tight.prompts[0])
    assert report.model_health.router is not None
    assert (report.model_health.router.dropped_assignments_fraction or 0) > 0


def test_a_switch_encoder_drops_exactly_the_tokens_beyond_the_capacity() -> None:
    model, inputs = small("switch_transformers"), prompts(12, left=False, vocabulary=60)
    for module in model.modules():
        if hasattr(module, "expert_capacity"):
            module.expert_capacity = 2
    telemetry, sequences = watch(model, inputs, ROUTER_ONLY, max_new_tokens=3)
    reference = run_reference(model, inputs, sequences)
    series = next(one for one in telemetry.prompts[0].routers if one.stack == "encoder")
    wanted = np.bincount(reference.encoder_logits[0][0].argmax(-1).numpy(), minlength=series.experts)
    assert series.load is not None
    assert series.load.tolist() == np.minimum(wanted, 2).tolist()
    assert series.dropped == int((wanted - np.minimum(wanted, 2)).sum())


def test_one_expert_has_no_entropy_and_the_whole_load() -> None:
    model, _ = build("mixtral", num_local_experts=1, num_experts_per_tok=1)
    telemetry, _ = watch(model, prompts(1), ROUTER_ONLY, max_new_tokens=1)
    (prompt,) = telemetry.prompts
    for series in prompt.routers:
        assert series.entropy_bits.tolist() == [0.0]
        assert series.load is not None
        assert series.load.tolist() == [1]
    report = report_of(prompt)
    assert report.model_health.router is not None
    assert report.model_health.router.layers[0].load_cv == 0.0


def test_nan_in_a_routers_weight_is_a_null_with_a_reason_and_an_uncounted_choice() -> None:
    model, _ = build("mixtral")
    with torch.no_grad():
        model.model.layers[1].mlp.gate.weight[0, 0] = float("nan")
    telemetry, _ = watch(model, prompts(5, 3), ROUTER_ONLY, max_new_tokens=4)
    for prompt in telemetry.prompts:
        healthy, sick = prompt.routers[0], prompt.routers[1]
        assert np.isfinite(healthy.entropy_bits).all()
        assert np.isnan(sick.entropy_bits).all()
        assert sick.load is not None
        assert sick.load.sum() == 0
        assert sick.unread == (len(prompt.prompt_token_ids) + 3) * 2
        report = report_of(prompt)
        router = report.model_health.router
        assert router is not None
        assert router.layers[1].non_finite_steps == router.non_finite_steps == 4
        reason = report.why_null("model_health.router.layers.max_load_share", layer=1)
        assert reason == "the router's logits are not finite"


def test_a_row_that_ended_early_counts_its_own_tokens_only() -> None:
    model, _ = build("mixtral")
    inputs = prompts(6, 4)
    plain, sequences = watch(model, inputs, ROUTER_ONLY, max_new_tokens=10)
    end = int(sequences[1, inputs["input_ids"].shape[1] + 2])
    cut, _ = watch(model, inputs, ROUTER_ONLY, max_new_tokens=10, eos_token_id=end, pad_token_id=0)
    length = len(cut.prompts[1].generated_token_ids)
    assert length <= 3
    for series, whole in zip(cut.prompts[1].routers, plain.prompts[1].routers, strict=True):
        np.testing.assert_allclose(series.entropy_bits, whole.entropy_bits[:length], atol=1e-6)
        assert series.load is not None
        assert series.load.sum() == (4 + length - 1) * 2


def test_a_dense_model_has_no_router_and_says_so() -> None:
    model, _ = build("llama")
    telemetry, _ = watch(model, prompts(4), max_new_tokens=2)
    report = report_of(telemetry.prompts[0])
    assert report.model_health.router is None
    assert report.why_null("model_health.router") == NO_ROUTER


@pytest.mark.parametrize("shape", [(2, 8, 4), (2, 2, 2, 4), (4,)])
def test_logits_that_are_not_one_row_per_token_are_refused_with_a_reason(shape: tuple[int, ...]) -> None:
    model, _ = build("mixtral")
    (router, *_), _gaps = find_routers(model, find_layout(model))
    assert isinstance(logits_of(router, (torch.zeros(8, 4),), 2, 4), torch.Tensor)
    assert isinstance(logits_of(router, (torch.zeros(shape),), 2, 4), str)


def test_choices_that_a_router_keeps_to_itself_leave_the_load_unmeasured() -> None:
    telemetry, _ = watch(small("jetmoe"), prompts(4, 2, vocabulary=60), ROUTER_ONLY, max_new_tokens=3)
    for prompt in telemetry.prompts:
        assert {series.module for series in prompt.routers} == {"mlp.router", "self_attention.experts.router"}
        assert all(series.load is None and np.isfinite(series.entropy_bits).all() for series in prompt.routers)
        report_of(prompt)


def test_probes_of_routers_leave_nothing_behind_and_change_nothing() -> None:
    model, _ = build("mixtral")
    inputs = prompts(5, 3)
    plain = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    _, watched = watch(model, inputs, ROUTER_ONLY, max_new_tokens=6)
    assert torch.equal(plain, watched)
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in model.model.layers.modules())


class _Remote(nn.Module):
    """A block as remote code writes it: a linear gate beside a list of experts, declared nowhere."""

    def __init__(self, experts: int, gate: int) -> None:
        super().__init__()
        self.gate = nn.Linear(64, gate)
        self.experts = nn.ModuleList(nn.Linear(64, 64) for _ in range(experts))


@pytest.mark.parametrize(("gate", "found"), [(4, 1), (5, 0)])
def test_an_undeclared_gate_is_a_router_if_it_has_an_output_per_expert(gate: int, found: int) -> None:
    model, _ = build("llama")
    model.model.layers[0].moe = _Remote(4, gate)
    routers, gaps = find_routers(model, find_layout(model))
    assert [router.place.path for router in routers] == ["moe.gate"] * found
    assert [gap.reason for gap in gaps] == ([] if found else [UNKNOWN_ROUTER])
