"""`record` around any call of generate: every way to call it gives the same numbers, and steps match tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import EosTokenCriteria
from transformers.generation import utils as generation_utils

from model_health.config.measure import PRESETS
from model_health.errors import CaptureError
from model_health.metrics.recording import record
from model_health.metrics.telemetry import MAX_LAG, BatchTelemetry, PromptTelemetry
from support.models import build, byte_tokenizer
from support.recordings import FULL, findings_of, prompts, report_of, unexplained, watch

NEW = 12


def same(one: PromptTelemetry, two: PromptTelemetry, steps: int | None = None) -> None:
    """The first `steps` steps of both say the same."""
    span = slice(0, steps)
    assert one.generated_token_ids[span].tolist() == two.generated_token_ids[span].tolist()
    assert one.logits is not None
    assert two.logits is not None
    assert one.hidden is not None
    assert two.hidden is not None
    for name in ("entropy_bits", "surprisal_bits", "topk_mass"):
        got, want = getattr(one.logits, name)[span], getattr(two.logits, name)[span]
        np.testing.assert_allclose(got, want, atol=1e-4)
    np.testing.assert_allclose(one.hidden.l2_norm[span], two.hidden.l2_norm[span], rtol=1e-4)
    np.testing.assert_allclose(one.lag_cosine[span], two.lag_cosine[span], atol=1e-4)
    assert len(one.attention) == len(two.attention) > 0
    for here, there in zip(one.attention, two.attention, strict=True):
        np.testing.assert_allclose(here.entropy_nats[span], there.entropy_nats[span], atol=1e-3)
        assert here.visible_keys[span].tolist() == there.visible_keys[span].tolist()


def whole(batch: BatchTelemetry) -> None:
    """Every array of every prompt is as long as its tokens, finite, and makes a report without a gap."""
    for one in batch.prompts:
        steps = len(one.generated_token_ids)
        assert one.logits is not None
        assert one.hidden is not None
        assert one.final_hidden is not None
        arrays = [
            one.logits.entropy_bits,
            one.logits.topk_probs,
            one.hidden.mean,
            one.final_hidden.mean,
            one.lag_cosine,
        ]
        arrays += [series.entropy_nats for series in (*one.attention, *one.cross_attention)]
        assert {len(array) for array in arrays} == {steps}
        assert np.isfinite(one.hidden.mean).all()
        assert findings_of(one).non_finite == ()
    assert len(batch.step_seconds) == max(len(one.generated_token_ids) for one in batch.prompts) - 1
    assert batch.time_to_first_token_seconds > 0
    assert batch.total_seconds >= batch.probe_seconds > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"return_dict_in_generate": True},
        {"return_dict_in_generate": True, "output_scores": True, "output_hidden_states": True, "output_logits": True},
        {"repetition_penalty": 1.0001},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["llama", "mistral", "t5"])
def test_every_way_to_call_generate_gives_the_same_numbers(family: str, settings: dict[str, Any]) -> None:
    model, facts = build(family)
    inputs = prompts(7, 2, left=not facts.is_encoder_decoder)
    plain, _ = watch(model, inputs)
    other, _ = watch(model, inputs, **settings)
    whole(other)
    for one, two in zip(plain.prompts, other.prompts, strict=True):
        same(one, two)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 18, 33, 34])
def test_a_generation_may_end_anywhere_in_a_block(count: int) -> None:
    model, _ = build("llama")
    longest, _ = watch(model, prompts(3, 5), max_new_tokens=34)
    batch, _ = watch(model, prompts(3, 5), max_new_tokens=count)
    whole(batch)
    for one, two in zip(batch.prompts, longest.prompts, strict=True):
        assert len(one.generated_token_ids) == count
        same(one, two, count)


def test_a_row_that_ends_early_ends_in_every_array_and_the_others_go_on() -> None:
    model, _ = build("gpt2")
    inputs = prompts(6, 4, 3)
    free, _ = watch(model, inputs, max_new_tokens=20)
    tokens = [one.generated_token_ids.tolist() for one in free.prompts]
    eos = tokens[1][4]
    batch, _ = watch(model, inputs, max_new_tokens=20, eos_token_id=eos)
    whole(batch)
    for one, two, own in zip(batch.prompts, free.prompts, tokens, strict=True):
        ends = eos in own
        length = own.index(eos) + 1 if ends else 20
        assert len(one.generated_token_ids) == length
        assert one.stopped_by == ("eos" if ends else "length")
        same(one, two, length)
    assert len({len(one.generated_token_ids) for one in batch.prompts}) > 1


def test_all_rows_may_end_before_the_limit() -> None:
    model, _ = build("llama")
    (free,) = watch(model, prompts(5))[0].prompts
    eos = int(free.generated_token_ids[0])
    batch, _ = watch(model, prompts(5), eos_token_id=[eos, 3])
    assert batch.prompts[0].generated_token_ids.tolist() == [eos]
    assert batch.prompts[0].stopped_by == "eos"
    whole(batch)


def test_a_pass_that_transformers_takes_back_shifts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On some devices the end is looked for a step late, at the price of one more forward pass."""

    class Event:
        def __init__(self, **_: Any) -> None: ...
        def record(self) -> None: ...
        def synchronize(self) -> None: ...

    model, _ = build("llama")
    inputs = prompts(5)
    free, _ = watch(model, inputs)
    eos = int(free.prompts[0].generated_token_ids[6])
    expected, _ = watch(model, inputs, eos_token_id=eos)
    forwards: list[int] = []
    handle = model.register_forward_hook(lambda *_: forwards.append(1))
    monkeypatch.setattr(generation_utils.DeferredStopCheck, "is_supported", staticmethod(lambda *_, **__: True))
    monkeypatch.setattr(torch, "Event", Event)
    late, _ = watch(model, inputs, eos_token_id=eos)
    handle.remove()
    steps = len(expected.prompts[0].generated_token_ids)
    assert len(forwards) == steps + 1
    whole(late)
    same(late.prompts[0], expected.prompts[0])
    assert late.prompts[0].prompt_token_ids.tolist() == inputs["input_ids"][0].tolist()


