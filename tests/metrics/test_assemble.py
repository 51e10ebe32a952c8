"""From device records to host telemetry: what does not agree with the model is not measured, with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model_health.capture.events import AttentionKind, AttentionSlot, StackName
from model_health.errors import CaptureError
from model_health.metrics.assemble import assemble
from model_health.metrics.recorder import HealthRecorder
from model_health.metrics.recording import Recording, record
from support.models import build
from support.recordings import FULL, prompts, report_of, unexplained, watch

NEW = 6


def recorded(family: str = "llama", *lengths: int, **overrides: Any) -> Recording:
    model, facts = build(family, **overrides)
    inputs = prompts(*(lengths or (6, 3)), left=not facts.is_encoder_decoder)
    with torch.inference_mode(), record(model, FULL) as recording:
        model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
    return recording


# -- rebuilt attention that is wrong

WRONG: dict[str, Any] = {
    "scale": lambda call: replace(call, scaling=call.scaling * 1.3),
    "mask": lambda call: replace(call, mask=None),
    "window": lambda call: replace(call, mask=None, sliding_window=2),
    "softcap": lambda call: replace(call, softcap=0.5),
}


@pytest.mark.parametrize("where", ["prefill", "decode"])
@pytest.mark.parametrize("what", WRONG)
def test_attention_that_is_rebuilt_wrongly_is_never_a_number(
    what: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probes are told another scale, mask, window or cap than the backend used."""
    model, _ = build("llama")
    seen: list[Any] = []
    honest = HealthRecorder.attention

    def lie(self: HealthRecorder, call: Any) -> None:
        decoding = call.query.shape[2] == 1
        if call.slot.layer == 1 and decoding == (where == "decode"):
            call = WRONG[what](call)
            seen.append(call)
        honest(self, call)

    monkeypatch.setattr(HealthRecorder, "attention", lie)
    batch, _ = watch(model, prompts(14, 5), max_new_tokens=NEW)
    assert seen
    for one in batch.prompts:
        assert [series.layer for series in one.attention] == [0, 2, 3]
        assert one.prompt is not None
        assert [layer.layer for layer in one.prompt.layers] == [0, 2, 3]
        gaps = {(gap.part, gap.layer): gap.reason for gap in unexplained(one)}
        assert set(gaps) == {("attention", 1), ("prompt_attention", 1)}
        assert all("miss the backend's output" in reason for reason in gaps.values())
        trace = report_of(one)
        summary = trace.timeline[-1].layers[1].attention_summary
        assert summary.entropy_mean is None
        assert summary.collapsed_head_count is None
        reason = trace.why_null("timeline.layers.attention_summary.entropy_mean", step=NEW - 1, layer=1)
        assert reason is not None
        assert "miss" in reason


def test_weights_that_belong_to_two_layers_are_not_given_to_one_of_them() -> None:
    model, _ = build("llama")
    model.model.layers[2].self_attn = model.model.layers[1].self_attn
    for new in (1, NEW):
        (one,) = watch(model, prompts(6), max_new_tokens=new)[0].prompts
        assert [series.layer for series in one.attention] == [0, 3]
        reasons = [gap.reason for gap in one.not_measured if gap.part == "attention" and gap.layer in (1, 2)]
        assert len(reasons) == 2
        assert any("twice" in reason for reason in reasons)


def test_attention_that_did_not_run_in_every_step_is_not_measured() -> None:
    recording = recorded()
    slot = AttentionSlot(StackName.DECODER, 2, AttentionKind.SELF)
    recording.recorder.records.rows.slots[slot].blocks.clear()
    (one, _) = recording.telemetry().prompts
    assert [series.layer for series in one.attention] == [0, 1, 3]
    assert [(gap.layer, gap.reason) for gap in one.not_measured if gap.part == "attention"] == [
        (2, f"it ran in 1 of {NEW} steps")
    ]


def test_a_row_that_sees_no_key_has_no_even_distribution() -> None:
    recording = recorded()
    slot = AttentionSlot(StackName.DECODER, 0, AttentionKind.SELF)
    block = recording.recorder.records.rows.slots[slot].blocks[0]
    block.visible_keys = block.visible_keys.clone()
    block.visible_keys[2, 1] = 0
    first, second = recording.telemetry().prompts
    assert np.isfinite(first.attention[0].entropy_nats).all()
    assert np.isnan(second.attention[0].entropy_nats).any(1).tolist() == [False, False, False, True, False, False]
    assert np.isnan(second.attention[0].max_weight[3]).all()


