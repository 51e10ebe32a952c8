"""Every way to generate is measured with parity, or refused before the model spends any time on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from transformers import GenerationConfig, PreTrainedModel, StaticCache
from transformers.generation.streamers import BaseStreamer

from model_health.capture.caches import is_preallocated, only_appends
from model_health.capture.compiled import is_compiled
from model_health.capture.layout import find_layout
from model_health.config.measure import PRESETS
from model_health.errors import UnsupportedGeneration
from model_health.metrics.recording import record
from support.models import build, byte_tokenizer
from support.naive import run_naive
from support.parity import check_batch
from support.recordings import prompts, unexplained, watch

FULL = PRESETS["full"]
NEW = 20
FAMILIES = ["llama", "gemma2", "bloom", "t5"]


def hold(family: str, prepare: Callable[[PreTrainedModel], Any] = lambda model: model, **settings: Any) -> None:
    """Watch a prepared model generate with these settings, and compare with an eager twin that is not prepared."""
    model, facts = build(family)
    inputs = prompts(13, 6, left=not facts.is_encoder_decoder)
    settings = {"max_new_tokens": NEW, "do_sample": False, **settings}
    twin, _ = build(family, attn_implementation="eager")
    plain = {key: value for key, value in settings.items() if key != "streamer" and not key.startswith("output_")}
    plain.pop("return_dict_in_generate", None)
    torch.manual_seed(3)
    reference = run_naive(twin, find_layout(twin), inputs, eager=True, **plain)
    torch.manual_seed(3)
    telemetry, result = watch(prepare(model), inputs, **settings)
    sequences = result if isinstance(result, torch.Tensor) else result.sequences
    assert torch.equal(sequences, reference.sequences)
    check_batch(telemetry, reference, inputs, NEW)
    missing = {gap.part for gap in telemetry.prompts[0].not_measured} - {"router"}  # no mixture of experts among them
    assert missing == ({"prompt_surprisals"} if facts.is_encoder_decoder else set())


SUPPORTED: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.9},
    "penalties": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "all outputs": {
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "output_hidden_states": True,
    },
    "a generation config": {"generation_config": GenerationConfig(max_new_tokens=NEW, pad_token_id=0)},
}


@pytest.mark.parametrize("way", SUPPORTED)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_supported_way_is_measured_with_parity(family: str, way: str) -> None:
    settings = dict(SUPPORTED[way])
    if "generation_config" in settings and family == "t5":
        settings["generation_config"] = GenerationConfig(max_new_tokens=NEW, pad_token_id=0, decoder_start_token_id=0)
    hold(family, **settings)


@pytest.mark.parametrize("family", ["llama", "bloom", "gpt_neox"])
def test_a_quantised_cache_is_measured_as_the_model_reads_it(family: str) -> None:
    """Both sides under eager attention: the smallest difference of a key may round it to another 8-bit number."""
    settings: dict[str, Any] = {"cache_implementation": "quantized", "cache_config": {"backend": "fp8"}}
    hold(family, lambda model: build(family, attn_implementation="eager")[0], **settings)


def test_a_quantised_cache_is_measured_under_a_fused_kernel_too() -> None:
    model, _ = build("llama")
    settings: dict[str, Any] = {"cache_implementation": "quantized", "cache_config": {"backend": "fp8"}}
    inputs = prompts(13, 6)
    fused, _ = watch(model, inputs, **settings)
    eager, _ = watch(build("llama", attn_implementation="eager")[0], inputs, **settings)
    for one, two in zip(fused.prompts, eager.prompts, strict=True):
        assert unexplained(one) == []
        assert one.generated_token_ids.tolist() == two.generated_token_ids.tolist()
        for a, b in zip(one.attention, two.attention, strict=True):
            assert abs(a.entropy_nats - b.entropy_nats).max() < 0.1  # eight bits
            assert a.visible_keys.tolist() == b.visible_keys.tolist()


def test_a_static_cache_of_the_users_own_is_measured() -> None:
    model, _ = build("llama")
    inputs = prompts(13, 6)
    plain, _ = watch(model, inputs)
    given, _ = watch(model, inputs, past_key_values=StaticCache(config=model.config, max_cache_len=64))
    for one, two in zip(plain.prompts, given.prompts, strict=True):
        assert one.generated_token_ids.tolist() == two.generated_token_ids.tolist()
        for a, b in zip(one.attention, two.attention, strict=True):
            torch.testing.assert_close(
                torch.from_numpy(a.entropy_nats), torch.from_numpy(b.entropy_nats), atol=1e-4, rtol=0
            )
            assert a.visible_keys.tolist() == b.visible_keys.tolist()


class Collected(BaseStreamer):
    """A streamer that remembers what it was given."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        self.tokens += value.flatten().tolist()

    def end(self) -> None:
        self.tokens.append(-1)


