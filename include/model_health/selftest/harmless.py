"""Harmless changes: other ways to run the very same model. Any answer worse than *equivalent* is a false alarm.

None of them is one that the tolerance was learned from: what it was learned from would pass by itself.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from model_health.baseline.key import CacheMode, PaddingSide
from model_health.baseline.numbers import Numbers
from model_health.baseline.observations import ReplayObservation
from model_health.config.models import ModelConfig
from model_health.config.settings import Settings
from model_health.config.sources import ModelSource
from model_health.config.suites import CanarySuite
from model_health.errors import CouldNotMeasure
from model_health.replay.plan import ReplayItem
from model_health.runner.identity import identify
from model_health.runner.loading import attention_backend, load_model
from model_health.runner.loading_quiet import quiet_transformers
from model_health.runner.replay import key_of, production_shape, replay_loaded
from model_health.runner.replay_variants import Variant, under
from model_health.selftest.judge import judge_harmless
from model_health.selftest.result import HarmlessTrial
from model_health.selftest.stage import NOT_POSSIBLE, Stage, reordered

MOST_ROWS, MOST_CHUNK = 16, 48
PROCESSES = 25
"""Of so many healthy replays one happens in a process of its own, which has to load the model again."""


def harmless_trials(stage: Stage, settings: Settings, *, reduced: bool) -> Iterator[HarmlessTrial]:
    """Every harmless change of the catalogue; `reduced`: without a new process."""
    rows = max(1, stage.production.batch_size // 3)
    side: PaddingSide = "left" if stage.production.padding_side == "right" else "right"
    changes: dict[str, Callable[[], ReplayObservation]] = {
        "once more, same configuration": lambda: stage.repeated,
        f"{rows} texts per batch": lambda: stage.observe(Variant("", batch_size=rows)),
        f"padding on the {side}, {rows} texts per batch": lambda: stage.observe(
            Variant("", padding_side=side, batch_size=rows)
        ),
        "KV cache, 5 tokens at a time": lambda: stage.observe(Variant("", cache="chunked", chunk_tokens=5)),
        "static KV cache, 12 tokens at a time": lambda: _static(stage),
        "other attention backend, one text per batch": lambda: stage.observe(
            Variant("", attention_backend=_other_backend(stage), batch_size=1)
        ),
        "2 threads, other attention backend": lambda: stage.observe(
            Variant("", threads=2, attention_backend=_other_backend(stage))
        ),
        "prompts in another order": lambda: reordered(
            stage.observe(Variant("", batch_size=rows), list(reversed(stage.items))), stage.reference
        ),
        "weights saved again in another file format": lambda: _saved_again(stage, settings),
        "bfloat16 instead of float32": lambda: _bfloat16(stage),
    }
    if not reduced:
        changes["restart, a new process"] = lambda: _restarted(stage, settings, Variant("restarted"))
    for name, change in changes.items():
        yield _trial(name, stage, change)


def healthy_trials(
    stage: Stage, settings: Settings, count: int, *, reduced: bool
) -> Iterator[tuple[HarmlessTrial, Numbers | None]]:
    """Replays of the healthy model, each in a way of its own that is drawn from the seed, with the distances found.

    One in three takes the texts in another order, one in `PROCESSES` happens in a new process (`reduced`: none does).
    """
    for number in range(count):
        way = random_way(stage, number)
        new = number % PROCESSES == PROCESSES - 1 and not reduced
        order = torch.randperm(len(stage.items), generator=stage.subject.generator(f"healthy {number} order")).tolist()
        mixed = not new and stage.subject.draw(f"healthy {number} mixed", 3) == 0
        words = f"healthy {number + 1}: {_words(way)}{', another order' * mixed}{', a new process' * new}"
        try:
            if new:
                seen = _restarted(stage, settings, way)
            elif mixed:
                seen = reordered(stage.observe(way, [stage.items[at] for at in order]), stage.reference)
            else:
                seen = stage.observe(way)
            found = stage.compared(seen)
            yield judge_harmless(words, found), found.numbers
        except NOT_POSSIBLE as error:
            yield HarmlessTrial(words, applicable=False, reason=str(error)), None


def random_way(stage: Stage, number: int) -> Variant:
    """A way to run, drawn: batch, padding, cache, threads and attention backend."""

    def draw(what: str, below: int) -> int:
        return stage.subject.draw(f"healthy {number} {what}", below)

    learned = {axis for floor in stage.tolerance.floors for axis in floor.axes}
    sides: tuple[PaddingSide, ...] = ("left", "right")
    cache: CacheMode | None = "chunked" if "cache" in learned and draw("cache", 3) == 0 else None
    return Variant(
        "drawn",
        batch_size=1 + draw("batch", MOST_ROWS),
        padding_side=sides[draw("side", 2)] if "padding" in learned else None,
        cache=cache,
        chunk_tokens=None if cache is None else 4 + draw("chunk", MOST_CHUNK),
        threads=1 + draw("threads", 2) if "threads" in learned else None,
        attention_backend=_other_backend(stage) if "attention_backend" in learned and draw("backend", 2) else None,
    )


def _words(way: Variant) -> str:
    parts: dict[str, object] = {"batch": way.batch_size, "padding": way.padding_side, "chunks of": way.chunk_tokens}
    parts |= {"threads": way.threads, "backend": way.attention_backend}
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)


def _trial(name: str, stage: Stage, change: Callable[[], ReplayObservation]) -> HarmlessTrial:
    try:
        return judge_harmless(name, stage.compared(change()))
    except NOT_POSSIBLE as error:
        return HarmlessTrial(name, applicable=False, reason=str(error))


def _other_backend(stage: Stage) -> str:
    return "eager" if attention_backend(stage.subject.loaded.model) == "sdpa" else "sdpa"


def _static(stage: Stage) -> ReplayObservation:
    with _static_cache(stage):
        return stage.observe(Variant("", cache="chunked", chunk_tokens=12))


@contextmanager
def _static_cache(stage: Stage) -> Iterator[None]:
    """Hand the model a cache of fixed size where it would make a growing one."""
    from transformers import StaticCache

    model = stage.subject.loaded.model
    if model.config.is_encoder_decoder:
        raise NOT_POSSIBLE[0]("a static cache is tried with models without an encoder only")
    longest = max(len(item.fed) for item in stage.items)

    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if kwargs.get("use_cache") and kwargs.get("past_key_values") is None:
            kwargs = {**kwargs, "past_key_values": StaticCache(config=model.config, max_cache_len=longest)}
        return args, kwargs

    handle = model.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _bfloat16(stage: Stage) -> ReplayObservation:
    if stage.reference.key.dtype != "float32":
        raise NOT_POSSIBLE[0](f"the model is of {stage.reference.key.dtype}")
    return stage.in_bfloat16(Variant("", batch_size=max(1, stage.production.batch_size // 3)))


def _saved_again(stage: Stage, settings: Settings) -> ReplayObservation:
    """Write the weights as several safetensors files, load those as any model is loaded, and replay."""
    loaded = stage.subject.loaded
    with TemporaryDirectory(prefix="model-health-") as name:
        folder = Path(name)
        with quiet_transformers():
            loaded.model.save_pretrained(folder, max_shard_size="200MB")
        loaded.tokenizer.save_pretrained(folder)
        config = loaded.config.model_copy(update={"source": ModelSource(path=str(folder)), "tokenizer": None})
        again = load_model(config, settings)
        key = key_of(again, stage.subject.suite, production_shape(again), identify(again))
        return replay_loaded(again, stage.items, key)


def _restarted(stage: Stage, settings: Settings, way: Variant) -> ReplayObservation:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        job = pool.submit(
            replay_elsewhere, stage.subject.loaded.config, settings, stage.subject.suite, stage.items,
            torch.get_num_threads(), way,
        )  # fmt: skip
        try:
            return job.result()
        except (OSError, RuntimeError) as error:
            raise CouldNotMeasure(f"the new process failed: {error}", subject="self-test") from error


def replay_elsewhere(
    config: ModelConfig,
    settings: Settings,
    suite: CanarySuite,
    items: tuple[ReplayItem, ...],
    threads: int,
    way: Variant,
) -> ReplayObservation:
    """What the new process does: load the model and replay it, as another night would."""
    torch.set_num_threads(threads)
    loaded = load_model(config, settings)
    with under(loaded, way):
        return replay_loaded(loaded, items, key_of(loaded, suite, way.shape(production_shape(loaded))))
