"""Replays once more what differed from its baseline: the same device first, then the CPU in float32.

Owns the replays; what they mean together is the table of `baseline.causes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from model_health.baseline.answers import compare
from model_health.baseline.artefact import Baseline
from model_health.baseline.causes import Again, Attribution, Replays, attribute
from model_health.baseline.comparison import Comparison
from model_health.baseline.observations import ReplayObservation, bit_equal
from model_health.baseline.tolerance import Tolerance
from model_health.config.regression import RegressionStatistics
from model_health.config.suites import CanarySuite
from model_health.errors import ModelHealthError
from model_health.runner.loading import LoadedModel
from model_health.runner.replay import key_of, production_shape, replay_loaded
from model_health.runner.replay_plan import plan_again

Reload = Callable[[], LoadedModel]
"""Loads the same model once more, on the CPU in float32."""

SOFTWARE: Final = frozenset({"libraries", "driver", "attention_backend"})


def attribute_change(
    loaded: LoadedModel,
    suite: CanarySuite,
    baseline: Baseline,
    first: Comparison,
    seen: ReplayObservation,
    statistics: RegressionStatistics,
    reload: Reload | None,
) -> Attribution:
    """What a change comes from; replays only as long as one more replay tells more."""
    stored = baseline.document.tolerances
    known = Tolerance(dtype=baseline.observation.key.dtype) if stored is None else Tolerance.model_validate(stored)
    axes = set(first.axes)
    facts = Replays(
        differs=bool(first.moved),
        device_kind=seen.key.device_kind,
        weights_differ="weights" in axes,
        software_differs=bool(axes & SOFTWARE),
    )
    found = attribute(facts)
    if found.do_next == "replay_again":
        again = replay_loaded(loaded, plan_again(baseline.observation), seen.key)
        facts = replace(facts, again=_against(baseline, again, known, statistics, first=seen))
        found = attribute(facts)
    if found.do_next == "replay_on_cpu" and reload is not None:
        try:
            other = reload()
            key = key_of(other, suite, production_shape(other))
            elsewhere = replay_loaded(other, plan_again(baseline.observation), key)
        except ModelHealthError as error:
            return replace(found, reason=f"{found.reason}; it could not be replayed on the CPU: {error}")
        found = attribute(replace(facts, elsewhere=_against(baseline, elsewhere, known, statistics)))
    return found


def _against(
    baseline: Baseline,
    new: ReplayObservation,
    tolerance: Tolerance,
    statistics: RegressionStatistics,
    *,
    first: ReplayObservation | None = None,
) -> Again:
    """How another replay stands to the baseline, and to the first one; None where no tolerance can say."""
    moved = compare(baseline.observation, new, tolerance, statistics=statistics).moved
    if moved is None:
        return None
    if not moved:
        return "agrees"
    return "same" if first is not None and bit_equal(first, new) else "other"