def test_a_streamer_streams_while_the_probes_watch() -> None:
    model, _ = build("llama")
    streamer = Collected()
    telemetry, sequences = watch(model, prompts(9), streamer=streamer)
    assert streamer.tokens == [*sequences[0].tolist(), -1]
    assert telemetry.prompts[0].generated_token_ids.tolist() == sequences[0, 9:].tolist()


def test_stop_strings_are_refused_for_a_batch() -> None:
    model, _ = build("llama")
    with pytest.raises(UnsupportedGeneration, match="batch of one"):
        watch(model, prompts(5, 4), stop_strings=["a"], tokenizer=byte_tokenizer())


# -- compiled models


def in_place(model: PreTrainedModel) -> PreTrainedModel:
    model.compile(backend="eager")
    return model


def by_forward(model: PreTrainedModel) -> PreTrainedModel:
    model.forward = torch.compile(model.forward, backend="eager")  # type: ignore[method-assign]
    return model


def by_layer(model: PreTrainedModel) -> PreTrainedModel:
    for layer in find_layout(model).decoder.layers:
        layer.compile(backend="eager")
    return model


def wrapped(model: PreTrainedModel) -> Any:
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("compile_it", [in_place, by_forward, by_layer, wrapped])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_compiled_model_is_measured_as_it_computes_uncompiled(
    family: str, compile_it: Callable[[PreTrainedModel], Any]
) -> None:
    hold(family, compile_it)