def test_sampling_is_described_by_the_models_own_distribution() -> None:
    model, _ = build("llama")
    inputs = prompts(6, 6)
    torch.manual_seed(3)
    batch, out = watch(
        model, inputs, do_sample=True, temperature=0.3, top_k=5, return_dict_in_generate=True, output_logits=True
    )
    whole(batch)
    for row, one in enumerate(batch.prompts):
        assert one.generated_token_ids.tolist() == out.sequences[row, 6:].tolist()
        for step, token in enumerate(one.generated_token_ids):
            log_p = torch.log_softmax(out.logits[step][row].double(), -1)
            assert one.logits is not None
            assert one.logits.surprisal_bits[step] == pytest.approx(-float(log_p[token]) / np.log(2), abs=1e-4)


def test_watching_does_not_change_what_is_sampled() -> None:
    model, _ = build("llama")
    inputs = prompts(6, 3)
    settings: dict[str, Any] = {"max_new_tokens": 20, "do_sample": True}
    torch.manual_seed(11)
    plain = model.generate(**inputs, **settings)
    torch.manual_seed(11)
    _, watched = watch(model, inputs, **settings)
    assert torch.equal(plain, watched)


def test_a_stop_string_ends_one_prompt_by_other_means() -> None:
    model, _ = build("llama")
    tokenizer = byte_tokenizer()
    letters = set(tokenizer.convert_tokens_to_ids(list("abcdefghijklmnopqrstuvwxyz")))
    speech: dict[str, Any] = {"suppress_tokens": [token for token in range(320) if token not in letters]}
    (free,) = watch(model, prompts(5), **speech)[0].prompts
    text = tokenizer.decode(free.generated_token_ids[3:5])
    batch, _ = watch(model, prompts(5), stop_strings=[text], tokenizer=tokenizer, **speech)
    (one,) = batch.prompts
    assert one.stopped_by == "other"
    assert len(one.generated_token_ids) <= 5
    whole(batch)
    same(one, free, len(one.generated_token_ids))


