"""Other ways to run the same model, harmless each: what tolerances are learned from, and the self-test starts from.

Each variant changes one thing of how a replay happens; the model is as it was afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median

from model_health.baseline.key import CacheMode, PaddingSide, ReplayShape
from model_health.baseline.observations import ReplayObservation
from model_health.config.suites import CanarySuite
from model_health.errors import CaptureError, ConfigError
from model_health.replay.plan import ReplayItem
from model_health.report.identity import ModelIdentity
from model_health.runner.loading import LoadedModel, attention_backend
from model_health.runner.replay import key_of, replay_loaded, under_attention

MAX_CHUNK_TOKENS = 32


@dataclass(frozen=True)
class Variant:
    """One other way; None leaves a thing as production has it."""

    name: str
    batch_size: int | None = None
    padding_side: PaddingSide | None = None
    cache: CacheMode | None = None
    chunk_tokens: int | None = None
    threads: int | None = None
    attention_backend: str | None = None

    def shape(self, production: ReplayShape) -> ReplayShape:
        """The shape under this variant."""
        names = ("batch_size", "padding_side", "cache", "chunk_tokens", "threads")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return replace(production, **given)


def harmless_variants(loaded: LoadedModel, production: ReplayShape, items: Sequence[ReplayItem]) -> tuple[Variant, ...]:
    """The variants that make sense for a model on its device: batch, padding, cache, threads, attention backend.

    The chunks of the one through a cache are at most half of most items, or else nothing would pass through the cache.
    """
    variants = [Variant("batch of half", batch_size=max(1, production.batch_size // 2))]
    variants.append(Variant("one by one", batch_size=1))
    if not loaded.encoder_decoder:
        other: PaddingSide = "right" if production.padding_side == "left" else "left"
        variants.append(Variant(f"padding on the {other}", padding_side=other))
    chunk = max(1, min(MAX_CHUNK_TOKENS, int(median(len(item.fed) for item in items)) // 2))
    variants.append(Variant("through a cache", cache="chunked", chunk_tokens=chunk))
    if loaded.device.type == "cpu":
        variants.append(Variant("other threads", threads=1 if (production.threads or 1) > 1 else 2))
    backend = attention_backend(loaded.model)
    if backend in ("eager", "sdpa"):
        variants.append(Variant("other backend", attention_backend="eager" if backend == "sdpa" else "sdpa"))
    return tuple(
        variant for variant in variants if variant.shape(production) != production or variant.attention_backend
    )


@contextmanager
def under(loaded: LoadedModel, variant: Variant) -> Iterator[LoadedModel]:
    """The model as a variant wants it."""
    if variant.attention_backend is None:
        yield loaded
    else:
        with under_attention(loaded, variant.attention_backend):
            yield loaded


def replay_variants(
    loaded: LoadedModel,
    suite: CanarySuite,
    items: Sequence[ReplayItem],
    production: ReplayShape,
    variants: Sequence[Variant],
    *,
    identity: ModelIdentity,
) -> Iterator[tuple[Variant, ReplayObservation | str]]:
    """Replay under each variant; the reason instead where the model does not allow it.

    Args:
        loaded: the model.
        suite: what is asked.
        items: what is replayed, with the baseline's tokens to look up.
        production: the shape that variants vary.
        variants: which ones.
        identity: of the model as loaded; only the attention backend may differ.
    """
    for variant in variants:
        try:
            with under(loaded, variant):
                known = identity.model_copy(update={"attention_backend": attention_backend(loaded.model)})
                key = key_of(loaded, suite, variant.shape(production), known)
                observed = replay_loaded(loaded, items, key)
        except (CaptureError, ConfigError) as error:
            yield variant, str(error)
        else:
            yield variant, observed