def test_a_model_that_ran_compiled_before_is_measured_and_runs_compiled_again() -> None:
    model, _ = build("llama")
    plain, _ = watch(model, prompts(13, 6))
    runs: list[int] = []

    def backend(graph: torch.fx.GraphModule, examples: list[Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            runs.append(1)
            return graph(*args)

        return run

    for layer in model.model.layers:
        layer.compile(backend=backend)
    assert is_compiled(model)
    model.generate(**prompts(13, 6), max_new_tokens=2, do_sample=False)
    before = len(runs)
    assert before > 0
    other, _ = watch(model, prompts(13, 6))
    assert len(runs) == before
    for one, two in zip(plain.prompts, other.prompts, strict=True):
        assert one.generated_token_ids.tolist() == two.generated_token_ids.tolist()
        assert len(two.attention) == 4
    model.generate(**prompts(13, 6), max_new_tokens=2, do_sample=False)
    assert len(runs) > before


def test_nothing_of_the_compiler_is_touched_for_a_model_that_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "set_stance", lambda *args: pytest.fail("the switch is global"))
    watch(build("llama")[0], prompts(4))


# -- models that accelerate spreads


def hooked(model: PreTrainedModel, folder: Path) -> Any:
    return dispatch_model(model, {"": "cpu"}, force_hooks=True)


def offloaded(model: PreTrainedModel, folder: Path) -> Any:
    return cpu_offload(model, execution_device=torch.device("cpu"))


def on_disk(model: PreTrainedModel, folder: Path) -> Any:
    disk_offload(model, str(folder), execution_device=torch.device("cpu"))
    return model


def mapped(model: PreTrainedModel, folder: Path) -> Any:
    places = {f"model.layers.{index}": "disk" if index % 2 else "cpu" for index in range(4)}
    rest = dict.fromkeys(("model.embed_tokens", "model.rotary_emb", "model.norm"), "cpu")
    return dispatch_model(
        model, {**places, **rest, "lm_head": "disk"}, main_device="cpu", offload_dir=str(folder), force_hooks=True
    )


@pytest.mark.parametrize("spread", [hooked, offloaded, on_disk])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_with_a_device_map_is_measured_with_parity(
    family: str, spread: Callable[[PreTrainedModel, Path], Any], tmp_path: Path
) -> None:
    hold(family, lambda model: spread(model, tmp_path))


def test_layers_on_different_devices_are_measured_with_parity(tmp_path: Path) -> None:
    hold("llama", lambda model: mapped(model, tmp_path))


# -- caches


@pytest.mark.parametrize(("layer", "expected"), [(0, True), (3, True), (4, False), (-1, False), (None, False)])
def test_only_known_layers_of_a_cache_are_known_to_append(layer: int | None, expected: bool) -> None:
    model, _ = build("llama")
    cache = model(**prompts(4), use_cache=True).past_key_values
    assert only_appends(cache, layer) is expected
    assert not is_preallocated(cache, layer)
    cache.offloading = True  # its keys leave the device after each layer
    assert not only_appends(cache, layer)


def test_a_sliding_layer_does_not_append() -> None:
    model, _ = build("mistral")
    cache = model(**prompts(4), use_cache=True).past_key_values
    assert not only_appends(cache, 0)


@pytest.mark.parametrize("cache", [None, object(), ()])
def test_what_is_no_cache_is_not_known_to_append(cache: Any) -> None:
    assert not only_appends(cache, 0)
    assert not is_preallocated(cache, 0)


# -- refusals


REFUSED: dict[str, dict[str, Any]] = {
    "num_beams": {"num_beams": 2},
    "beam sampling": {"num_beams": 2, "do_sample": True},
    "num_return_sequences": {"num_return_sequences": 2, "do_sample": True},
    "assistant_model": {"assistant_model": "twin"},
    "prompt_lookup_num_tokens": {"prompt_lookup_num_tokens": 3},
    "assistant_early_exit": {"assistant_early_exit": 2},
    "use_mtp": {"use_mtp": True},
    "prefill_chunk_size": {"prefill_chunk_size": 4},
    "penalty_alpha": {"penalty_alpha": 0.6, "top_k": 4},
    "dola_layers": {"dola_layers": "low"},
    "token_healing": {"token_healing": True},
    "guidance_scale": {"guidance_scale": 1.5},
    "force_words_ids": {"force_words_ids": [[5]], "num_beams": 1},
    "negative_prompt_ids": {"negative_prompt_ids": torch.ones(2, 3, dtype=torch.long)},
    "inputs_embeds": {"inputs_embeds": torch.zeros(2, 13, 64)},
    "encoder_outputs": {"encoder_outputs": (torch.zeros(2, 13, 64),)},
    "paged": {"cache_implementation": "paged"},
    "custom_generate": {"custom_generate": lambda *args, **kwargs: None},
}


@pytest.mark.parametrize("given", ["argument", "generation_config", "model"])
@pytest.mark.parametrize("way", REFUSED)
def test_what_cannot_be_followed_is_refused_before_any_forward_pass(way: str, given: str) -> None:
    model, _ = build("llama")
    settings = dict(REFUSED[way])
    if settings.get("assistant_model"):
        settings["assistant_model"] = build("llama")[0]
    config = GenerationConfig()
    if given != "argument" and not all(hasattr(config, name) for name in settings):
        given = "argument"  # no setting, but an argument of the call
    if given == "generation_config":
        for name, value in settings.items():
            setattr(config, name, value)
        settings = {"generation_config": config}
    elif given == "model":
        for name, value in settings.items():
            setattr(model.generation_config, name, value)
        settings = {}
    passes: list[int] = []
    for module in model.modules():
        module.register_forward_pre_hook(lambda *args: passes.append(1))
    with pytest.raises(UnsupportedGeneration) as caught, record(model, FULL):
        model.generate(**prompts(13, 6), max_new_tokens=4, **settings)
    assert passes == []
    assert "LlamaForCausalLM" in str(caught.value)
    assert caught.value.hint


def test_an_argument_overrides_what_the_model_would_do() -> None:
    model, _ = build("llama")
    model.generation_config.num_beams = 3
    model.generation_config.prompt_lookup_num_tokens = 2
    telemetry, _ = watch(model, prompts(5), num_beams=1, prompt_lookup_num_tokens=None)
    assert len(telemetry.prompts) == 1
