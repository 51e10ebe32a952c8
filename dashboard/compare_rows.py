"""What the Compare page says and tabulates about a baseline and a run. Pure: records in, words and cells out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import palette
import wording
from model_health.baseline.flips import FlipReport
from model_health.baseline.stored_result import StoredResult
from model_health.store.index.comparisons import ComparisonRecord
from wording import Look

OUTCOMES: Final = {
    "pass": Look("pass", "✔", palette.GOOD),
    "warn": Look("warn", "▲", palette.WARN),
    "fail": Look("fail", "✖", palette.BAD),
    "inconclusive": Look("inconclusive", "?", palette.UNKNOWN),
}
ANSWERS: Final = {
    "identical": "the same bits as the baseline",
    "equivalent": "no further from the baseline than harmless changes reach",
    "changed": "other than the baseline, not worse on golden text",
    "degraded": "worse than the baseline on golden text",
    "broken": "does not work",
    "inconclusive": "cannot be told with what was measured",
    "not_comparable": "there is nothing to compare: the tokens differ",
}
"""What an answer means, for whoever does not know the seven words."""
FAMILIES: Final = {
    "logprob": "Log-probability of the scored token (nats)",
    "kl": "Divergence of the distribution (bits)",
    "flips": "Swing of the most likely tokens (nats)",
    "entropy": "Entropy (bits)",
    "sketch": "Hidden states (relative distance)",
    "norm": "Norms of hidden states (log ratio)",
}
Band = Literal["within", "out of band", "no band known"]
_VISIBLE: Final = {"\n": "⏎", "\r": "␍", "\t": "⇥"}


@dataclass(frozen=True)
class Spot:
    """One point of a profile along the depth. `value` None: nothing was measured there, and `why` says so."""

    name: str
    value: float | None
    largest: float | None
    limit: float | None
    why: str | None = None

    @property
    def band(self) -> Band:
        """How the value lies to its limit."""
        if self.limit is None:
            return "no band known"
        return "out of band" if self.value is not None and self.value > self.limit else "within"


@dataclass(frozen=True)
class Effect:
    """One prompt's effect. Bits per token; positive: the newer one is less sure of the same text."""

    name: str
    value: float
    low: float | None
    high: float | None
    tokens: int | None = None
    overall: bool = False

    @property
    def reading(self) -> str:
        """Whether the interval lies on one side of zero."""
        if self.low is None or self.high is None:
            return "undecided"
        return "worse" if self.low > 0.0 else "better" if self.high < 0.0 else "undecided"


def label(record: ComparisonRecord) -> str:
    """A comparison in the list to choose from."""
    look = OUTCOMES[record.outcome]
    return f"{record.at:%Y-%m-%d %H:%M} · {record.model}/{record.suite} · {record.candidate} · {look.mark} {look.word}"


def address_of(record: ComparisonRecord) -> str:
    """A comparison's name in the page's address."""
    return f"{'run' if record.of_run else 'candidate'}:{record.key}"


def read_address(text: str) -> tuple[str, bool] | None:
    """Key, and whether it is a run's; None for what is no such name."""
    kind, _, key = text.partition(":")
    return (key, kind == "run") if kind in ("run", "candidate") and key.count("/") == 2 else None


def headline(record: ComparisonRecord) -> str:
    """The first line: what is wrong, and where it begins."""
    look = OUTCOMES[record.outcome]
    answer = record.answer.replace("_", " ")
    means = ANSWERS.get(record.answer, "see below")
    if record.answer == "inconclusive" and record.moved:
        means = "moved for certain, and whether for the worse cannot be told yet"
    says = f"{look.mark} {look.word}: {record.candidate} is {answer}, {means}."
    if record.state:
        says += f" It begins at {record.state}."
    return says


def states_of(result: StoredResult, names: Sequence[str]) -> list[Spot]:
    """The profile along the depth; empty where nothing could be paired.

    Args:
        result: the comparison.
        names: of the states, for a result without a profile.
    """
    if result.profile is not None:
        why = result.profile.why_unlimited
        return [Spot(state.name, state.mean, state.largest, state.limit, why) for state in result.profile.states]
    if result.numbers is None:
        return []
    values = result.numbers.states
    fitting = names if len(names) == len(values) else [f"state {number}" for number in range(len(values))]
    why = "the result is of an older version, which kept no limits"
    return [Spot(name, value, None, None, why) for name, value in zip(fitting, values, strict=True)]


