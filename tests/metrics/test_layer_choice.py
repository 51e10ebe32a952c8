"""Chosen layers and steps have the numbers of a full measurement; the rest keeps its place and says why it is empty."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from model_health.bench.counting import Counts
from model_health.capture.layout import find_layout
from model_health.capture.session import Capture
from model_health.config.layers import LAYER_LEFT_OUT, STEP_LEFT_OUT, LayerChoice
from model_health.config.measure import PRESETS, MeasureSwitches
from model_health.errors import ConfigError
from model_health.metrics.recorder import HealthRecorder
from model_health.metrics.recording import record
from model_health.metrics.telemetry import BatchTelemetry, PromptTelemetry
from model_health.report.aggregates import PROMPT_METRICS
from model_health.report.trace import Trace
from support.models import build
from support.recordings import findings_of, prompts, report_of, watch

FULL = PRESETS["full"]
EVERY = 3
SOME = FULL.model_copy(update={"layers": LayerChoice(indices=(0, -2, 2)), "every": EVERY})
CHOSEN = (0, 2)
"""Of four layers; -2 and 2 are one and the same."""

CASES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "llama": ("llama", (9, 9), {}),
    "llama padded": ("llama", (9, 4), {}),
    "llama static": ("llama", (9, 4), {"cache_implementation": "static"}),
    "llama without a cache": ("llama", (9, 4), {"use_cache": False}),
    "sliding window": ("mistral", (12, 5), {}),
    "gpt2 padded": ("gpt2", (9, 4), {}),
    "own attention": ("bloom", (9, 4), {}),
    "experts": ("mixtral", (9, 4), {}),
    "t5 padded": ("t5", (9, 4), {}),
}


@cache
def measured(case: str, switches: MeasureSwitches) -> BatchTelemetry:
    family, lengths, settings = CASES[case]
    model, facts = build(family)
    inputs = prompts(*lengths, left=not facts.is_encoder_decoder)
    # two blocks of steps and a bit, so that rows of steps far apart are reduced together
    return watch(model, inputs, switches, max_new_tokens=70, **settings)[0]


@pytest.fixture(params=sorted(CASES))
def both(request: pytest.FixtureRequest) -> tuple[PromptTelemetry, PromptTelemetry]:
    """The padded (or second) prompt under the full measurement, and with layers and steps left out."""
    return measured(request.param, FULL).prompts[1], measured(request.param, SOME).prompts[1]


def same(ours: Any, full: Any) -> None:
    np.testing.assert_allclose(ours, full, rtol=2e-4, atol=2e-5)


def test_chosen_layers_and_steps_have_the_numbers_of_a_full_measurement(
    both: tuple[PromptTelemetry, PromptTelemetry],
) -> None:
    full, some = both
    assert full.hidden is not None
    assert some.hidden is not None
    steps = np.arange(0, len(full.generated_token_ids), EVERY)
    place = np.ix_(steps, CHOSEN)
    for name in ("mean", "std", "l2_norm", "max_abs", "nan", "inf"):
        same(getattr(some.hidden, name)[place], getattr(full.hidden, name)[place])
    for ours, theirs in ((some.attention, full.attention), (some.cross_attention, full.cross_attention)):
        expected = [series for series in theirs if series.layer in CHOSEN]
        assert [series.layer for series in ours] == [series.layer for series in expected]
        for one, other in zip(ours, expected, strict=True):
            for name in ("entropy_nats", "max_weight", "visible_keys"):
                same(getattr(one, name)[steps], getattr(other, name)[steps])
    assert some.prompt is not None
    assert full.prompt is not None
    assert [layer.layer for layer in some.prompt.layers] == list(CHOSEN)
    for layer in some.prompt.layers:
        same(layer.basin_scores, full.prompt.layers[layer.layer].basin_scores)
        assert len(layer.heads) == len(full.prompt.layers[layer.layer].heads)


def test_nothing_else_is_measured_and_nothing_else_is_lost(both: tuple[PromptTelemetry, PromptTelemetry]) -> None:
    full, some = both
    assert some.hidden is not None
    assert some.hidden.seen is not None
    expected = np.zeros((70, 4), bool)
    expected[np.ix_(range(0, 70, EVERY), CHOSEN)] = True
    assert np.array_equal(some.hidden.seen, expected)
    for name in ("mean", "std", "l2_norm", "max_abs"):
        assert np.isnan(getattr(some.hidden, name)[~expected]).all()
    assert not (some.hidden.nan | some.hidden.inf).any()
    for series in (*some.attention, *some.cross_attention):
        assert series.seen is not None
        assert np.isnan(series.entropy_nats[~series.seen]).all()
        assert not series.visible_keys[~series.seen].any()
    for name in ("logits", "final_hidden"):
        ours, theirs = getattr(some, name), getattr(full, name)
        for field in (field.name for field in fields(theirs) if field.name != "seen"):
            same(getattr(ours, field), getattr(theirs, field))
    same(some.lag_cosine, full.lag_cosine)
    assert some.prompt is not None
    assert full.prompt is not None
    same(some.prompt.prompt_surprisals_bits, full.prompt.prompt_surprisals_bits)
    assert not len(some.prompt.layer_transformations)


def test_an_encoder_is_read_in_its_chosen_layers() -> None:
    full, some = (measured("t5 padded", switches).prompts[1].encoder for switches in (FULL, SOME))
    assert full is not None
    assert some is not None
    assert some.hidden.seen is not None
    assert some.hidden.seen.tolist() == [[True, False, True, False]]
    same(some.hidden.l2_norm[:, CHOSEN], full.hidden.l2_norm[:, CHOSEN])
    assert [series.layer for series in some.attention] == list(CHOSEN)
    assert [series.seen for series in some.attention] == [None, None]
    same(some.attention[1].entropy_nats, full.attention[2].entropy_nats)


def test_routers_of_chosen_layers_count_the_steps_that_were_looked_at() -> None:
    full, some = (measured("experts", switches).prompts[1].routers for switches in (FULL, SOME))
    assert [router.layer for router in some] == list(CHOSEN)
    for ours, theirs in zip(some, (full[0], full[2]), strict=True):
        steps = np.arange(70) % EVERY == 0
        assert np.array_equal(ours.recorded, steps)
        same(ours.entropy_bits[steps], theirs.entropy_bits[steps])
        assert ours.load is not None
        assert ours.experts_per_token is not None
        assert int(ours.load.sum()) == (4 + len(range(EVERY, 70, EVERY))) * ours.experts_per_token


# -- reports


def test_a_report_says_of_every_null_what_left_it_out(both: tuple[PromptTelemetry, PromptTelemetry]) -> None:
    trace = Trace.model_validate_json(report_of(both[1]).model_dump_json())
    for step, row in enumerate(trace.timeline):
        assert len(row.layers) == 4
        assert row.logits_summary.entropy is not None
        for layer in row.layers:
            seen = layer.layer_index in CHOSEN and step % EVERY == 0
            assert (layer.anomalies is not None) is seen
            assert (layer.hidden_summary.l2_norm_mean is not None) is seen
            assert (layer.attention_summary.entropy_mean is not None) is seen
            if not seen:
                part = "timeline.layers.hidden_summary.l2_norm_mean"
                left_out = LAYER_LEFT_OUT if layer.layer_index not in CHOSEN else STEP_LEFT_OUT
                assert trace.why_null(part, step=step, layer=layer.layer_index) == left_out
    assert "neighbours" in str(trace.why_null("prompt_analysis.layer_transformations"))
    # an entry for each step, for each layer (twice: the prompt's attention), and a few of the model's own
    routed = trace.model_health.router is not None
    assert len(trace.model_health.not_measured) < 70 * (1 + routed) + 12


@pytest.mark.parametrize(
    ("chosen", "middle", "early"),
    [((0, 1), True, True), ((0, 3), None, True), ((1, 2), None, None), ((3,), None, None)],
    ids=str,
)
def test_findings_speak_of_what_was_seen_and_are_null_where_nothing_was(
    chosen: tuple[int, ...], middle: bool | None, early: bool | None
) -> None:
    switches = PRESETS["standard"].model_copy(update={"layers": LayerChoice(indices=chosen), "every": 2})
    telemetry = measured("llama padded", switches).prompts[1]
    findings = findings_of(telemetry)
    full = findings_of(measured("llama padded", FULL).prompts[1])
    assert findings.mid_layer_anomaly_detected is (full.mid_layer_anomaly_detected if middle else None)
    if middle is None:
        assert findings.undetermined["mid_layer_anomaly_detected"] == LAYER_LEFT_OUT
    assert findings.nan_detected is False
    assert findings.repetition_loop_detected is full.repetition_loop_detected
    value, reason = PROMPT_METRICS["hidden_l2_norm_early_mean"](report_of(telemetry))
    assert (value is not None) is bool(early)
    assert reason == (None if early else LAYER_LEFT_OUT)


def test_a_fault_in_a_layer_that_was_left_out_shows_in_those_behind_it() -> None:
    model, _ = build("llama")
    layer = find_layout(model).decoder.layers[1]
    handle = layer.register_forward_hook(lambda module, args, output: output * float("nan"))
    try:
        telemetry = watch(model, prompts(9, 4), SOME)[0].prompts[1]
    finally:
        handle.remove()
    findings = findings_of(telemetry)
    assert findings.nan_detected is True
    first = next(finding for finding in findings.non_finite if finding.where == "hidden")
    assert (first.step, first.layer) == (0, 2)
    assert report_of(telemetry).model_health.non_finite_layers == 1
    bands = {band: PROMPT_METRICS[f"hidden_l2_norm_{band}_mean"](report_of(telemetry)) for band in ("middle", "late")}
    assert bands == {"middle": (None, LAYER_LEFT_OUT), "late": (None, "NaN in the layer's output")}


def test_a_fault_behind_the_last_chosen_layer_shows_at_every_step_in_the_final_state() -> None:
    model, _ = build("llama")
    layer, passes = find_layout(model).decoder.layers[3], []

    def break_fifth(module: Any, args: Any, output: Any) -> Any:
        passes.append(1)
        return output * float("inf") if len(passes) == 5 else output

    handle = layer.register_forward_hook(break_fifth)
    try:
        telemetry = watch(model, prompts(9, 4), SOME)[0].prompts[1]
    finally:
        handle.remove()
    findings = findings_of(telemetry)
    assert findings.flags & {"nan_detected", "inf_detected"}
    assert {(finding.step, finding.layer) for finding in findings.non_finite if finding.where == "hidden"} == {(4, 4)}


# -- ways to choose, and their errors


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (LayerChoice(stride=3), [0, 3]),
        (LayerChoice(indices=(-1,)), [3]),
        (LayerChoice(regex=r"layers\.[12]$"), [1, 2]),
        (LayerChoice(stride=1), [0, 1, 2, 3]),
    ],
    ids=str,
)
def test_each_way_to_choose_is_obeyed(choice: LayerChoice, chosen: list[int]) -> None:
    model, _ = build("llama")
    telemetry = watch(model, prompts(9, 4), FULL.model_copy(update={"layers": choice}))[0].prompts[0]
    assert [series.layer for series in telemetry.attention] == chosen
    assert telemetry.hidden is not None
    assert np.flatnonzero(np.isfinite(telemetry.hidden.mean).all(0)).tolist() == chosen


def test_a_name_can_choose_layers_of_one_stack_alone() -> None:
    model, _ = build("t5")
    switches = FULL.model_copy(update={"layers": LayerChoice(regex=r"^encoder\.block\.1$")})
    telemetry = watch(model, prompts(9, 4, left=False), switches)[0].prompts[1]
    assert telemetry.hidden is None
    assert not telemetry.attention
    assert telemetry.encoder is not None
    trace = report_of(telemetry)
    assert trace.why_null("timeline.layers.hidden_summary", step=3, layer=0) == LAYER_LEFT_OUT
    assert findings_of(telemetry).mid_layer_anomaly_detected is None
    other = FULL.model_copy(update={"layers": LayerChoice(regex=r"^decoder\.block\.1$")})
    telemetry = watch(model, prompts(9, 4, left=False), other)[0].prompts[1]
    assert report_of(telemetry).timeline[0].layers[1].hidden_summary.mean is not None


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (LayerChoice(indices=(1, 4)), "measure.layers: layer 4 is out of range"),
        (LayerChoice(indices=(-5,)), "layer -5 is out of range"),
        (LayerChoice(regex="decoder"), "measure.layers: regex 'decoder' chooses no layer"),
    ],
    ids=str,
)
def test_a_choice_that_the_model_cannot_follow_is_refused_before_it_runs(choice: LayerChoice, words: str) -> None:
    model, _ = build("llama")
    with pytest.raises(ConfigError) as caught, record(model, FULL.model_copy(update={"layers": choice})):
        pytest.fail("it was accepted")  # pragma: no cover
    assert words in str(caught.value)
    assert "LlamaForCausalLM" in str(caught.value)
    assert "\n" not in str(caught.value)


# -- price

NO_LAYERS = {"hidden": False, "attention": False, "basin_scores": False, "layer_transformations": False}


@cache
def kernels(**update: Any) -> int:
    """Kernels of a prefill and 32 decode steps, under `standard` with changes."""
    model, _ = build("llama")
    switches = PRESETS["standard"].model_copy(update={"layer_transformations": False, **update})
    with torch.inference_mode(), Counts() as count, record(model, switches):
        model.generate(**prompts(9, 9), max_new_tokens=33, do_sample=False)
    return int(count.kernels.total())


def test_every_layer_that_is_left_out_takes_its_price_with_it() -> None:
    """Four layers cost four times one; what is left is the price of logits and final states."""
    base = kernels(**NO_LAYERS)
    one = kernels(layers=LayerChoice(indices=(0,))) - base
    two = kernels(layers=LayerChoice(indices=(0, 1))) - base
    four = kernels() - base
    assert 0 < one < two < four
    assert four >= 3 * (two - one)


def test_every_step_that_is_left_out_takes_its_price_with_it() -> None:
    base = kernels(**NO_LAYERS)
    every, fourth, last = (kernels(every=every) - base for every in (1, 4, 32))
    assert 0 < last < fourth < every


def test_a_step_that_is_left_out_calls_nobody_with_a_layers_tensors() -> None:
    """Neither observer nor reduction: between two steps that are looked at, the probes of layers return at once."""
    model, _ = build("bloom")
    steps: list[int] = []

    class Watching(HealthRecorder):
        def hidden_state(self, stack: Any, layer: int, state: torch.Tensor) -> None:
            steps.append(self._step)
            super().hidden_state(stack, layer, state)

        def attention(self, call: Any) -> None:
            steps.append(self._step)
            super().attention(call)

    recorder = Watching(FULL.model_copy(update={"every": 5}))
    with torch.inference_mode(), Capture(model, recorder):
        model.generate(**prompts(9, 4), max_new_tokens=12, do_sample=False)
    assert sorted(set(steps)) == [0, 5, 10]


# -- blocks that do not run, or run twice


@pytest.mark.parametrize(
    ("chosen", "left_out", "reason"),
    [
        ((1, 3), (1,), "its block 1 did not run"),
        ((0, 3), (3,), "its block 3 did not run"),
        ((2,), (2,), "its block 2 did not run"),
        ((0, 3), (0,), "its first block did not run"),
        ((0, 3), (1,), None),
        ((0, 1, 3), (1,), None),
    ],
    ids=str,
)
def test_a_chosen_block_that_does_not_run_never_has_the_state_of_one_that_was_not_seen_before_it(
    chosen: tuple[int, ...], left_out: tuple[int, ...], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = build("llama")
    whole = find_layout(model)
    body: Any = model.model
    switches = PRESETS["flags"].model_copy(update={"layers": LayerChoice(indices=chosen)})
    with torch.inference_mode(), record(model, switches) as recording:
        # the capture knows all blocks; the model then leaves some of them out
        kept = [layer for index, layer in enumerate(whole.decoder.layers) if index not in left_out]
        monkeypatch.setattr(body, "layers", torch.nn.ModuleList(kept))
        model.generate(**prompts(9, 4), max_new_tokens=4, do_sample=False, use_cache=False)
    (telemetry, _) = recording.telemetry().prompts
    if reason is not None:
        assert telemetry.hidden is None
        assert ("hidden", reason) in {(gap.part, gap.reason) for gap in telemetry.not_measured}
    else:
        assert telemetry.hidden is not None
        assert np.isfinite(telemetry.hidden.mean[:, chosen]).all()
        if 1 in chosen:
            same(telemetry.hidden.l2_norm[:, 1], telemetry.hidden.l2_norm[:, 0])


def test_a_chosen_block_that_runs_twice_in_a_pass_is_refused() -> None:
    model, _ = build("llama")
    layers = find_layout(model).decoder.layers
    switches = PRESETS["flags"].model_copy(update={"layers": LayerChoice(indices=(1,))})
    twice = layers[2].register_forward_pre_hook(
        lambda module, args, kwargs: _again(layers[1], args, kwargs), with_kwargs=True
    )
    try:
        telemetry = watch(model, prompts(9, 4), switches, use_cache=False)[0].prompts[0]
    finally:
        twice.remove()
    assert telemetry.hidden is None
    assert any("more than once" in gap.reason for gap in telemetry.not_measured)


def _again(layer: torch.nn.Module, args: Any, kwargs: Any) -> None:
    layer(*args, **kwargs)
