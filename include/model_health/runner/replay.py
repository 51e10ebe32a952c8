"""Replays a baseline's tokens, or a suite's, through a model that is loaded: one load serves replay and generation.

Owns the key under which a replay happens, and what a model that fails while it is replayed is reported as.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from model_health.baseline.key import PaddingSide, ReplayKey, ReplayShape
from model_health.baseline.observations import SKETCH_DIM, SKETCH_SEED, ReplayObservation
from model_health.config.suites import CanarySuite
from model_health.errors import ConfigError, GenerationError, ModelHealthError
from model_health.replay.plan import ReplayItem
from model_health.replay.replay import replay
from model_health.report.identity import ModelIdentity
from model_health.runner.identity import identify
from model_health.runner.loading import LoadedModel, attention_backend


def production_shape(loaded: LoadedModel) -> ReplayShape:
    """How the model's configuration batches, with the padding side of its kind; sequences in one piece."""
    side: PaddingSide = "right" if loaded.encoder_decoder else "left"
    return ReplayShape(batch_size=loaded.config.batch_size, padding_side=side, threads=torch.get_num_threads())


def key_of(
    loaded: LoadedModel, suite: CanarySuite, shape: ReplayShape, identity: ModelIdentity | None = None
) -> ReplayKey:
    """The key of a replay of `loaded` as it is now.

    Args:
        loaded: the model.
        suite: what is asked.
        shape: how it goes through the model; unless it names a number of threads, the present one is noted.
        identity: the model's, where it is known already: finding it reads every weight.
    """
    known = identity if identity is not None else identify(loaded)
    device = known.device
    driver = None if device.cuda is None else f"cuda {device.cuda}, driver {device.driver}"
    quantization = known.quantization.method if known.quantization.enabled else "none"
    return ReplayKey(
        weights_digest=str(known.weights_digest),
        config_digest=str(known.config_digest),
        tokenizer_digest=str(known.tokenizer_digest),
        chat_template_digest=known.chat_template_digest,
        dtype=str(known.dtype),
        quantization=str(quantization),
        attention_backend=attention_backend(loaded.model),
        libraries=known.libraries,
        driver=driver,
        device_kind=device.kind,
        device_name=device.name,
        device_uuid=device.uuid,
        platform=_platform(),
        suite=suite.name,
        suite_version=suite.version,
        suite_digest=suite.digest(),
        sketch_seed=SKETCH_SEED,
        sketch_dim=SKETCH_DIM,
        shape=replace(shape, threads=torch.get_num_threads() if shape.threads is None else shape.threads),
    )


def _platform() -> str:
    """What of the operating system and the processor decides which code computes; not the kernel's release."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}, {capability}"


def replay_loaded(loaded: LoadedModel, items: Sequence[ReplayItem], key: ReplayKey) -> ReplayObservation:
    """Replay items through a loaded model, as the key's shape says.

    Raises:
        UnsupportedGeneration, CaptureError: see `replay.replay.replay`.
        GenerationError: the model failed, or memory ran out.
    """
    try:
        return replay(loaded.model, items, key, pad_id=int(loaded.tokenizer.pad_token_id or 0))
    except ModelHealthError:
        raise
    except torch.OutOfMemoryError as error:
        raise GenerationError(
            f"out of memory on {loaded.device} while replaying {key.shape.batch_size} sequences at a time",
            subject=loaded.config.name,
            hint="use a smaller batch_size",
        ) from error
    except Exception as error:
        raise GenerationError(
            f"the replay failed: {type(error).__name__}: {error}", subject=loaded.config.name
        ) from error


@contextmanager
def under_attention(loaded: LoadedModel, backend: str) -> Iterator[LoadedModel]:
    """The model under another attention backend, for the time of the context.

    Raises:
        ConfigError: the model cannot run on it.
    """
    before = attention_backend(loaded.model)
    try:
        try:
            loaded.model.set_attn_implementation(backend)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"is not available: {error}", subject=f"attention backend {backend!r}") from error
        if attention_backend(loaded.model) != backend:
            raise ConfigError("is not available for this model", subject=f"attention backend {backend!r}")
        yield loaded
    finally:
        loaded.model.set_attn_implementation(before)


def in_dtype(loaded: LoadedModel, dtype: torch.dtype) -> LoadedModel:
    """A copy of the model in another dtype, on the same device; the original is untouched."""
    model: Any = copy.deepcopy(loaded.model)
    return replace(loaded, model=model.to(dtype))