def effects_of(result: StoredResult, kind: str) -> list[Effect]:
    """The effect on each prompt's text of a kind, worst first, after the one over all of them."""
    if result.profile is not None:
        found = [
            Effect(one.prompt_id.removeprefix("passage:"), one.surprisal_bits, one.low, one.high, one.tokens)
            for one in result.profile.prompts
            if one.kind == kind
        ]
    elif result.numbers is not None and kind == "golden":
        found = [Effect(name, value, None, None) for name, value in result.numbers.golden.items()]
    else:
        return []
    worst = sorted(found, key=lambda one: -one.value)
    effect = result.harm.effect if result.harm is not None else None
    if effect is None or kind != "golden":
        return worst
    return [Effect("all prompts", effect.mean, effect.low, effect.high, overall=True), *worst]


def first_out(spots: Sequence[Spot]) -> str | None:
    """The name of the first spot out of its band."""
    return next((spot.name for spot in spots if spot.band == "out of band"), None)


def spot_rows(spots: Sequence[Spot], what: str) -> list[dict[str, Any]]:
    """The profile as a table."""
    return [
        {
            "Where": spot.name,
            "Band": {"within": "✔ within", "out of band": "✖ out of band", "no band known": "? no band known"}[
                spot.band
            ],
            f"Mean {what}": spot.value,
            f"Largest {what}": spot.largest,
            "Harmless up to": spot.limit,
            "Note": spot.why,
        }
        for spot in spots
    ]


def effect_rows(effects: Sequence[Effect]) -> list[dict[str, Any]]:
    """The effects as a table."""
    return [
        {
            "Prompt": one.name,
            "Change (bits per token)": one.value,
            "Low": one.low,
            "High": one.high,
            "Tokens": one.tokens,
            "Reading": one.reading,
        }
        for one in effects
    ]


def flip_rows(report: FlipReport) -> list[dict[str, Any]]:
    """Every flip that is spelled out, in the report's order."""
    return [
        {
            "Text": item.item_id,
            "Token": flip.row,
            "After": visible(flip.before),
            "Baseline says": visible(flip.old_text),
            "Now says": visible(flip.new_text),
            "Swing (nats)": flip.swing,
        }
        for item in report.changed
        for flip in item.flips
    ]


def flip_counts(report: FlipReport) -> list[dict[str, Any]]:
    """One row per text that has another most likely token somewhere."""
    return [
        {
            "Text": item.item_id,
            "Kind": item.kind,
            "Flipped": item.flipped,
            "Tokens": item.tokens,
            "Surprisal (bits per token)": item.surprisal_bits,
        }
        for item in report.changed
    ]


def family_rows(result: StoredResult) -> list[dict[str, Any]]:
    """How far each family of distances moved, largest first where limits are known."""
    if result.numbers is None:
        return []
    ratios = result.ratios or {}
    return [
        {
            "Distance": FAMILIES.get(name, name),
            "Largest": value,
            "Of its limit": ratios.get(name),
            "Reading": "✖ beyond" if name in result.beyond else "✔ within" if ratios else "? bits decide",
        }
        for name, value in result.numbers.families.items()
    ]


def evidence(result: StoredResult, record: ComparisonRecord) -> dict[str, str | None]:
    """The facts behind the verdict."""
    cause = result.cause
    return {
        "Baseline": result.baseline,
        "Candidate": result.candidate,
        "Purpose": f"{result.purpose} (judged as {result.policy.use})",
        "Compared at": wording.stamp(result.at),
        "What differs": ", ".join(result.axes) or "nothing of the configuration",
        "Never recorded": ", ".join(result.unrecorded) or None,
        "Answer because": result.reason,
        "Cause": None if cause is None else f"{cause.cause.replace('_', ' ')}: {cause.reason}",
        "Policy": f"rule {record.rule}, {'screened with its night' if record.screened else 'judged alone'}",
        "Prompts needed": None if result.needed is None else f"{result.needed} with golden text would decide",
        "Result": record.result_uri,
    }


def visible(text: str) -> str:
    """Text as a cell shows it: control characters and blanks at its ends are named, as they may be all that differs."""
    shown = "".join(_VISIBLE.get(c, c if c.isprintable() else f"<U+{ord(c):04X}>") for c in text)
    inner = shown.strip(" ")
    if not inner:
        return "␣" * len(shown) or "(empty)"
    begin = len(shown) - len(shown.lstrip(" "))
    return "␣" * begin + inner + "␣" * (len(shown) - begin - len(inner))
