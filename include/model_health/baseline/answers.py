"""Is this still the model we accepted? Seven answers, in the order in which evidence rules them out.

Owns the answer and gathers its evidence; what follows for a release or a night is the policy's. From the top: broken,
not comparable, equal bits, then whether anything moved beyond the tolerance of what changed, then whether golden text
got worse. The evidence is in `Comparison`.
"""

from __future__ import annotations

from collections.abc import Sequence

from model_health.baseline.attribution import place_by_band, place_by_bits
from model_health.baseline.budget import AlarmBudget, rank_p
from model_health.baseline.comparison import Comparison
from model_health.baseline.distances import FAMILIES, unpaired
from model_health.baseline.finite import first_non_finite
from model_health.baseline.flag_changes import FlagChange
from model_health.baseline.golden import Harm, judge_harm
from model_health.baseline.key import INCOMPARABLE, changed_axes
from model_health.baseline.numbers import measure
from model_health.baseline.observations import ReplayObservation, bit_equal
from model_health.baseline.tolerance import TOLERATED, Limits, Tolerance
from model_health.config.regression import Answer, RegressionStatistics


def budget_of(statistics: RegressionStatistics, *, models: int = 1, charts: int = 1, flags: int = 0) -> AlarmBudget:
    """The alarm budget that the figures of gates.yaml make. Hypotheses: golden text, the families, and each flag."""
    return AlarmBudget(
        nights=statistics.nights_per_false_page,
        drift_share=statistics.drift_share,
        families=1 + len(FAMILIES) + flags,
        models=models,
        charts=charts,
    )


def compare(
    old: ReplayObservation,
    new: ReplayObservation,
    tolerance: Tolerance,
    *,
    statistics: RegressionStatistics,
    flags: Sequence[FlagChange] = (),
    models: int = 1,
) -> Comparison:
    """Hold a replay against the baseline's.

    Args:
        old: the baseline's observation.
        new: tonight's, or the candidate's.
        tolerance: stored with the baseline.
        statistics: figures of the policy.
        flags: flags over the generations of both, of which an excess means *broken* (loops, empty, garbled).
        models: how many are compared in this night; their tests share one alarm budget.
    """
    axes = changed_axes(old.key, new.key)
    level = budget_of(statistics, models=models, flags=len(flags)).level
    base = Comparison(Answer.INCONCLUSIVE, "", axes=axes, level=level, flags=tuple(flags))
    hole = first_non_finite(new)
    if hole is not None:
        return base.but(Answer.BROKEN, f"not finite: {hole}", non_finite=hole, moved=True)
    worse = [change for change in flags if change.worse(level)]
    incomparable = [axis for axis in axes if axis in INCOMPARABLE]
    why = f"other {', '.join(incomparable)}" if incomparable else unpaired(old, new)
    hole = first_non_finite(old)
    if why is None and hole is not None:
        why = f"the baseline itself is not finite: {hole}"
    if why is not None and not worse:
        return base.but(Answer.NOT_COMPARABLE, why)
    if worse:
        appeared = "; ".join(f"{each.flag} on {len(each.appeared)} prompts that were free of it" for each in worse)
        return base.but(Answer.BROKEN, appeared, moved=True)
    return _compare_numbers(base, old, new, tolerance, statistics)


def _compare_numbers(
    base: Comparison,
    old: ReplayObservation,
    new: ReplayObservation,
    tolerance: Tolerance,
    statistics: RegressionStatistics,
) -> Comparison:
    """Both are finite and paired."""
    numbers, harmless = measure(old, new), tuple(axis for axis in base.axes if axis in TOLERATED)
    place = place_by_bits(old, new)
    limits, unrecorded = limits_of(tolerance, old, harmless)
    margin = max(statistics.golden_margin_bits, 0.0 if limits is None else limits.golden_bits)
    harm = judge_harm(numbers.golden, statistics, level=base.level, margin=margin)
    p_values = {"golden": harm.p, **{change.flag: change.p for change in base.flags}}
    if limits is not None:
        p_values |= {name: rank_p(numbers.families[name], limits.recorded[name]) for name in FAMILIES}
    base = base.but(base.answer, "", numbers=numbers, harm=harm, p_values=p_values, place=place)
    if bit_equal(old, new):
        if not base.axes:
            return base.but(Answer.IDENTICAL, "every state and every logit is bit-equal", moved=False)
        return base.but(Answer.EQUIVALENT, f"bit-equal under another {', '.join(base.axes)}", moved=False)
    if not harmless and (tolerance.repeats_bits or limits is None):
        beyond = tuple(family for family in FAMILIES if numbers.families[family] > 0.0)
        base = base.but(base.answer, "", beyond=beyond, moved=True)
        return _moved(base, harm, f"numerically different from {place}", same_key=not base.axes)
    if limits is None:
        base = base.but(base.answer, "", unrecorded=unrecorded)
        return _without_tolerance(base, harm)
    beyond = limits.beyond(numbers)
    place = place_by_band(old, new, numbers, limits)
    base = base.but(base.answer, "", ratios=limits.ratios(numbers), beyond=beyond, place=place, moved=place is not None)
    if place is None:
        what = ", ".join(harmless) or "run"
        return base.but(Answer.EQUIVALENT, f"not distinguishable from harmless variation of {what}")
    return _moved(base, harm, f"beyond tolerance in {', '.join(beyond) or 'a state'} from {place}", same_key=False)


def limits_of(
    tolerance: Tolerance, old: ReplayObservation, harmless: tuple[str, ...]
) -> tuple[Limits | None, tuple[str, ...]]:
    """The limits of these axes; None, and which of them nobody recorded, where nothing says what is harmless."""
    if tolerance.dtype != old.key.dtype:
        return None, harmless
    axes = tuple(axis for axis in TOLERATED if axis in harmless)
    missing = tolerance.unrecorded(axes)
    if missing or not tolerance.covering(axes):
        return None, missing
    return tolerance.limits(axes), ()


def _moved(base: Comparison, harm: Harm, how: str, *, same_key: bool) -> Comparison:
    if harm.worse:
        return base.but(Answer.DEGRADED, f"{harm}; {how}")
    if harm.not_worse or same_key:
        return base.but(Answer.CHANGED, f"{how}; {harm}")
    return base.but(Answer.INCONCLUSIVE, f"{how}, but harm is undecided: {harm}", needed=harm.needed)


def _without_tolerance(base: Comparison, harm: Harm) -> Comparison:
    """Harm needs no tolerance to be seen: it is a statement about text, whatever the change came from."""
    what = ", ".join(base.unrecorded) or "this dtype"
    if harm.worse:
        return base.but(Answer.DEGRADED, f"{harm}; what another {what} does by itself was never recorded")
    why = f"no healthy replay under another {what} is recorded; record one to learn what is harmless"
    return base.but(Answer.INCONCLUSIVE, why)


def cannot_load(reason: str, *, statistics: RegressionStatistics) -> Comparison:
    """The answer for a model that did not load: broken, without any number."""
    return Comparison(Answer.BROKEN, f"cannot load: {reason}", level=budget_of(statistics).level, moved=True)
