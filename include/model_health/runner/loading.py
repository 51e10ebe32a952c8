"""From a model's configuration to a model and tokenizer that are ready to generate: on their device, in eval mode.

A model that loads is whole. transformers fills a weight that the files lack with random numbers and goes on; here that
is an error, as are weights of another shape, an architecture that does not generate text and a device that is absent.
What is loaded and merely odd (weights that no layer uses) becomes a warning on the result. Whether the numbers are any
good is not asked: NaN weights load, and the probes find them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from model_health.config.models import ModelConfig
from model_health.config.settings import Settings
from model_health.errors import ConfigError, ModelSourceError
from model_health.runner.devices import check_quantization, resolve_device, use_threads
from model_health.runner.gguf import Progress
from model_health.runner.loading_errors import explained
from model_health.runner.loading_files import shortened
from model_health.runner.loading_quiet import quiet_transformers
from model_health.runner.loading_source import Located, SourceFacts, locate
from model_health.runner.loading_tokenizer import load_tokenizer, prepare_padding

Architecture = Literal["causal", "encoder_decoder"]

_log = logging.getLogger(__name__)
# Trained to fill gaps. transformers would wrap them as causal models all the same, and they would write nonsense.
_ENCODERS = frozenset(MODEL_FOR_MASKED_LM_MAPPING_NAMES) & frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


@dataclass(frozen=True)
class LoadWarning:
    """Something odd about a model that loaded: `code` for machines, `message` for people."""

    code: str
    message: str


@dataclass(frozen=True)
class LoadedModel:
    """A model, ready to generate, and what is known of how it came to be.

    `load_seconds` covers files, tokenizer and weights, with the download or conversion if there was one. `threads` is
    the number of CPU threads that torch uses inside an operation.
    """

    config: ModelConfig
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    architecture: Architecture
    source: SourceFacts
    tokenizer_source: SourceFacts
    threads: int
    load_seconds: float
    warnings: tuple[LoadWarning, ...] = ()

    @property
    def encoder_decoder(self) -> bool:
        """Whether the prompt goes to an encoder."""
        return self.architecture == "encoder_decoder"


def load_model(
    config: ModelConfig, settings: Settings, *, hub_cache: Path | None = None, progress: Progress | None = None
) -> LoadedModel:
    """Load a model and its tokenizer.

    Sets torch's number of CPU threads for the whole process if the configuration names one.

    Args:
        config: which model, and how to load it.
        settings: folders, and whether the hub may be asked.
        hub_cache: the hub client's cache folder, its own default if None.
        progress: told in a line what takes long; the log if None.

    Raises:
        ConfigError: the device, quantisation or attention backend cannot be had here.
        ModelSourceError: the files are missing, damaged, incomplete or of the wrong kind.
        CouldNotMeasure: the model does not fit into memory, or a conversion cannot be written.
    """
    started = perf_counter()
    device = resolve_device(config.device)
    check_quantization(config.quantization, device)
    threads = use_threads(config.threads)
    trust = config.trust_remote_code
    located = locate(
        config.source,
        settings,
        with_code=trust,
        with_pickles=config.allow_pickled_weights,
        hub_cache=hub_cache,
        progress=progress,
    )
    other = config.tokenizer
    words = (
        located if other is None else locate(other, settings, tokenizer_only=True, with_code=trust, hub_cache=hub_cache)
    )
    label = located.facts.label
    with explained(label, what="config"), quiet_transformers():
        hf_config = AutoConfig.from_pretrained(located.folder, trust_remote_code=trust, local_files_only=True)
    architecture = choose_architecture(hf_config, config.architecture, label)
    tokenizer = load_tokenizer(words.folder, words.facts.label, trust_remote_code=trust)
    model, warnings = _load_weights(config, located, architecture, device)
    prepare_padding(
        tokenizer,
        vocabulary=input_rows(model),
        encoder_decoder=architecture == "encoder_decoder",
    )
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    for warning in warnings:
        _log.warning("%s: %s", label, warning.message)
    return LoadedModel(
        config=config,
        model=model,
        tokenizer=tokenizer,
        device=device,
        architecture=architecture,
        source=located.facts,
        tokenizer_source=words.facts,
        threads=threads,
        load_seconds=perf_counter() - started,
        warnings=warnings,
    )


def choose_architecture(hf_config: PreTrainedConfig, requested: str, label: str) -> Architecture:
    """What kind of generating model a config describes.

    Raises:
        ModelSourceError: it does not generate text, or is not of the requested kind.
    """
    kind: Architecture = "encoder_decoder" if hf_config.is_encoder_decoder else "causal"
    model_type = str(hf_config.model_type)
    if model_type in _ENCODERS and kind == "causal" and not getattr(hf_config, "is_decoder", False):
        raise ModelSourceError(f"is an encoder ({model_type}), which does not generate text", subject=label)
    auto = AutoModelForSeq2SeqLM if kind == "encoder_decoder" else AutoModelForCausalLM
    own_code = auto.__name__ in (getattr(hf_config, "auto_map", None) or {})
    if type(hf_config) not in auto._model_mapping and not own_code:
        raise ModelSourceError(f"is no language model that generates text (model type {model_type})", subject=label)
    if requested not in ("auto", kind):
        raise ModelSourceError(
            f"is {_spoken(kind)}, but architecture says {requested}", subject=label, hint="architecture: auto finds out"
        )
    return kind


def _load_weights(
    config: ModelConfig, located: Located, architecture: Architecture, device: torch.device
) -> tuple[PreTrainedModel, tuple[LoadWarning, ...]]:
    auto = AutoModelForSeq2SeqLM if architecture == "encoder_decoder" else AutoModelForCausalLM
    options: dict[str, Any] = {
        "dtype": _dtype(config),
        "use_safetensors": not located.pickled,
        "weights_only": True,  # of a pickle, torch then takes tensors and numbers, and calls nothing
        "local_files_only": True,
        "trust_remote_code": config.trust_remote_code,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that they are listed: `_check_complete` refuses them
    }
    if config.attention_backend != "auto":
        options["attn_implementation"] = config.attention_backend
    if config.quantization != "none":
        options["quantization_config"] = _quantization(config)
    if device.type == "cuda":
        options["device_map"] = {"": str(device)}
    label = located.facts.label
    with explained(label, what="weights", backend=config.attention_backend), quiet_transformers():
        pair: Any = auto.from_pretrained(located.folder, **options)
    model, info = pair
    warnings = _check_complete(info, label)
    effective = attention_backend(model)
    if config.attention_backend not in ("auto", effective):
        raise ConfigError(
            f"is not available: the model runs on {effective}",
            subject=f"attention_backend {config.attention_backend!r} of {label}",
        )
    return model.eval().requires_grad_(False), (*_of_pickles(located), *warnings)


def input_rows(model: PreTrainedModel) -> int:
    """Rows of the input embedding: token ids from here on cannot be looked up."""
    embedding: Any = model.get_input_embeddings()
    return int(embedding.weight.shape[0])


def attention_backend(model: PreTrainedModel) -> str:
    """The attention backend that the model's forward runs on."""
    return str(getattr(model.config, "_attn_implementation", None) or "eager")