def test_a_criterion_of_the_user_ends_a_single_prompt() -> None:
    model, _ = build("llama")
    (free,) = watch(model, prompts(5))[0].prompts
    stop = EosTokenCriteria(int(free.generated_token_ids[2]))
    batch, _ = watch(model, prompts(5), stopping_criteria=[stop])
    assert batch.prompts[0].stopped_by == "other"
    whole(batch)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_decoder_may_start_with_several_tokens(family: str) -> None:
    model, _ = build(family)
    inputs = prompts(6, 4, left=False)
    start = model.generation_config.decoder_start_token_id
    given = torch.tensor([[start, 11, 12], [start, 21, 22]])
    batch, out = watch(model, inputs, decoder_input_ids=given)
    whole(batch)
    for row, one in enumerate(batch.prompts):
        assert one.generated_token_ids.tolist() == out[row, 3:].tolist()
        assert one.attention[0].visible_keys.tolist() == list(range(3, 3 + NEW))
        assert one.cross_attention[0].visible_keys.tolist() == [[6, 4][row]] * NEW


EDGES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "one layer": ("llama", {"num_hidden_layers": 1}, (5, 2)),
    "two layers": ("gpt2", {"n_layer": 2}, (5, 2)),
    "one head": ("llama", {"num_attention_heads": 1, "num_key_value_heads": 1}, (5, 2)),
    "one key head": ("llama", {"num_key_value_heads": 1}, (5, 2)),
    "seven tokens in the vocabulary": ("llama", {"vocab_size": 7}, (5, 2)),
    "two tokens in the vocabulary": ("llama", {"vocab_size": 2, "bos_token_id": None, "eos_token_id": None}, (3, 3)),
    "one token": ("llama", {}, (1,)),
    "two tokens": ("llama", {}, (2,)),
    "one token beside many": ("llama", {}, (1, 30)),
    "one token for an encoder": ("t5", {}, (1,)),
    "eager": ("llama", {"attn_implementation": "eager"}, (5, 2)),
}


@pytest.mark.parametrize("edge", EDGES)
def test_small_models_and_small_prompts_are_measured_whole(edge: str) -> None:
    family, changes, lengths = EDGES[edge]
    model, facts = build(family, **changes)
    inputs = prompts(*lengths, left=not facts.is_encoder_decoder, vocabulary=facts.vocab_size)
    batch, _ = watch(model, inputs)
    whole(batch)
    for one, length in zip(batch.prompts, lengths, strict=True):
        assert one.prompt is not None
        assert one.logits is not None
        both = facts.is_encoder_decoder
        assert unexplained(one) == [] or both
        assert len(one.prompt.layer_transformations) == (facts.encoder_layers if both else facts.layers) - 1
        assert len(one.prompt.prompt_surprisals_bits) == (0 if both else length - 1)
        assert one.logits.topk_probs.shape == (NEW, min(5, facts.vocab_size))
        assert (one.logits.topk_mass <= 1).all()
        assert [series.entropy_nats.shape for series in one.attention] == [(NEW, facts.heads)] * facts.layers
        assert all((layer.basin_scores == 1.0).all() for layer in one.prompt.layers) or length > 2
        trace = report_of(one)
        assert all(trace.why_null(gap.part, step=gap.step, layer=gap.layer) for gap in trace.gaps())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
def test_low_precision_models_are_measured_and_agree_with_their_own_kernel(family: str, dtype: torch.dtype) -> None:
    model, _ = build(family)
    batch, _ = watch(model.to(dtype), prompts(20, 9))
    whole(batch)
    for one in batch.prompts:
        assert unexplained(one) == []
        assert len(one.attention) == 4


@pytest.mark.parametrize("preset", ["flags", "standard", "full"])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_what_is_switched_off_is_named_and_the_rest_is_as_in_full(family: str, preset: Any) -> None:
    model, facts = build(family)
    inputs = prompts(6, 3, left=not facts.is_encoder_decoder)
    full, _ = watch(model, inputs)
    part, _ = watch(model, inputs, PRESETS[preset])
    off = {gap.part for gap in part.prompts[0].not_measured if gap.reason.startswith("switched off")}
    expected = {
        "flags": {"attention", "prompt_analysis", "router"},
        "standard": {"sparse_attention", "prompt_surprisals"},
        "full": set(),
    }[preset]
    assert off == expected
    for one, two in zip(part.prompts, full.prompts, strict=True):
        assert one.logits is not None
        assert two.logits is not None
        np.testing.assert_array_equal(one.logits.entropy_bits, two.logits.entropy_bits)
        assert (one.attention == ()) == (preset == "flags")
        assert (one.prompt is None) == (preset == "flags")


