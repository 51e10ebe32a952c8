"""The models that are measured: real shapes with seeded random weights, and the packaged SmolLM2. Downloads nothing.

What a probe costs depends on shapes, never on what the weights say, so random weights measure the same price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import GenerationConfig, PreTrainedModel

from model_health.config.base import did_you_mean
from model_health.errors import BadInput

SEED = 20261122
SMOLLM2 = "smollm2-135m"


@dataclass(frozen=True)
class Shape:
    """A transformers configuration by class name, with the fields that differ from its defaults."""

    config: str
    model: str
    fields: Mapping[str, Any]
    about: str


def _llama(layers: int, width: int, heads: int, groups: int, inner: int, vocabulary: int) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
    }


_CAUSAL = ("LlamaConfig", "LlamaForCausalLM")
SHAPES: dict[str, Shape] = {
    "gpt2-small": Shape("GPT2Config", "GPT2LMHeadModel", {"n_positions": 2048}, "GPT-2 small, random weights"),
    "llama-12": Shape(
        *_CAUSAL, _llama(12, 768, 12, 4, 2048, 32_000), "Llama, 12 layers of 768, 12 heads in 4 groups, random weights"
    ),
    "t5-small": Shape(
        "T5Config", "T5ForConditionalGeneration", {"decoder_start_token_id": 0}, "T5-small, random weights"
    ),
    "llama-1b": Shape(*_CAUSAL, _llama(16, 2048, 32, 8, 8192, 128_256), "Llama of 1.2 B parameters, random weights"),
    "llama-8b": Shape(*_CAUSAL, _llama(32, 4096, 32, 8, 14_336, 128_256), "Llama of 8 B parameters, random weights"),
    "llama-tiny": Shape(*_CAUSAL, _llama(4, 64, 4, 2, 128, 320), "for tests"),
    "gpt2-tiny": Shape(
        "GPT2Config", "GPT2LMHeadModel", {"n_embd": 64, "n_layer": 4, "n_head": 4, "vocab_size": 320}, "for tests"
    ),
    "t5-tiny": Shape(
        "T5Config",
        "T5ForConditionalGeneration",
        {
            "d_model": 64,
            "d_kv": 16,
            "d_ff": 128,
            "num_layers": 4,
            "num_heads": 4,
            "vocab_size": 320,
            "decoder_start_token_id": 0,
        },
        "for tests",
    ),
}
ABOUT: dict[str, str] = {name: shape.about for name, shape in SHAPES.items()} | {
    SMOLLM2: "SmolLM2-135M-Instruct, the packaged weights"
}


def check_name(name: str) -> str:
    """The name again.

    Raises:
        BadInput: no model of the benchmark is called that.
    """
    if name not in ABOUT:
        raise BadInput("is no model of the benchmark", subject=name, hint=did_you_mean(name, ABOUT))
    return name


def build(name: str, device: str = "cpu", dtype: str = "float32") -> PreTrainedModel:
    """A model, ready to generate on the device, that never stops before it is told to.

    Raises:
        BadInput: no model is called that, or the packaged weights are not installed.
        CouldNotMeasure: it does not fit into memory.
    """
    check_name(name)
    return _packaged(device, dtype) if name == SMOLLM2 else build_shape(SHAPES[name], device, dtype)


def build_shape(shape: Shape, device: str = "cpu", dtype: str = "float32") -> PreTrainedModel:
    """A model with seeded random weights, made on its device: a large one never passes through the host's memory."""
    config = getattr(transformers, shape.config)(**shape.fields)
    model_class: Callable[[Any], PreTrainedModel] = getattr(transformers, shape.model)
    place = torch.device(device)
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []), place:
        torch.manual_seed(SEED)
        try:
            torch.set_default_dtype(getattr(torch, dtype))
            model = model_class(config)
        finally:
            torch.set_default_dtype(before)
    start = getattr(config, "decoder_start_token_id", None)
    model.generation_config = GenerationConfig(eos_token_id=None, pad_token_id=0, decoder_start_token_id=start)
    ready: PreTrainedModel = model.eval()
    ready.requires_grad_(False)
    return ready


def _packaged(device: str, dtype: str) -> PreTrainedModel:
    from model_health.config.load import load_project
    from model_health.config.settings import load_settings
    from model_health.runner.loading import load_model

    settings = load_settings()
    config = load_project(settings).get_model(SMOLLM2)
    return load_model(config.model_copy(update={"device": device, "dtype": dtype}), settings).model


def prompt(model: PreTrainedModel, batch: int, tokens: int) -> dict[str, torch.Tensor]:
    """Seeded random token ids and their mask, [batch, tokens] each, on the model's device: no padding."""
    generator = torch.Generator().manual_seed(SEED)
    ids = torch.randint(5, int(model.config.vocab_size), (batch, tokens), generator=generator).to(model.device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
