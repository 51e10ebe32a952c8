"""Holds a loaded model against a baseline: replay, answer, where and whence, which tokens, and what it means for a use.

Owns the order, and that replays are repeated only where something differs. Knows neither stores nor the index; what the
answers are is `baseline.answers`, what follows from them `baseline.policy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from model_health.baseline.answers import budget_of, cannot_load, compare
from model_health.baseline.artefact import Baseline
from model_health.baseline.causes import Attribution
from model_health.baseline.comparison import Comparison
from model_health.baseline.flag_changes import FlagChange, flag_change
from model_health.baseline.flips import FlipReport, flip_report
from model_health.baseline.key import MODEL, comparable
from model_health.baseline.observations import ReplayObservation
from model_health.baseline.policy import RegressionVerdict, judge
from model_health.baseline.profile import Profile, profile_of
from model_health.baseline.tolerance import Tolerance
from model_health.config.flags import Flag
from model_health.config.regression import Answer, RegressionConfig, RegressionStatistics, Use
from model_health.config.suites import CanarySuite
from model_health.report.identity import ModelIdentity
from model_health.report.manifest import PromptEntry
from model_health.runner.compare_again import Reload, attribute_change
from model_health.runner.loading import LoadedModel
from model_health.runner.replay import key_of, production_shape, replay_loaded
from model_health.runner.replay_plan import plan_again
from model_health.runner.token_text import TokenText

BROKEN_FLAGS: Final = (Flag.LOOP_DETECTED, Flag.EMPTY_OUTPUT, Flag.GARBLED_OUTPUT)
"""Flags of generated text that mean *broken* where they appear on more prompts than chance has it."""
Purpose = Literal["promotion"] | Use
"""What a comparison is for. `promotion` is whichever use fits what differs."""


@dataclass(frozen=True)
class Compared:
    """A comparison with all that follows.

    `cause` is None where nothing was replayed, `flips` where nothing moved, `profile` where nothing could be paired.
    """

    comparison: Comparison
    verdict: RegressionVerdict
    cause: Attribution | None = None
    flips: FlipReport | None = None
    observation: ReplayObservation | None = None
    profile: Profile | None = None


def compare_loaded(
    loaded: LoadedModel,
    suite: CanarySuite,
    baseline: Baseline,
    config: RegressionConfig,
    *,
    purpose: Purpose,
    entries: Sequence[PromptEntry] = (),
    identity: ModelIdentity | None = None,
    reload: Reload | None = None,
) -> Compared:
    """Replay the baseline's tokens through a loaded model, and say what became of it.

    Args:
        loaded: the model.
        suite: as it is configured now; another digest than the baseline's is *not comparable*, and not replayed.
        baseline: what was accepted.
        config: policy and figures.
        purpose: what the comparison is for.
        entries: the prompts of a generation by the same model, whose flags count as well.
        identity: of the model, where it is known already.
        reload: loads the model again on the CPU in float32, for a change seen on another device.

    Raises:
        CaptureError, GenerationError: the model could not be replayed.
    """
    old = baseline.observation
    tolerance = tolerance_of(baseline)
    key = key_of(loaded, suite, production_shape(loaded), identity)
    flags = flag_changes(baseline, entries, config.statistics)
    if not comparable(old.key, key):
        empty = ReplayObservation(key, old.state_names, (), 0.0, 0.0)
        found = compare(old, empty, tolerance, statistics=config.statistics, flags=flags)
        return Compared(found, _judged(found, baseline, config, purpose))
    new = replay_loaded(loaded, plan_again(old), key)
    found = compare(old, new, tolerance, statistics=config.statistics, flags=flags)
    cause = attribute_change(loaded, suite, baseline, found, new, config.statistics, reload)
    flips = profile = None
    if found.numbers is not None:
        profile = profile_of(old, new, found.numbers, tolerance, confidence=config.statistics.confidence)
        if found.moved:
            flips = flip_report(old, new, TokenText(loaded.tokenizer).text, **_shown(config))
    return Compared(found, _judged(found, baseline, config, purpose), cause, flips, new, profile)


def compared_unloadable(reason: str, baseline: Baseline, config: RegressionConfig, *, purpose: Purpose) -> Compared:
    """The comparison of a candidate whose files are there and do not load: broken."""
    found = cannot_load(reason, statistics=config.statistics)
    return Compared(found, _judged(found, baseline, config, purpose))


def use_of(purpose: Purpose, comparison: Comparison) -> Use:
    """The use that a policy knows: for a promotion, a quantised or narrower copy before other weights before the rest.

    A copy that was quantised and widened again has other weights and no mark: ask for `quantization` by name.
    """
    if purpose != "promotion":
        return purpose
    if {"quantization", "dtype"} & set(comparison.axes):
        return "quantization"
    return "revision" if MODEL & set(comparison.axes) or comparison.answer is Answer.BROKEN else "upgrade"


def tolerance_of(baseline: Baseline) -> Tolerance:
    """What the baseline knows to be harmless; nothing where it did not learn."""
    if baseline.document.tolerances is None:
        return Tolerance(dtype=baseline.observation.key.dtype)
    return Tolerance.model_validate(baseline.document.tolerances)


def flag_changes(
    baseline: Baseline, entries: Sequence[PromptEntry], statistics: RegressionStatistics
) -> tuple[FlagChange, ...]:
    """How the flags of generated text differ from those of the baseline's newest run, by prompt."""
    if not entries:
        return ()
    level = budget_of(statistics, flags=len(BROKEN_FLAGS)).level
    before: Mapping[str, tuple[str, ...]] = baseline.document.runs[0].flags
    changes = []
    for flag in BROKEN_FLAGS:
        judged = [one for one in entries if one.prompt_id in before and flag not in one.tolerated]
        raised = {one.prompt_id for one in judged if flag in one.flags}
        changes.append(
            flag_change(
                str(flag),
                [one.prompt_id for one in judged],
                {prompt for prompt, flags in before.items() if flag in flags},
                raised,
                level=level,
            )
        )
    return tuple(changes)


def _judged(
    comparison: Comparison, baseline: Baseline, config: RegressionConfig, purpose: Purpose
) -> RegressionVerdict:
    document = baseline.document
    use = use_of(purpose, comparison)
    return judge(comparison, config, use=use, model=document.model_name, suite=document.suite)


def _shown(config: RegressionConfig) -> dict[str, int]:
    return {} if config.quote_text else {"shown": 0}
