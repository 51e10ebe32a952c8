"""Made-up replays, baselines of them, and comparisons by the library's own statistics, for the Compare page.

Owns the disturbance of each night. The answers, places and flips are computed, never written down here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from model_health.baseline.answers import compare
from model_health.baseline.artefact import Baseline, pack
from model_health.baseline.document import HealthyRun, Provenance
from model_health.baseline.flips import flip_report
from model_health.baseline.key import ReplayKey, ReplayShape
from model_health.baseline.nightly import screen_night
from model_health.baseline.observations import ItemObservation, Kind, ReplayObservation
from model_health.baseline.policy import judge
from model_health.baseline.profile import profile_of
from model_health.baseline.registry import promote
from model_health.baseline.store import BaselineStore
from model_health.baseline.tolerance import Tolerance, learn
from model_health.config.gates import GatesConfig
from model_health.demo.occasion import Occasion
from model_health.demo.plan import Setup, drift_of
from model_health.demo.reports import SUITE_IDENTITY, identity_of
from model_health.demo.telemetry import number_of
from model_health.demo.texts import PROMPTS, decode, tokens, words
from model_health.report.manifest import Manifest
from model_health.runner.compare import Compared
from model_health.runner.compare_record import ComparisonPlace, write_comparison
from model_health.store.comparisons import ComparisonStore
from model_health.store.index.index import Index

DIMENSIONS: Final = 16
TOP: Final = 20
PASSAGES: Final = 12
TOKENS: Final = 10
HARMLESS: Final = 2e-6
"""Relative size of what other libraries, batches and devices change in the last bits."""
BY: Final = "the demonstration"


@dataclass(frozen=True)
class Disturbance:
    """How a replay differs from the accepted one: noise from a state on, golden text that is less likely, NaN."""

    noise: float = 0.0
    first_state: int = 0
    worse: float = 0.0
    nan_state: int | None = None
    seed: int = 0


def disturbance_of(night: Occasion, accepted: Setup) -> Disturbance:
    """What a night's replay shows against what was accepted under a setup."""
    if night.effect.nan_layer is not None:
        return Disturbance(HARMLESS, 0, 0.0, night.effect.nan_layer + 1, night.day + 1)
    drift = drift_of(night.day, night.days) - 1.0 if night.model.drifts else 0.0
    if drift > 0.0:
        return Disturbance(0.02 * drift, 3, 0.4 * drift, None, night.day + 1)
    same = night.setup == accepted
    return Disturbance(0.0 if same else HARMLESS, 0, 0.0, None, night.day + 1)


def key_of(night: Occasion, batch_size: int = 8) -> ReplayKey:
    """The key of a night's replay."""
    who = identity_of(night)
    return ReplayKey(
        weights_digest=who.weights_digest or "",
        config_digest=who.config_digest or "",
        tokenizer_digest=who.tokenizer_digest or "",
        chat_template_digest=None,
        dtype="bfloat16",
        quantization="none",
        attention_backend="sdpa",
        libraries=who.libraries,
        driver=None,
        device_kind=who.device.kind,
        device_name=who.device.name,
        device_uuid=None,
        platform="synthetic",
        suite=SUITE_IDENTITY.name,
        suite_version=SUITE_IDENTITY.version,
        suite_digest=SUITE_IDENTITY.digest.removeprefix("sha256:"),
        sketch_seed=1,
        sketch_dim=DIMENSIONS,
        shape=ReplayShape(batch_size=batch_size, threads=16),
    )


def observe(night: Occasion, key: ReplayKey, disturbed: Disturbance = Disturbance()) -> ReplayObservation:
    """A replay of a model's accepted texts."""
    plain = np.random.default_rng([night.seed, number_of(night.model.name)])
    moved = np.random.default_rng([night.seed, number_of(night.model.name), disturbed.seed])
    names = ("embedding", *(f"layer.{n}" for n in range(night.model.layers)), "final")
    texts: list[tuple[str, str, Kind, str]] = []
    for prompt in PROMPTS:
        texts += [(prompt.id, f"{prompt.id}:{kind}", kind, prompt.group) for kind in _KINDS]
    texts += [(f"passage:g{n}", f"g{n}:passage", "golden", "golden_passages") for n in range(PASSAGES)]
    answers = {prompt.id: tokens(prompt.answer)[:TOKENS] for prompt in PROMPTS}
    items = []
    for prompt_id, item_id, kind, group in texts:
        chosen = answers.get(prompt_id) or plain.integers(1, len(words()), TOKENS).tolist()
        items.append(_item(prompt_id, item_id, kind, group, chosen, names, disturbed, plain, moved))
    return ReplayObservation(key, names, tuple(items), cpu_seconds=2.5, wall_seconds=2.6)


_KINDS: tuple[Kind, ...] = ("continuation", "golden")


