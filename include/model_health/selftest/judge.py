"""From a comparison to a trial: was the fault heard of, was its place named, and if not, why.

Owns what counts as detected: an answer that no policy passes for the accepted weights (changed, degraded, broken, not
comparable), or one that says that something moved for certain.
"""

from __future__ import annotations

from dataclasses import replace

from model_health.baseline.attribution import HEAD
from model_health.baseline.comparison import Comparison
from model_health.config.regression import Answer
from model_health.selftest.fault import Fault
from model_health.selftest.result import Configuration, HarmlessTrial, Placement, Trial
from model_health.selftest.witness import Hearing

LOUD = frozenset({Answer.CHANGED, Answer.DEGRADED, Answer.BROKEN, Answer.NOT_COMPARABLE})
HARMLESS = frozenset({Answer.IDENTICAL, Answer.EQUIVALENT})


def inapplicable(fault: Fault, configuration: Configuration, why: str) -> Trial:
    """The trial of a fault that this model cannot have."""
    return Trial(fault.name, fault.kind, configuration, applicable=False, reason=why)


def judge(
    fault: Fault, configuration: Configuration, found: Comparison, *, place: str | None, excuse: str | None, inert: bool
) -> Trial:
    """The trial of a fault under replay; see `Fault.place` and `Fault.excuse`."""
    detected = found.answer in LOUD or bool(found.moved)
    attributed = attributed_to(found)
    effect = None if found.harm is None else found.harm.effect
    return Trial(
        fault=fault.name,
        kind=fault.kind,
        configuration=configuration,
        place=place,
        single_layer=fault.layer is not None,
        subtle=fault.subtle,
        one_token=fault.one_token,
        answer=str(found.answer),
        detected=detected,
        inert=inert,
        attributed=attributed,
        placement=_placement(place, attributed) if detected else "not asked",
        delay_nights=1 if detected else None,
        reason=found.reason,
        missed=None if detected else _why_missed(found, excuse, inert=inert),
        excused=not detected and (excuse is not None or (inert and configuration == "other")),
        ratio=largest_ratio(found),
        golden_bits=None if effect is None else effect.mean,
        golden_low=None if effect is None else _finite(effect.low),
        golden_high=None if effect is None else _finite(effect.high),
    )


def witnessed(fewer: Trial, seen: Trial | None, said: Hearing) -> Trial:
    """The trial of a fault that few texts did not show, by what the whole suite says.

    Args:
        fewer: the trial on few texts.
        seen: the trial on the group of texts that showed it; None where none did.
        said: by the witness.
    """
    if seen is not None:
        return replace(seen, texts=said.texts, reason=f"on {said.texts} texts, not on fewer: {seen.reason}")
    if not said.no_number:
        why = f"the model's own forward pass over {said.texts} texts gives other bits, and no replay of them shows it"
        return replace(fewer, texts=said.texts, missed=why)
    digest = "the digest of the weights, read whenever a model is loaded, tells" if said.digest_tells else ""
    why = f"on all {said.texts} texts of the suite the model's own forward pass gives every state and logit bit for bit"
    why = f"{why}; {digest}" if digest else why
    return replace(fewer, texts=said.texts, no_number=True, missed=why)


def judge_harmless(change: str, found: Comparison) -> HarmlessTrial:
    """The trial of a harmless change, of which any answer worse than *equivalent* is a false alarm."""
    return HarmlessTrial(
        change=change,
        axes=found.axes,
        answer=str(found.answer),
        false_alarm=found.answer not in HARMLESS,
        reason=found.reason,
        ratio=largest_ratio(found),
    )


def attributed_to(found: Comparison) -> str | None:
    """The state that a comparison names."""
    if found.non_finite is not None:
        return HEAD if found.non_finite.state == "logits" else found.non_finite.state
    return None if found.place is None else found.place.state


def largest_ratio(found: Comparison) -> float | None:
    """The largest family number in units of its limit; None where no limit was asked."""
    return max(found.ratios.values()) if found.ratios else None


def _placement(place: str | None, attributed: str | None) -> Placement:
    if place is None:
        return "not asked"
    if attributed is None:
        return "unnamed"
    return "right" if attributed == place else "wrong"


def _why_missed(found: Comparison, excuse: str | None, *, inert: bool) -> str:
    if excuse is not None:
        return excuse
    if inert:
        return "has no effect here: not one bit of a state or a logit differs from the healthy replay"
    ratio = largest_ratio(found)
    if ratio is not None and ratio <= 1.0:
        return f"reaches {ratio:.2g} of the limit at most: not distinguishable from harmless variation"
    return found.reason


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None
