"""The stage of a self-test: a model, what is replayed through it, its healthy reference, and what is harmless.

Owns which texts are replayed (few, short, of many prompts: every clue that a comparison uses is there, and a replay
costs seconds) and that every replay is compared with the same reference. Faults come from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from model_health.baseline.answers import cannot_load, compare
from model_health.baseline.comparison import Comparison
from model_health.baseline.key import PaddingSide, ReplayKey
from model_health.baseline.observations import ReplayObservation, bit_equal
from model_health.baseline.tolerance import Tolerance, learn
from model_health.config.regression import RegressionStatistics
from model_health.config.thresholds import Thresholds
from model_health.errors import CaptureError, ConfigError, GenerationError, UnsupportedGeneration
from model_health.replay.plan import ReplayItem
from model_health.report.identity import ModelIdentity
from model_health.runner.identity import identify
from model_health.runner.loading import LoadedModel, attention_backend
from model_health.runner.prompts import TokenizedPrompt, tokenize
from model_health.runner.replay import in_dtype, key_of, production_shape, replay_loaded
from model_health.runner.replay_plan import plan_again, plan_replay
from model_health.runner.replay_variants import Variant, harmless_variants, replay_variants, under
from model_health.selftest.fault import Fault
from model_health.selftest.generation import LEAST_TOKENS, generate
from model_health.selftest.request import DEFAULT_LONGEST
from model_health.selftest.subject import Subject

WRITTEN = 2
"""Continuations among the items: the rest is golden text, whose prompts are what a test of harm counts."""


class Stage:
    """Everything that trials share; making one replays the healthy model in several ways.

    Args:
        subject: the model and its suite.
        statistics: of the policy. thresholds: of the flags.
        items, longest: how many texts, and of how many tokens at most; `rest` are those of the suite that are left out.
    """

    def __init__(
        self,
        subject: Subject,
        statistics: RegressionStatistics,
        thresholds: Thresholds,
        *,
        items: int,
        longest: int = DEFAULT_LONGEST,
    ) -> None:
        self.subject, self.statistics, self.thresholds = subject, statistics, thresholds
        loaded = subject.loaded
        self.identity: ModelIdentity = identify(loaded)
        self.production = production_shape(loaded)
        self.prompts = _greedy(subject)
        written = self.prompts[: WRITTEN if _has_golden(subject) else items]
        texts = generate(subject, written, LEAST_TOKENS, thresholds)
        plan = plan_replay(subject.suite, loaded, {one.prompt_id: one.token_ids for one in texts if one.token_ids})
        chosen = choose(plan, items, longest)
        names = {item.item_id for item in chosen}
        self.rest = tuple(item for item in plan if item.item_id not in names)
        self.reference = replay_loaded(loaded, chosen, self.key(loaded, Variant("production")))
        self.items = plan_again(self.reference)
        self.repeated = self.observe(Variant("once more"))
        self.tolerance = self._learn()
        self.other = self._other()
        self.healthy_other = self.observe(self.other)
        self._healthy: dict[Variant, ReplayObservation] = {self.other: self.healthy_other}

    def key(self, loaded: LoadedModel, way: Variant, identity: ModelIdentity | None = None) -> ReplayKey:
        """The key of a replay in some way, by the identity that was read before any fault.

        So a fault in the weights is one that struck after they were read: their digest cannot tell, replay has to.
        """
        known = identity or self.identity
        known = known.model_copy(update={"attention_backend": attention_backend(loaded.model)})
        return key_of(loaded, self.subject.suite, way.shape(self.production), known)

    def observe(self, way: Variant, items: Sequence[ReplayItem] | None = None) -> ReplayObservation:
        """Replay the model as it is now.

        Raises:
            GenerationError, CaptureError, ConfigError: it cannot be replayed so.
        """
        loaded = self.subject.loaded
        with under(loaded, way):
            return replay_loaded(loaded, items or self.items, self.key(loaded, way))

    def elsewhere(self, fault: Fault) -> tuple[Variant, ReplayObservation]:
        """The other configuration for a fault, and what the healthy model does under it: ask before it is put in."""
        way = replace(self.other, padding_side=None) if fault.needs_padding else self.other
        if way not in self._healthy:
            self._healthy[way] = self.observe(way)
        return way, self._healthy[way]

    def compared(self, seen: ReplayObservation, healthy: ReplayObservation | None = None) -> Comparison:
        """Hold a replay against a healthy one of the same texts; by default the reference."""
        return compare(healthy or self.reference, seen, self.tolerance, statistics=self.statistics)

    def examined(self, way: Variant, healthy: ReplayObservation) -> tuple[Comparison, bool]:
        """Replay the model as it is now and compare; and whether not one bit differs from what it healthily does so.

        A model that fails while it is replayed is *broken*.
        """
        try:
            seen = self.observe(way)
        except GenerationError as error:
            return cannot_load(error.reason, statistics=self.statistics), False
        return self.compared(seen), bit_equal(healthy, seen)

    @property
    def golden_clusters(self) -> int:
        """Prompts with golden text among the items."""
        return len({item.prompt_id for item in self.items if item.kind == "golden"})

    def _learn(self) -> Tolerance:
        loaded, pairs = self.subject.loaded, [(self.reference, self.repeated)]
        variants = harmless_variants(loaded, self.production, self.items)
        for _, seen in replay_variants(
            loaded, self.subject.suite, self.items, self.production, variants, identity=self.identity
        ):
            if isinstance(seen, ReplayObservation):
                pairs.append((self.reference, seen))
        if self.reference.key.dtype == "float32":
            pairs.append((self.reference, self.in_bfloat16(Variant("production"))))
        return learn(pairs, dtype=self.reference.key.dtype)

    def in_bfloat16(self, way: Variant) -> ReplayObservation:
        """Replay a copy of the model in bfloat16; the model itself is left alone."""
        half = in_dtype(self.subject.loaded, torch.bfloat16)
        with under(half, way):
            return replay_loaded(half, self.items, self.key(half, way, identify(half)))

    def _other(self) -> Variant:
        """Another batch, the other side of padding and the other attention backend at once, where they exist."""
        learned = {axis for floor in self.tolerance.floors for axis in floor.axes}
        changes: dict[str, Any] = {"batch_size": max(1, self.production.batch_size // 2)}
        if "padding" in learned:
            side: PaddingSide = "right" if self.production.padding_side == "left" else "left"
            changes["padding_side"] = side
        if "attention_backend" in learned:
            backend = attention_backend(self.subject.loaded.model)
            changes["attention_backend"] = "eager" if backend == "sdpa" else "sdpa"
        return Variant("other", **changes)


NOT_POSSIBLE = (CaptureError, ConfigError, UnsupportedGeneration)
"""What a way to run raises that this model does not allow."""


def choose(plan: Sequence[ReplayItem], count: int, longest: int = DEFAULT_LONGEST) -> tuple[ReplayItem, ...]:
    """`count` items of a plan, in its order: continuations first, then golden texts in turn by group, short ones."""
    fit = [item for item in plan if len(item.fed) + len(item.context_ids) * bool(item.decoder_start) <= longest]
    if len(fit) < min(count, len(plan)):
        fit = sorted(plan, key=lambda item: len(item.fed))[:count]
    written = [item for item in fit if item.kind == "continuation"]
    groups: dict[str, list[ReplayItem]] = {}
    for item in fit:
        if item.kind == "golden":
            groups.setdefault(item.group, []).append(item)
    turns = max((len(group) for group in groups.values()), default=0)
    golden = [group[turn] for turn in range(turns) for group in groups.values() if turn < len(group)]
    chosen = {item.item_id for item in (*written, *golden)[:count]}
    return tuple(item for item in plan if item.item_id in chosen)


def reordered(seen: ReplayObservation, like: ReplayObservation) -> ReplayObservation:
    """The items of one observation in the order of another."""
    return replace(seen, items=tuple(seen.by_id[item.item_id] for item in like.items))


def _greedy(subject: Subject) -> list[TokenizedPrompt]:
    """The prompts that do not sample, short ones first."""
    prompts = [one for one in tokenize(subject.suite, subject.loaded) if not one.generation.sampling.do_sample]
    short = [one for one in prompts if len(one.token_ids) <= DEFAULT_LONGEST and not one.prompt.tolerates]
    return short or prompts


def _has_golden(subject: Subject) -> bool:
    suite = subject.suite
    return bool(suite.golden_passages) or any(prompt.golden is not None for prompt in suite.prompts)