# -- prompt surprisals


def test_logits_that_cannot_be_rebuilt_leave_the_prompts_surprisals_open() -> None:
    model, _ = build("llama")

    def twist(_: Any, args: Any, output: Any) -> None:
        output.logits = output.logits * 1.5  # what no key of the config tells

    handle = model.register_forward_hook(twist)
    (one,) = watch(model, prompts(6))[0].prompts
    handle.remove()
    assert one.prompt is not None
    assert one.prompt.prompt_surprisals_bits.size == 0
    (reason,) = [gap.reason for gap in one.not_measured if gap.part == "prompt_surprisals"]
    assert "miss the model's own" in reason
    assert report_of(one).why_null("prompt_analysis.prompt_surprisals") == reason


def test_a_model_without_a_head_of_its_own_says_so() -> None:
    model, _ = build("llama")
    model.get_output_embeddings = lambda: None  # type: ignore[method-assign]
    (one,) = watch(model, prompts(6))[0].prompts
    (reason,) = [gap.reason for gap in one.not_measured if gap.part == "prompt_surprisals"]
    assert "cannot be made from its final states" in reason


def test_padding_has_no_surprisal() -> None:
    single = [watch(build("llama")[0], {k: v[row : row + 1] for k, v in prompts(9, 9).items()})[0] for row in (0, 1)]
    inputs = prompts(9, 9)
    inputs["input_ids"][1] = torch.cat((torch.zeros(4, dtype=torch.long), inputs["input_ids"][1, :5]))
    inputs["attention_mask"][1, :4] = 0
    padded = watch(build("llama")[0], inputs)[0].prompts[1]
    assert padded.prompt is not None
    assert padded.prompt.prompt_surprisals_bits.shape == (4,)
    alone = single[1].prompts[0].prompt
    assert alone is not None
    np.testing.assert_allclose(padded.prompt.prompt_surprisals_bits, alone.prompt_surprisals_bits[:4], atol=1e-4)


# -- contradictions


def test_passes_that_do_not_match_the_tokens_are_an_error() -> None:
    recording = recorded()
    records = recording.recorder.records
    assert records.sequences is not None
    for spoil in (records.sequences[:, :-2], torch.cat((records.sequences, records.sequences), 1)):
        whole, records.sequences = records.sequences, spoil
        with pytest.raises(CaptureError, match="do not match"):
            assemble(recording.recorder)
        records.sequences = whole
    assert len(assemble(recording.recorder).prompts) == 2


def test_a_generation_without_a_single_pass_is_an_error() -> None:
    recording = recorded()
    records = recording.recorder.records
    records.steps = 0
    with pytest.raises(CaptureError, match="do not match"):
        assemble(recording.recorder)


def test_assembling_twice_gives_the_same() -> None:
    recording = recorded("t5")
    one, two = recording.telemetry().prompts[0], recording.telemetry().prompts[0]
    assert one.logits is not None
    assert two.logits is not None
    np.testing.assert_array_equal(one.logits.entropy_bits, two.logits.entropy_bits)
    np.testing.assert_array_equal(one.cross_attention[1].entropy_nats, two.cross_attention[1].entropy_nats)


def test_an_encoder_without_hidden_states_is_left_out() -> None:
    model, _ = build("t5")
    switches = FULL.model_copy(update={"hidden": False})
    (one,) = watch(model, prompts(5, left=False), switches)[0].prompts
    assert one.encoder is None
    assert len(one.cross_attention) == 4


# -- sparse attention


@pytest.mark.parametrize("lengths", [(9, 4), (1, 2)])
def test_sparse_attention_names_real_tokens_only(lengths: tuple[int, ...]) -> None:
    model, _ = build("gpt2")
    switches = FULL.model_copy(update={"sparse_cap": 7, "sparse_threshold": 0.2})
    batch, _ = watch(model, prompts(*lengths), switches)
    for one, length in zip(batch.prompts, lengths, strict=True):
        assert one.prompt is not None
        for layer in one.prompt.layers:
            for head in layer.heads:
                assert len(head.weights) == len(head.query_indices) == len(head.key_indices) <= 7
                assert (head.weights > 0.2).all()
                assert (np.diff(head.weights) <= 0).all()
                assert (head.key_indices <= head.query_indices).all()
                assert ((head.query_indices >= 0) & (head.query_indices < length)).all()
                assert (head.key_indices >= 0).all()
            if length == 1:
                assert [head.weights.tolist() for head in layer.heads] == [[1.0]] * 4