def _check_complete(info: dict[str, Any], label: str) -> tuple[LoadWarning, ...]:
    """Refuse a model with weights that were not in its files; tied weights are not in `missing_keys`."""
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelSourceError(
            f"{len(missing)} weights are not in its files and would be random: {shortened(missing)}",
            subject=label,
            hint="the files are incomplete, or config.json describes another model",
        )
    mismatched = sorted(
        f"{name} is {tuple(found)}, not {tuple(wanted)}" for name, found, wanted in info["mismatched_keys"]
    )
    if mismatched:
        raise ModelSourceError(
            f"{len(mismatched)} weights do not have the shape that config.json asks for: {shortened(mismatched, 2)}",
            subject=label,
        )
    unused = sorted(info["unexpected_keys"])
    if not unused:
        return ()
    message = f"{len(unused)} weights in its files belong to no layer of the model: {shortened(unused)}"
    return (LoadWarning("unused_weights", message),)


def _of_pickles(located: Located) -> tuple[LoadWarning, ...]:
    if not located.pickled:
        return ()
    message = f"the weights came from a pickle ({shortened(list(located.pickled))}): convert them to safetensors"
    return (LoadWarning("pickled_weights", message),)


def _dtype(config: ModelConfig) -> torch.dtype | str:
    if config.dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.dtype]
    # A GGUF file's values are dequantised to float32; the folder may store them smaller where that loses nothing.
    return torch.float32 if config.source.gguf is not None else "auto"


def _quantization(config: ModelConfig) -> BitsAndBytesConfig:
    if config.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = _dtype(config)
    dtype = compute if isinstance(compute, torch.dtype) else torch.bfloat16
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _spoken(kind: Architecture) -> str:
    return "an encoder-decoder model" if kind == "encoder_decoder" else "a causal model"
