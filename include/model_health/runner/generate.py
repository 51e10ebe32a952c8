"""Runs one batch through the model with the probes attached, and plain for comparison.

Owns seeding and the translation of what a model may raise. The global random state is as before afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch

from model_health.config.measure import MeasureSwitches
from model_health.errors import ConfigError, GenerationError, ModelHealthError
from model_health.metrics.recording import record
from model_health.metrics.telemetry import BatchTelemetry
from model_health.runner.batches import Batch
from model_health.runner.loading import LoadedModel
from model_health.runner.loading_quiet import quiet_transformers


@contextmanager
def _seeded(loaded: LoadedModel, seed: int | None) -> Iterator[None]:
    """Seed torch for a sampled batch, and give the random state back afterwards."""
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


@contextmanager
def _explained(loaded: LoadedModel, batch: Batch) -> Iterator[None]:
    """Turn whatever the model raises into a GenerationError that names the model and the batch's first prompt."""
    try:
        yield
    except ConfigError as error:  # a choice of layers that this model does not have: its owner knows it by its name
        raise ConfigError(error.reason, subject=loaded.config.name, hint=error.hint) from error
    except ModelHealthError:
        raise
    except torch.OutOfMemoryError as error:
        raise GenerationError(
            f"out of memory on {loaded.device} with {len(batch.prompts)} prompts of up to {batch.input_ids.shape[1]}"
            " tokens",
            subject=loaded.config.name,
            hint="use a smaller batch_size",
        ) from error
    except Exception as error:
        first = batch.prompts[0].prompt_id
        raise GenerationError(
            f"generation failed in the batch of prompt {first!r}: {type(error).__name__}: {error}",
            subject=loaded.config.name,
        ) from error


def generate_measured(loaded: LoadedModel, batch: Batch, switches: MeasureSwitches) -> BatchTelemetry:
    """Generate a batch under capture.

    Raises:
        UnsupportedGeneration, CaptureError: see `capture.session.Capture`.
        ConfigError: the configuration chooses layers that the model does not have.
        GenerationError: the model failed.
    """
    arguments = batch.generate_arguments(loaded.tokenizer)
    if loaded.config.cache != "auto":
        arguments["cache_implementation"] = loaded.config.cache
    with _explained(loaded, batch), _seeded(loaded, batch.seed), torch.inference_mode(), quiet_transformers():
        with record(loaded.model, switches) as recording:
            _generate(loaded, arguments)
        return recording.telemetry()


def generate_plain(loaded: LoadedModel, batch: Batch) -> float:
    """Generate a batch without probes; wall seconds, device work included."""
    arguments = batch.generate_arguments(loaded.tokenizer)
    if loaded.config.cache != "auto":
        arguments["cache_implementation"] = loaded.config.cache
    with _explained(loaded, batch), _seeded(loaded, batch.seed), torch.inference_mode(), quiet_transformers():
        _wait(loaded)
        started = perf_counter()
        _generate(loaded, arguments)
        _wait(loaded)
        return perf_counter() - started


def _generate(loaded: LoadedModel, arguments: dict[str, Any]) -> None:
    # looked up at the call: capture shadows the method on the instance
    generate: Any = loaded.model.generate
    generate(**arguments)


def _wait(loaded: LoadedModel) -> None:
    if loaded.device.type == "cuda":
        torch.cuda.synchronize(loaded.device)
