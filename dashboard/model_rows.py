"""What the Model page says and tabulates. Pure: records in, words, notes and cells out, nothing of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import palette
import tables
import wording
from model_data import Changes, MetricHistory
from model_health.baseline.bands import BandStretch
from model_health.catalog.loader import catalogue
from model_health.store.index.changes import Change
from model_health.store.index.fleet import MAIN_METRICS
from model_health.store.index.percentiles import has_percentiles
from model_health.store.index.run_pages import RunRow
from model_health.store.index.selection import Configuration
from model_health.store.index.summaries import Difference, Summary
from model_health.store.index.trends import TrendStep
from wording import Look

RANGES: Final = {
    "24 hours": timedelta(days=1),
    "7 days": timedelta(days=7),
    "30 days": timedelta(days=30),
    "90 days": timedelta(days=90),
    "a year": timedelta(days=365),
    "everything": None,
}
BETWEEN: Final = "between two days"
EVERY: Final = "every"
NOT_RECORDED: Final = "not recorded"
KINDS: Final = {
    "promotion": Look("baseline promoted", "▲", palette.GREEN),
    "revision": Look("revision", "◆", palette.PURPLE),
    "libraries": Look("library", "■", palette.ORANGE),
    "device": Look("device or configuration", "▼", palette.GREY),
    "level": Look("level changed", "✚", palette.BLUE),
    "verdict": Look("verdict", "●", palette.RED),
}
"""What is written into a trend, with the shapes of `SHAPES`."""
SHAPES: Final = {
    "promotion": "triangle-up",
    "revision": "diamond",
    "libraries": "square",
    "device": "triangle-down",
    "level": "cross",
    "verdict": "circle",
}
_OF_CHANGE: Final = {
    "verdict": "verdict",
    "revision": "revision",
    "weights": "revision",
    "libraries": "libraries",
    "device": "device",
    "configuration": "device",
}
HEADLINES: Final = (*MAIN_METRICS, "time_to_first_token_seconds")
MOST_NOTES: Final = 60
"""Marks that a chart has room for; the table below has all."""


@dataclass(frozen=True)
class Note:
    """Something that happened."""

    at: datetime
    kind: str
    says: str
    run_key: str | None = None


@dataclass(frozen=True)
class Span:
    """The time that is shown. `until` None: up to now."""

    since: datetime | None
    until: datetime | None


def span_for(choice: str, days: Sequence[date], now: datetime) -> Span:
    """The time that somebody chose; `days` are the first and the last of `BETWEEN`, both inclusive."""
    if choice == BETWEEN and len(days) == 2:
        first, last = sorted(days)
        return Span(_midnight(first), _midnight(last) + timedelta(days=1))
    length = RANGES.get(choice, RANGES["30 days"])
    # To the minute, so that one view asks the same question again and again.
    return Span(None if length is None else now.replace(second=0, microsecond=0) - length, None)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


# ------------------------------------------------------------------------------------------------------------ metrics
def column_of(metric: str, labels: Mapping[str, str]) -> str:
    """A metric with its other labels in one word, as the address has it."""
    return tables.SPLIT.join([metric, *(labels[name] for name in sorted(labels))])


def metric_choices(found: Sequence[Summary]) -> dict[str, Summary]:
    """The metrics that a trend can be drawn of: those that were measured, the main ones first, then by catalogue."""
    order = {name: number for number, name in enumerate(catalogue())}

    def rank(one: Summary) -> tuple[int, int, str]:
        main = HEADLINES.index(one.metric) if one.metric in HEADLINES else len(HEADLINES)
        return main, order.get(one.metric, len(order)), column_of(one.metric, one.labels)

    measured = sorted((one for one in found if one.measured), key=rank)
    return {column_of(one.metric, one.labels): one for one in measured}


def latency_choices(found: Sequence[Summary]) -> dict[str, Summary]:
    """The lengths of time among them."""
    names = metric_choices(found)
    return {name: one for name, one in names.items() if has_percentiles(one.metric) and "duration" not in one.metric}


def unmeasured(found: Sequence[Summary], reasons: Mapping[str, str]) -> list[dict[str, Any]]:
    """The metrics that were never measured in a selection, with the newest run's reason."""
    return [
        {
            "Metric": tables.heading(column_of(one.metric, one.labels)),
            "Reason": reasons.get(one.metric, "not said by the newest run: open one of that time"),
            "Times": one.not_measured,
        }
        for one in found
        if not one.measured and one.not_measured
    ]


def metric_help(metric: str) -> str:
    """What a metric is, in a sentence; what is known of it otherwise."""
    entry = catalogue().get(metric)
    return "This version of Model Health does not know this metric." if entry is None else entry.help


# ------------------------------------------------------------------------------------------------------------- trends
def band_at(stretches: Sequence[BandStretch], at: datetime) -> BandStretch | None:
    """The stretch that holds at a moment."""
    return next((one for one in reversed(stretches) if one.since <= at and (one.until is None or at < one.until)), None)


def reading(step: TrendStep, stretches: Sequence[BandStretch], width: timedelta) -> str:
    """How a step lies to its band."""
    if step.mean is None:
        return "not measured"
    # A step may begin before the stretch whose runs it holds.
    stretch = band_at(stretches, step.at) or band_at(stretches, step.at + width)
    if stretch is None or stretch.band is None:
        return "no band"
    return "in band" if stretch.band.low <= step.mean <= stretch.band.high else "out of band"


