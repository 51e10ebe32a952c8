"""The charts of the page on self-tests and deliveries. Pure: rows in, chart out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

import palette
from chart_parts import Layers, drawn, over, titled
from model_health.store.index.delivery_history import TryCount
from operations_rows import OUTCOME_MARKS

_COLOURS = {
    "delivered": palette.GOOD,
    "failed": palette.WARN,
    "refused": palette.BAD,
    "lost": palette.UNKNOWN,
    None: palette.BLUE,
}


def tries(counts: Sequence[TryCount]) -> alt.Chart:
    """How many tries to deliver ended how, stacked over time; the mark in the legend goes with each colour."""
    present = [outcome for outcome in OUTCOME_MARKS if any(one.outcome == outcome for one in counts)]
    rows = [
        {"at": one.at, "outcome": OUTCOME_MARKS[one.outcome], "target": one.target, "tries": one.tries}
        for one in counts
    ]
    chart: alt.Chart = (
        drawn(rows)
        .mark_bar(size=8)
        .encode(
            x=alt.X(
                "at:T",
                title="Started (UTC)",
                scale=alt.Scale(type="utc"),
                axis=alt.Axis(format="%b %d %H:%M", labelOverlap=True),
            ),
            y=alt.Y("sum(tries):Q", title="Tries in six hours", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "outcome:N",
                title="Outcome",
                scale=alt.Scale(
                    domain=[OUTCOME_MARKS[one] for one in present], range=[_COLOURS[one] for one in present]
                ),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=[
                alt.Tooltip("at:T", title="From (UTC)", format="%Y-%m-%d %H:%M"),
                alt.Tooltip("outcome:N", title="Outcome"),
                alt.Tooltip("sum(tries):Q", title="Tries"),
            ],
        )
        .properties(height=340, title=titled("Tries to deliver"))
    )
    return chart


def history(points: Sequence[Mapping[str, Any]]) -> Layers:
    """What every self-test caught: one row per rate, one mark and its count per self-test."""
    titles = list(dict.fromkeys(point["rate"] for point in points))
    base = drawn(points).encode(
        x=alt.X(
            "started:T",
            title="Started (UTC)",
            scale=alt.Scale(type="utc", padding=40),
            axis=alt.Axis(format="%Y-%m-%d", labelOverlap=True),
        ),
        y=alt.Y("rate:N", sort=titles, title=None, axis=alt.Axis(labelLimit=240, grid=True)),
    )
    looks = {"as it should be": (palette.GOOD, "circle"), "not all": (palette.BAD, "cross")}
    present = [name for name in looks if any(point["reading"] == name for point in points)]
    marks = base.mark_point(filled=True, size=90, opacity=1).encode(
        color=alt.Color(
            "reading:N",
            title="Caught, or quiet",
            scale=alt.Scale(domain=present, range=[looks[name][0] for name in present]),
            legend=alt.Legend(orient="top"),
        ),
        shape=alt.Shape("reading:N", scale=alt.Scale(domain=present, range=[looks[name][1] for name in present])),
        tooltip=[
            alt.Tooltip("started:T", title="Started (UTC)", format="%Y-%m-%d %H:%M"),
            alt.Tooltip("rate:N", title="Rate"),
            alt.Tooltip("counted:N", title="Counted"),
            alt.Tooltip("low:Q", title="95 % from", format=".1%"),
            alt.Tooltip("high:Q", title="95 % to", format=".1%"),
        ],
    )
    said = base.mark_text(dy=-12, color=palette.GREY, fontSize=11).encode(text=alt.Text("counted:N"))
    return over([marks, said], 190 + 44 * len(titles), titled("What each self-test caught"))
