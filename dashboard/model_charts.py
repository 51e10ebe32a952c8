"""The charts of the Model page: a trend against its band, percentiles, flags, verdicts. Pure: rows in, chart out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import altair as alt

import palette
from chart_parts import Layers, drawn, over, titled
from model_data import MetricHistory
from model_health.store.index.percentiles import PercentileStep
from model_health.store.index.rates import FlagRate, VerdictCount
from model_rows import KINDS, MOST_NOTES, SHAPES, Note, Span, reading
from wording import State

POINTS = 150
"""With more steps than that, only those out of their band have a mark."""
_READINGS = {
    "in band": (palette.BLUE, "circle"),
    "out of band": (palette.BAD, "cross"),
    "no band": (palette.GREY, "diamond"),
}
_PERCENTS = {50: palette.BLUE, 95: palette.ORANGE, 99: palette.PURPLE}
_DASHES = {50: [1, 0], 95: [6, 3], 99: [2, 2]}


def _time(shown: Span, found: Sequence[datetime], now: datetime) -> alt.X:
    """The axis of time: all that was asked for, so that silence is seen as silence."""
    begin = shown.since or min(found, default=now - timedelta(days=1))
    end = shown.until or now
    short = end - begin <= timedelta(days=3)
    return alt.X(
        "at:T",
        title="Time (UTC)",
        scale=alt.Scale(type="utc", domain=[begin.isoformat(), end.isoformat()]),
        axis=alt.Axis(format="%b %d %H:%M" if short else "%Y-%m-%d", labelOverlap=True, tickCount=8),
    )


def trend(
    history: MetricHistory, notes: Sequence[Note], heading: str, shown: Span, now: datetime, *, spread: bool = False
) -> Layers:
    """A metric over time with the band of healthy steps, and what happened as marks at the top.

    Args:
        history: the metric.
        notes: what happened, oldest first; the newest `MOST_NOTES` are drawn.
        heading: title of the vertical axis, with the unit.
        shown: the time that was asked for.
        now: where it ends, if it has no end.
        spread: whether the smallest and the largest single value of each step are shown.
    """
    steps, width = history.trend.steps, history.trend.step
    x = _time(shown, [step.at for step in steps], now)
    begin = shown.since or min((step.at for step in steps), default=now)
    end = shown.until or now
    values = [
        {
            "at": step.at,
            "mean": step.mean,
            "low": step.minimum,
            "high": step.maximum,
            "reading": reading(step, history.bands, width),
            "measured": step.measured,
            "nulls": step.not_measured,
        }
        for step in steps
    ]
    y = alt.Y("mean:Q", title=heading, scale=alt.Scale(zero=False))
    stretches = [
        {
            "at": max(one.since - width, begin),
            "until": min(one.until or end, end),
            "low": one.band.low,
            "centre": one.band.centre,
            "high": one.band.high,
        }
        for one in history.bands
        if one.band is not None and (one.until or end) > begin and one.since < end
    ]
    layers: list[alt.Chart | Layers] = []
    if stretches:
        band = drawn(stretches).encode(x=x, x2=alt.X2("until:T"))
        layers.append(
            band.mark_rect(color=palette.GOOD, opacity=0.15).encode(
                y=alt.Y("low:Q", title=heading), y2=alt.Y2("high:Q")
            )
        )
        layers.append(band.mark_rule(color=palette.GOOD, strokeDash=[4, 4]).encode(y=alt.Y("centre:Q", title=heading)))
    base = drawn(values).encode(x=x)
    if spread:
        layers.append(
            base.mark_area(color=palette.GREY, opacity=0.2).encode(y=alt.Y("low:Q", title=heading), y2=alt.Y2("high:Q"))
        )
    layers.append(base.mark_line(color=palette.BLUE, strokeWidth=2, invalid="break-paths-filter-domains").encode(y=y))
    layers.append(_marks(values, x, y))
    if notes:
        layers.append(_notes(notes[-MOST_NOTES:], x))
    said = [
        "Green: where healthy steps lie" if stretches else "",
        f"one step is {_length(width)}",
        f"the newest {MOST_NOTES} of {len(notes)} changes are marked" if len(notes) > MOST_NOTES else "",
    ]
    title = titled(heading, "; ".join(part for part in said if part))
    return Layers(tuple(layers), 540, title, apart=("color", "shape"))


def _marks(values: Sequence[Mapping[str, Any]], x: alt.X, y: alt.Y) -> alt.Chart:
    """A mark for each step, or for those out of their band where there are too many."""
    few = len(values) <= POINTS
    kept = [one for one in values if one["mean"] is not None and (few or one["reading"] == "out of band")]
    present = [name for name in _READINGS if any(one["reading"] == name for one in kept)]
    marks: alt.Chart = (
        drawn(kept or values[:0])
        .mark_point(filled=True, size=55 if few else 20, opacity=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "reading:N",
                title="Step",
                scale=alt.Scale(domain=present, range=[_READINGS[name][0] for name in present]),
                legend=alt.Legend(orient="top") if present else None,
            ),
            shape=alt.Shape(
                "reading:N",
                title="Step",
                scale=alt.Scale(domain=present, range=[_READINGS[name][1] for name in present]),
            ),
            tooltip=[
                alt.Tooltip("at:T", title="From (UTC)", format="%Y-%m-%d %H:%M"),
                alt.Tooltip("mean:Q", title="Mean", format=".5~g"),
                alt.Tooltip("low:Q", title="Smallest", format=".5~g"),
                alt.Tooltip("high:Q", title="Largest", format=".5~g"),
                alt.Tooltip("measured:Q", title="Measured"),
                alt.Tooltip("nulls:Q", title="Not measured"),
                alt.Tooltip("reading:N", title="Reading"),
            ],
        )
    )
    return marks


def _notes(notes: Sequence[Note], x: alt.X) -> Layers:
    """A mark at the top for each, in a row per kind: what changes with one run has its marks below each other."""
    present = [kind for kind in KINDS if any(note.kind == kind for note in notes)]
    words = [KINDS[kind].word for kind in present]
    rows = [{"at": note.at, "kind": KINDS[note.kind].word, "says": note.says} for note in notes]
    layers: list[alt.Chart] = [
        drawn(rows).mark_rule(color=palette.GREY, strokeDash=[2, 3], opacity=0.7).encode(x=x),
    ]
    for number, word in enumerate(words):
        layers.append(
            drawn([row for row in rows if row["kind"] == word])
            .mark_point(filled=True, size=110, opacity=1)
            .encode(
                x=x,
                y=alt.YValue(8 + 16 * number),  # type: ignore[no-untyped-call]
                color=alt.Color(
                    "kind:N",
                    title="What happened",
                    scale=alt.Scale(domain=words, range=[KINDS[kind].colour for kind in present]),
                    # Below and in two columns: beside the other legend there is no room on a phone.
                    legend=alt.Legend(orient="bottom", columns=2),
                ),
                shape=alt.Shape(
                    "kind:N",
                    title="What happened",
                    scale=alt.Scale(domain=words, range=[SHAPES[kind] for kind in present]),
                ),
                tooltip=[
                    alt.Tooltip("at:T", title="At (UTC)", format="%Y-%m-%d %H:%M"),
                    alt.Tooltip("kind:N", title="What"),
                    alt.Tooltip("says:N", title="Change"),
                ],
            )
        )
    return Layers(tuple(layers))


def percentiles(steps: Sequence[PercentileStep], heading: str, shown: Span, now: datetime) -> Layers:
    """Percentiles of a length of time; each has a colour and a dash of its own."""
    rows = [
        {"at": step.at, "percentile": f"p{percent}", "value": value, "measured": step.measured}
        for step in steps
        for percent, value in step.values.items()
    ]
    names = [f"p{percent}" for percent in _PERCENTS]
    base = drawn(rows).encode(
        x=_time(shown, [step.at for step in steps], now),
        y=alt.Y("value:Q", title=heading),
        color=alt.Color(
            "percentile:N",
            title="Percentile",
            scale=alt.Scale(domain=names, range=list(_PERCENTS.values())),
            legend=alt.Legend(orient="top", symbolType="stroke", symbolSize=300),
        ),
        tooltip=[
            alt.Tooltip("at:T", title="From (UTC)", format="%Y-%m-%d %H:%M"),
            alt.Tooltip("percentile:N", title="Percentile"),
            alt.Tooltip("value:Q", title=heading, format=".4~g"),
            alt.Tooltip("measured:Q", title="Values"),
        ],
    )
    lines = base.mark_line(strokeWidth=2).encode(
        strokeDash=alt.StrokeDash(
            "percentile:N",
            title="Percentile",
            scale=alt.Scale(domain=names, range=list(_DASHES.values())),
            legend=alt.Legend(orient="top", symbolType="stroke", symbolSize=300),
        )
    )
    return over([lines, base.mark_point(filled=True, size=20)], 360, titled(heading, "p50, p95, p99 of single prompts"))


def flags(rates: Sequence[FlagRate], step: timedelta, shown: Span, now: datetime) -> Layers:
    """How large a part of the prompts raised each flag, per step: one row per flag that was ever raised."""
    raised = {rate.flag for rate in rates if rate.raised}
    rows = [
        {
            "at": rate.at,
            "until": rate.at + step,
            "flag": rate.flag,
            "fraction": rate.fraction,
            "counted": f"{rate.raised} of {rate.prompts}",
        }
        for rate in rates
        if rate.flag in raised and rate.fraction is not None
    ]
    names = sorted(raised)
    cells = (
        drawn(rows)
        .mark_rect()
        .encode(
            x=_time(shown, [rate.at for rate in rates], now),
            x2=alt.X2("until:T"),
            y=alt.Y("flag:N", title=None, sort=names, axis=alt.Axis(labelLimit=260)),
            color=alt.Color(
                "fraction:Q",
                title="Part of the prompts",
                scale=alt.Scale(scheme=palette.SEQUENTIAL, domain=[0, 1]),
                legend=alt.Legend(orient="top", format="%"),
            ),
            tooltip=[
                alt.Tooltip("at:T", title="From (UTC)", format="%Y-%m-%d"),
                alt.Tooltip("flag:N", title="Flag"),
                alt.Tooltip("fraction:Q", title="Part", format=".1%"),
                alt.Tooltip("counted:N", title="Prompts"),
            ],
        )
    )
    note = f"One cell is {_length(step)}; no cell: nothing ran"
    return over([cells], 220 + 40 * len(names), titled("Flags that prompts raised", note))


def verdicts(counts: Sequence[VerdictCount], step: timedelta, shown: Span, now: datetime) -> Layers:
    """How many runs had which verdict, stacked per step, worst at the foot."""
    looks = {state.name.lower(): state for state in State}
    order = [State.COULD_NOT_MEASURE, State.UNHEALTHY, State.INCONCLUSIVE, State.SILENT, State.HEALTHY]

    def rank(one: VerdictCount) -> tuple[datetime, int]:
        state = looks.get(one.verdict or "silent", State.INCONCLUSIVE)
        return one.at, order.index(state) if state in order else len(order)

    rows: list[dict[str, Any]] = []
    for one in sorted(counts, key=rank):
        # Stacked here: a bar between two times lies on its side for Vega-Lite, and those are never stacked upwards.
        foot = rows[-1]["top"] if rows and rows[-1]["at"] == one.at else 0
        state = looks.get(one.verdict or "silent", State.INCONCLUSIVE)
        row = {"at": one.at, "until": one.at + step * 0.9, "state": state.label, "runs": one.runs}
        rows.append({**row, "foot": foot, "top": foot + one.runs})
    present = [state for state in order if any(row["state"] == state.label for row in rows)]
    bars = (
        drawn(rows)
        .mark_rect()
        .encode(
            x=_time(shown, [one.at for one in counts], now),
            x2=alt.X2("until:T"),
            y=alt.Y("foot:Q", title=f"Runs in {_length(step)}", axis=alt.Axis(tickMinStep=1, format="d")),
            y2=alt.Y2("top:Q"),
            color=alt.Color(
                "state:N",
                title="Verdict",
                scale=alt.Scale(
                    domain=[state.label for state in present], range=[state.value.colour for state in present]
                ),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=[
                alt.Tooltip("at:T", title="From (UTC)", format="%Y-%m-%d"),
                alt.Tooltip("state:N", title="Verdict"),
                alt.Tooltip("runs:Q", title="Runs"),
            ],
        )
    )
    return over([bars], 300, titled("Verdicts of runs", "Without a verdict: under way, or died silently"))


def _length(step: timedelta) -> str:
    days, seconds = step.days, step.seconds
    if days:
        return "a day" if days == 1 else f"{days} days"
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours:
        return "an hour" if hours == 1 else f"{hours} hours"
    return "a minute" if minutes == 1 else f"{minutes} minutes"