def trend_rows(history: MetricHistory) -> list[dict[str, Any]]:
    """One row per step, oldest first."""
    rows = []
    for step in history.trend.steps:
        stretch = band_at(history.bands, step.at)
        band = None if stretch is None else stretch.band
        rows.append(
            {
                "From": step.at,
                "Mean": step.mean,
                "Reading": reading(step, history.bands, history.trend.step),
                "Smallest": step.minimum,
                "Largest": step.maximum,
                "Band from": None if band is None else band.low,
                "Band to": None if band is None else band.high,
                "Measured": step.measured,
                "Not measured": step.not_measured,
                "Runs": step.runs,
            }
        )
    return rows


def standing(history: MetricHistory) -> tuple[float | None, str]:
    """The newest mean, and how it lies to its band."""
    if not history.trend.steps:
        return None, "not measured"
    newest = history.trend.steps[-1]
    return newest.mean, reading(newest, history.bands, history.trend.step)


def no_band(history: MetricHistory) -> str | None:
    """Why the newest stretch has no band; None where it has one."""
    if not history.bands:
        return "there is no healthy step"
    return history.bands[-1].reason


def notes(found: Changes, history: MetricHistory | None, kinds: Sequence[str]) -> list[Note]:
    """What happened, oldest first: of the kinds that are asked for."""
    every = [
        Note(
            one.promoted_at,
            "promotion",
            f"baseline {one.baseline_id[:12]} promoted by {one.provenance.by}: {one.provenance.reason}",
        )
        for one in found.promotions
    ]
    every += [
        Note(one.at, _OF_CHANGE[one.kind], _change(one), one.run_key) for one in (*found.identity, *found.verdicts)
    ]
    if history is not None:
        every += [Note(one.at, "level", f"from {one.before:.4g} to {one.after:.4g}") for one in history.levels]
    return sorted((one for one in every if one.kind in kinds), key=lambda one: one.at)


def _change(one: Change) -> str:
    before, after = (_short(value) for value in (one.before, one.after))
    what = one.what.replace("_", " ")
    return f"{what}: {before} → {after}"


def _short(value: str | None) -> str:
    if value is None:
        return NOT_RECORDED
    return f"{value[:19]}…" if value.startswith("sha256:") and len(value) > 20 else value.replace("_", " ")


def note_rows(found: Sequence[Note]) -> list[dict[str, Any]]:
    """One row per thing that happened, newest first."""
    return [
        {
            "At": one.at,
            "What": f"{KINDS[one.kind].mark} {KINDS[one.kind].word}",
            "Change": one.says,
            "Run": one.run_key,
        }
        for one in reversed(found)
    ]


# ------------------------------------------------------------------------------------------------------- comparisons
def revisions(found: Sequence[Configuration]) -> list[str]:
    """The revisions, newest first."""
    return list(dict.fromkeys(one.revision for one in reversed(found) if one.revision))


def devices(found: Sequence[Configuration]) -> list[str]:
    """The classes of devices, newest first."""
    return list(dict.fromkeys(one.device_class for one in reversed(found) if one.device_class))


def difference_rows(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """One row per metric, the largest relative change first; what only one side measured comes last."""

    def size(one: Difference) -> float:
        return -1.0 if one.relative is None else abs(one.relative)

    return [
        {
            "Metric": tables.heading(column_of(one.metric, one.labels)),
            "First": None if one.first is None else one.first.mean,
            "Second": None if one.second is None else one.second.mean,
            "Change": one.change,
            "Relative (%)": None if one.relative is None else 100.0 * one.relative,
            "Reading": _better(one),
            "Values": f"{one.first.measured if one.first else 0} / {one.second.measured if one.second else 0}",
        }
        for one in sorted(found, key=size, reverse=True)
        if (one.first is not None and one.first.measured) or (one.second is not None and one.second.measured)
    ]


def _better(one: Difference) -> str:
    if one.change is None:
        return "? one side only"
    entry = catalogue().get(one.metric)
    if one.change == 0.0 or entry is None or entry.higher_is == "neutral":
        return "= the same" if one.change == 0.0 else "↔ differs"
    return "✔ better" if (one.change > 0.0) == (entry.higher_is == "better") else "▲ worse"


# --------------------------------------------------------------------------------------------------------------- runs
def run_rows(found: Sequence[RunRow], now: datetime) -> list[dict[str, Any]]:
    """The table of runs, in the order given."""
    return [
        {
            "State": wording.state_of(row.record, now).label,
            "Started": row.record.started_at,
            "Reports": {True: "✔ valid", False: "✖ invalid", None: None}[row.valid],
            "Unhealthy": row.unhealthy if row.prompts else None,
            "Prompts": row.prompts if row.prompts else None,
            "Flags": wording.raised(row.record.unhealthy_flags),
            "Why": wording.why(row.record, now) or None,
            "Revision": row.record.identity.revision if row.record.identity else None,
            "Device": row.record.identity.device_class if row.record.identity else None,
            "Run": row.record.run_id,
        }
        for row in found
    ]
