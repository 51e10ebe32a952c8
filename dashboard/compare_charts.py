"""The charts of the Compare page: a profile along the depth, and effects with intervals. Pure: rows in, chart out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt

import palette
from chart_parts import Layers, drawn, over, titled
from compare_rows import Effect, Spot

SHOWN = 40
"""Prompts that a chart has room for; the table beside it has all."""
_BANDS = {
    "within": (palette.BLUE, "circle"),
    "out of band": (palette.BAD, "cross"),
    "no band known": (palette.GREY, "diamond"),
}
_READINGS = {
    "worse": (palette.BAD, "cross"),
    "better": (palette.GOOD, "square"),
    "undecided": (palette.GREY, "circle"),
}


def profile(spots: Sequence[Spot], title: str) -> Layers:
    """Distances along the depth on a logarithmic axis whose foot is zero, with the limit as a dashed line.

    Args:
        spots: in the order of computation; what was not measured has no mark.
        title: of the vertical axis, with its unit.
    """
    known = [spot for spot in spots if spot.value is not None]
    positive = [
        value for spot in known for value in (spot.value, spot.limit) if value is not None and 0.0 < value < math.inf
    ]
    low = math.floor(math.log10(min(positive, default=1e-3))) - 1
    high = max(math.ceil(math.log10(max(positive, default=1.0))), low + 2)
    foot = 10.0**low
    # Zero has no place on a logarithmic axis, and "the same bits" must not vanish: it stands at the foot.
    values = [
        {
            "where": spot.name,
            "shown": max(spot.value or 0.0, foot),
            "value": spot.value,
            "limit": spot.limit,
            "limit_shown": None if spot.limit is None else max(spot.limit, foot),
            "band": spot.band,
        }
        for spot in known
    ]
    every = max(1, math.ceil((high - low) / 8))
    axis = alt.Axis(
        values=[10.0**power for power in range(low, high + 1, every)],
        labelExpr=f"datum.value < {foot * 1.5!r} ? '0' : format(datum.value, datum.value < 1e-3 ? '.0e' : '~g')",
        grid=True,
    )
    scale = alt.Scale(type="log", domain=[foot, 10.0**high])
    x = alt.X(
        "where:N",
        sort=[spot.name for spot in spots],
        title="State, in the order of computation",
        scale=alt.Scale(domain=[spot.name for spot in spots]),
        axis=alt.Axis(labelAngle=-60, labelOverlap=True),
    )
    present = [band for band in _BANDS if any(value["band"] == band for value in values)]
    base = drawn(values).encode(x=x)
    line = base.mark_line(color=palette.GREY, strokeWidth=1).encode(
        y=alt.Y("shown:Q", title=title, scale=scale, axis=axis)
    )
    limit = (
        base.transform_filter("isValid(datum.limit_shown)")
        .mark_line(color=palette.WARN, strokeDash=[6, 4], interpolate="step", strokeWidth=2)
        .encode(y=alt.Y("limit_shown:Q", scale=scale))
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=alt.Y("shown:Q", scale=scale),
        color=alt.Color(
            "band:N",
            title="Band",
            scale=alt.Scale(domain=present, range=[_BANDS[band][0] for band in present]),
            legend=alt.Legend(orient="top"),
        ),
        shape=alt.Shape("band:N", scale=alt.Scale(domain=present, range=[_BANDS[band][1] for band in present])),
        tooltip=[
            alt.Tooltip("where:N", title="State"),
            alt.Tooltip("value:Q", title="Distance", format=".4g"),
            alt.Tooltip("limit:Q", title="Harmless up to", format=".4g"),
            alt.Tooltip("band:N", title="Band"),
        ],
    )
    first = next((spot.name for spot in spots if spot.band == "out of band"), None)
    banded = any(spot.limit is not None for spot in spots)
    none = "None is out of its band" if banded else "No band to hold them against"
    said = f"First out of its band: {first}" if first else none
    notes = "Dashed: how far harmless changes reach" if banded else ""
    return over([line, limit, points], 460, titled(said, notes))


def effects(rows: Sequence[Effect], *, margin: float | None = None) -> Layers:
    """Changes of surprisal by prompt with their intervals; a solid line at zero, a dashed one at the allowed margin."""
    overall = [row for row in rows if row.overall]
    each = sorted((row for row in rows if not row.overall), key=lambda row: -abs(row.value))[:SHOWN]
    shown = [*overall, *sorted(each, key=lambda row: -row.value)]
    values = [
        {
            "prompt": row.name,
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "reading": row.reading,
            "tokens": row.tokens,
        }
        for row in shown
    ]
    present = [name for name in _READINGS if any(value["reading"] == name for value in values)]
    y = alt.Y("prompt:N", sort=[row.name for row in shown], title=None, axis=alt.Axis(labelLimit=200))
    colour = alt.Color(
        "reading:N",
        title="95 % interval",
        scale=alt.Scale(domain=present, range=[_READINGS[name][0] for name in present]),
        legend=alt.Legend(orient="top"),
    )
    base = drawn(values).encode(y=y)
    ends = [end for row in shown for end in (row.value, row.low, row.high) if end is not None]
    # Of numbers that are all the same no axis can be made: it gets some room to each side.
    lone = alt.Scale(domain=[ends[0] - 0.1, ends[0] + 0.1]) if len({*ends, margin or 0.0}) == 1 else alt.Scale()
    x = alt.X("value:Q", title="Change of surprisal (bits per token), right is worse", scale=lone)
    bars = (
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(strokeWidth=3, opacity=0.6)
        .encode(x=alt.X("low:Q", title=""), x2=alt.X2("high:Q"), color=colour)
    )
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x,
        color=colour,
        shape=alt.Shape(
            "reading:N",
            title="95 % interval",
            scale=alt.Scale(domain=present, range=[_READINGS[name][1] for name in present]),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            alt.Tooltip("prompt:N", title="Prompt"),
            alt.Tooltip("value:Q", title="Bits per token", format="+.4f"),
            alt.Tooltip("low:Q", title="Low", format="+.4f"),
            alt.Tooltip("high:Q", title="High", format="+.4f"),
            alt.Tooltip("tokens:Q", title="Tokens"),
            alt.Tooltip("reading:N", title="Interval"),
        ],
    )
    lines = [{"at": 0.0, "dashed": False}]
    if margin is not None:
        lines.append({"at": margin, "dashed": True})
    rules = (
        drawn(lines)
        .mark_rule(color=palette.GREY)
        .encode(
            x=alt.X("at:Q", title=""),
            strokeDash=alt.StrokeDash(
                "dashed:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [5, 4]]), legend=None
            ),
        )
    )
    notes = f"Dashed: the {margin:.3g} bits that are allowed" if margin is not None else ""
    return over([rules, bars, points], 210 + 26 * len(values), titled("Change of surprisal by prompt", notes))
