"""The charts, as Altair specifications. Pure: rows in, chart out; the theme's own colours stay for text and axes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import altair as alt

from chart_parts import drawn
from data import RunRow
from wording import State, raised, state_of

_SHAPES = ["circle", "cross", "diamond", "square", "triangle-right", "triangle-down"]


def run_strip(rows: Sequence[RunRow], now: datetime) -> alt.Chart:
    """When which run ended how: one line per model and suite, one mark per run, shape and colour by state."""
    values = [
        {
            "started": row.record.started_at.isoformat(),
            "series": f"{row.record.folder.model} · {row.record.folder.suite}",
            "state": state_of(row.record, now).value.word,
            "flags": ", ".join(raised(row.record.unhealthy_flags)) or "none",
            "run": row.record.run_id,
        }
        for row in rows
    ]
    present = {value["state"] for value in values}
    looks = [(state.value, shape) for state, shape in zip(State, _SHAPES, strict=True) if state.value.word in present]
    words = [look.word for look, _ in looks]
    chart: alt.Chart = (
        drawn(values)
        .mark_point(filled=True, size=110, opacity=0.9)
        .encode(
            x=alt.X(
                "started:T",
                title="Started (UTC)",
                scale=alt.Scale(type="utc"),
                axis=alt.Axis(format="%b %d %H:%M", labelOverlap=True),
            ),
            y=alt.Y("series:N", title=None, axis=alt.Axis(labelLimit=320)),
            color=alt.Color(
                "state:N",
                title="State",
                scale=alt.Scale(domain=words, range=[look.colour for look, _ in looks]),
                legend=alt.Legend(orient="top"),
            ),
            shape=alt.Shape("state:N", title="State", scale=alt.Scale(domain=words, range=[s for _, s in looks])),
            tooltip=[
                alt.Tooltip("series:N", title="Model · suite"),
                alt.Tooltip("started:T", title="Started (UTC)", format="%Y-%m-%d %H:%M"),
                alt.Tooltip("state:N", title="State"),
                alt.Tooltip("flags:N", title="Flags"),
                alt.Tooltip("run:N", title="Run"),
            ],
        )
        .properties(height=alt.Step(34))
    )
    return chart