ALL_OFF = FULL.model_copy(update={name: False for name, value in FULL.model_dump().items() if isinstance(value, bool)})


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_with_everything_off_the_tokens_remain(family: str) -> None:
    model, facts = build(family)
    batch, out = watch(model, prompts(4, left=not facts.is_encoder_decoder), ALL_OFF)
    (one,) = batch.prompts
    assert one.generated_token_ids.tolist() == out[0, -NEW:].tolist()
    assert one.logits is None
    assert one.hidden is None
    assert one.attention == ()
    assert one.encoder is None
    assert np.isnan(one.lag_cosine).all()
    found = findings_of(one)
    assert found.nan_detected is None
    assert found.undetermined["nan_detected"] == "switched off by the configuration"
    trace = report_of(one)
    assert all(trace.why_null(gap.part, step=gap.step, layer=gap.layer) for gap in trace.gaps())


@pytest.mark.parametrize("switch", [name for name, value in FULL.model_dump().items() if isinstance(value, bool)])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_each_switch_works_by_itself(family: str, switch: str) -> None:
    model, facts = build(family)
    only = ALL_OFF.model_copy(update={switch: True, "prompt_telemetry": True})
    (one,) = watch(model, prompts(6, left=not facts.is_encoder_decoder), only)[0].prompts
    assert one.prompt is not None
    measured = {
        "logits": one.logits is not None,
        "hidden": one.hidden is not None,
        "attention": bool(one.attention),
        "prompt_telemetry": True,
        "prompt_attention_sparse": any(layer.heads for layer in one.prompt.layers),
        "basin_scores": any(layer.basin_scores.size for layer in one.prompt.layers),
        "layer_transformations": one.prompt.layer_transformations.size > 0,
        "prompt_surprisals": one.prompt.prompt_surprisals_bits.size > 0 or facts.is_encoder_decoder,
        "lag_similarity": bool(np.isfinite(one.lag_cosine[1:, 0]).all()),
    }
    expected = {"prompt_telemetry"} | ({switch} - {"router"})  # these models have none
    assert {name for name, value in measured.items() if value} == expected | (
        {"prompt_surprisals"} if facts.is_encoder_decoder else set()
    )


def test_a_loop_in_a_real_generation_is_found() -> None:
    model, _ = build("llama")
    (one,) = watch(model, prompts(8), max_new_tokens=120)[0].prompts
    tokens = one.generated_token_ids.tolist()
    periods = [p for p in range(1, MAX_LAG + 1) if tokens[-4 * p :] == (tokens[-p:] * 4)]
    found = findings_of(one).loops
    assert bool(found) == bool(periods)
    if periods:
        assert min(periods) in {loop.period for loop in found}


def test_telemetry_before_the_end_is_refused() -> None:
    model, _ = build("llama")
    with record(model, FULL) as recording:
        with pytest.raises(CaptureError, match="not recorded to its end"):
            recording.telemetry()
        model.generate(**prompts(3), max_new_tokens=2)
    assert len(recording.telemetry().prompts) == 1


def test_a_generation_that_failed_has_no_telemetry_and_takes_no_second_call() -> None:
    model, _ = build("llama")
    calls = 0

    def fail(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("device lost")

    handle = model.model.layers[1].register_forward_pre_hook(fail)

    def try_twice() -> None:
        with record(model, FULL) as recording:
            with pytest.raises(RuntimeError, match="device lost"):
                model.generate(**prompts(3), max_new_tokens=8)
            with pytest.raises(CaptureError, match="not recorded to its end"):
                recording.telemetry()
            model.generate(**prompts(3), max_new_tokens=8)

    with pytest.raises(CaptureError, match="one capture watches one generate call"):
        try_twice()
    handle.remove()
    assert len(watch(model, prompts(3))[0].prompts) == 1


def test_the_decode_step_is_not_compiled_under_the_probes() -> None:
    """A static cache on a GPU makes transformers compile the model; the same can be asked for on a CPU."""
    model, _ = build("llama")
    compiled = transformers.CompileConfig(backend="eager", fullgraph=False)
    compiled._compile_all_devices = True
    batch, _ = watch(model, prompts(4), cache_implementation="static", compile_config=compiled)
    whole(batch)
    assert not hasattr(model, "_compiled_call")