def _item(
    prompt_id: str,
    item_id: str,
    kind: Kind,
    group: str,
    chosen: Sequence[int],
    names: Sequence[str],
    disturbed: Disturbance,
    plain: np.random.Generator,
    moved: np.random.Generator,
) -> ItemObservation:
    count, vocabulary = len(chosen), len(words())
    scored = np.array(chosen)
    rows = np.arange(count)
    logits = plain.normal(0.0, 1.6, (count, vocabulary))
    logits[rows, scored] = logits.max(axis=1) + plain.uniform(0.02 if kind == "continuation" else -1.0, 3.0, count)
    states = plain.normal(0.0, 1.0, (count, len(names), DIMENSIONS))
    reference = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    off = disturbed.noise * moved.normal(size=states.shape) * np.abs(states)
    states = states + np.where((np.arange(len(names)) >= disturbed.first_state)[None, :, None], off, 0.0)
    logits = logits + disturbed.noise * 10 * moved.normal(size=logits.shape)
    if kind == "golden" and disturbed.worse:
        logits[rows, scored] -= disturbed.worse * moved.uniform(0.5, 1.5, count)
    if disturbed.nan_state is not None:
        states[3:, disturbed.nan_state :] = np.nan
        logits[3:] = np.nan
    logits32, states32 = logits.astype(np.float32), states.astype(np.float32)
    exact = logits32.astype(np.float64)
    with np.errstate(invalid="ignore"):  # NaN is what some nights are about
        logprobs = exact - np.logaddexp.reduce(exact, axis=1)[:, None]
    top = np.argsort(-logprobs, axis=1, kind="stable")[:, :TOP]
    return ItemObservation(
        item_id=item_id,
        prompt_id=prompt_id,
        kind=kind,
        group=group,
        context_ids=plain.integers(1, vocabulary, 6).astype(np.int32),
        token_ids=scored.astype(np.int32),
        logprobs=logprobs[rows, scored].astype(np.float32),
        entropy_bits=(-(np.exp(logprobs) * logprobs).sum(axis=1) / np.log(2)).astype(np.float32),
        argmax_ids=top[:, 0].astype(np.int32),
        top_ids=top.astype(np.int32),
        top_logprobs=np.take_along_axis(logprobs, top, axis=1).astype(np.float32),
        reference_logprobs=np.take_along_axis(logprobs, reference, axis=1).astype(np.float32),
        norms=np.linalg.norm(states32, axis=2).astype(np.float32),
        sketch_rows=rows.astype(np.int32),
        sketches=states32,
        state_digests=tuple(_digest(states32[:, state]) for state in range(len(names))),
        logits_digest=_digest(logits32),
        non_finite=(~np.isfinite(states32)).sum(axis=(0, 2)).astype(np.int32),
        logits_non_finite=int((~np.isfinite(logits32)).sum()),
    )


def _digest(values: npt.NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


@dataclass
class Regression:
    """Baselines of the made-up models, and nights held against them."""

    baselines: BaselineStore
    results: ComparisonStore
    index: Index
    gates: GatesConfig
    _accepted: dict[str, tuple[Baseline, Setup]] = field(default_factory=dict)

    def accept(self, night: Occasion, manifest: Manifest, manifest_uri: str, manifest_digest: str, why: str) -> None:
        """Make a baseline of a healthy night, and promote it."""
        key = key_of(night)
        base = observe(night, key)
        variants = [
            replace(key, libraries={**key.libraries, "torch": "other"}),
            replace(key, shape=replace(key.shape, batch_size=1)),
            replace(key, device_kind="cuda" if key.device_kind == "cpu" else "cpu", device_name="other"),
        ]
        pairs = [(base, observe(night, one, Disturbance(HARMLESS, seed=n))) for one in variants for n in (1, 2, 3)]
        run = HealthyRun.of(manifest, manifest_uri, manifest_digest)
        at = manifest.ended_at + timedelta(hours=6)
        provenance = Provenance(by=BY, reason=why)
        packed = pack(
            base,
            {
                "model_name": night.model.name,
                "suite": SUITE_IDENTITY.name,
                "created_at": at,
                "provenance": provenance,
                "replays": 2,
                "reproducible": True,
                "runs": (run,),
                "agreeing": {prompt.id: 1 for prompt in PROMPTS},
                "tolerances": learn(pairs, dtype=key.dtype).model_dump(mode="json"),
            },
        )
        pair = (night.model.name, SUITE_IDENTITY.name)
        self.baselines.write(*pair, packed)
        promote(self.baselines, *pair, packed.baseline_id, provenance, at)
        self._accepted[night.model.name] = (self.baselines.read(*pair, packed.baseline_id), night.setup)

    def hold(self, night: Occasion) -> None:
        """Compare a night with what was accepted, and write down what was found."""
        baseline, setup = self._accepted[night.model.name]
        policy, old = self.gates.regression, baseline.observation
        new = observe(night, key_of(night), disturbance_of(night, setup))
        tolerance = Tolerance.model_validate(baseline.document.tolerances)
        found = compare(old, new, tolerance, statistics=policy.statistics)
        screened = screen_night({night.model.name: found.p_values}, level=found.level)[night.model.name]
        name, suite = night.model.name, SUITE_IDENTITY.name
        verdict = judge(found, policy, use="nightly", model=name, suite=suite, screened=screened)
        flips = profile = None
        if found.numbers is not None:
            profile = profile_of(old, new, found.numbers, tolerance, confidence=policy.statistics.confidence)
            if found.moved:
                flips = flip_report(old, new, lambda ids: "".join(map(decode, ids)))
        compared = Compared(found, verdict, None, flips, new, profile)
        place = ComparisonPlace(night.folder, True, name, "nightly", night.started)
        write_comparison(self.results, self.index, compared, baseline, place)
