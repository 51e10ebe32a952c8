"""Charts over the steps of one prompt. Pure: a view in, an Altair specification out. No text of a token is in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

import palette
from chart_parts import Layers, drawn, over, titled
from views import Floats, PromptView, faulty_steps, high_entropy

STEP = "Step (0 is the prefill)"
HEIGHT = 380


def entropy_chart(view: PromptView, chosen: int | None = None) -> Layers:
    """Entropy and surprisal per step, the zone of high entropy, loops, and steps that are not finite."""
    names = ["Entropy", "Surprisal"]
    series = dict(zip(names, (view.steps.entropy, view.steps.surprisal), strict=True))
    limits = view.ours.thresholds
    known = np.concatenate([view.steps.entropy, view.steps.surprisal])
    top = float(np.nanmax(known)) if np.isfinite(known).any() else 1.0
    under: list[alt.Chart] = _loops(view)
    note = ""
    if limits is not None:
        above = limits.high_entropy_bits
        top = max(top, above * 1.15)
        zone = drawn([{"from": above, "to": top}])
        under += [
            zone.mark_rect(color=palette.WARN, opacity=0.13).encode(y=alt.Y("from:Q"), y2=alt.Y2("to")),
            zone.mark_rule(color=palette.WARN, strokeDash=[6, 3]).encode(y=alt.Y("from:Q")),
        ]
        note = f"Shaded: the zone of high entropy, above {above:g} bits"
    lines = _lines(series, "Bits", alt.Scale(domain=[0, top], nice=False))
    high = [
        {"step": int(step), "value": float(view.steps.entropy[step])} for step in np.flatnonzero(high_entropy(view))
    ]
    marks = [
        drawn(high)
        .mark_point(shape="triangle-up", filled=True, size=60, color=palette.WARN)
        .encode(x=alt.X("step:Q"), y=alt.Y("value:Q"))
    ]
    title = titled("Entropy and surprisal", note, _marks_note(view))
    return over([*under, lines, *marks, *_faults(view), *_chosen(chosen)], HEIGHT, title)


def margin_chart(view: PromptView, chosen: int | None = None) -> Layers:
    """Top-2 margin and top-k mass per step, both probabilities."""
    series = {"Top-2 margin": view.steps.margin, "Top-k mass": view.steps.mass}
    lines = _lines(series, "Probability", alt.Scale(domain=[0, 1]))
    title = titled("Margin and mass", "Of the most likely token over the second, and of the top k", _marks_note(view))
    return over([*_loops(view), lines, *_faults(view), *_chosen(chosen)], HEIGHT, title)


def candidates_chart(shares: Sequence[tuple[str, float]], step: int) -> alt.Chart:
    """The most likely tokens of a step, by their probability; labels come first to last as given."""
    values = [{"token": label, "probability": prob, "rank": rank} for rank, (label, prob) in enumerate(shares)]
    chart: alt.Chart = (
        drawn(values)
        .mark_bar(color=palette.BLUE)
        .encode(
            y=alt.Y("token:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
            x=alt.X("probability:Q", title="Probability", scale=alt.Scale(domain=[0, 1])),
            tooltip=[alt.Tooltip("token:N", title="Token"), alt.Tooltip("probability:Q", format=".4f")],
        )
        .properties(height=HEIGHT, title=titled(f"Most likely at step {step}"))
    )
    return chart


def norm_chart(values: Floats, chosen: int | None = None) -> Layers:
    """The norm of the state after the final norm, per step."""
    lines = _lines({"Final state": values}, "L2 norm", alt.Scale(zero=False))
    return over([lines, *_chosen(chosen)], HEIGHT, titled("State after the final norm"))


def _lines(series: dict[str, Floats], title: str, scale: alt.Scale) -> alt.Chart:
    values = [
        {"step": step, "value": float(value) if np.isfinite(value) else None, "series": name}
        for name, numbers in series.items()
        for step, value in enumerate(numbers)
    ]
    colour, shape, dash = palette.categories(list(series))
    many = len(values) > 400
    legend = alt.Legend(orient="top", title=None, symbolDash=[1, 0]) if len(series) > 1 else None
    chart: alt.Chart = (
        drawn(values)
        .mark_line(point=False if many else {"filled": True, "size": 26}, invalid="break-paths-filter-domains")
        .encode(
            x=alt.X("step:Q", title=STEP, axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False)),
            y=alt.Y("value:Q", title=title, scale=scale),
            color=alt.Color("series:N", scale=colour, legend=legend),
            strokeDash=alt.StrokeDash("series:N", scale=dash, legend=None),
            **({} if many else {"shape": alt.Shape("series:N", scale=shape, legend=legend)}),
            tooltip=[
                alt.Tooltip("step:Q", title="Step"),
                alt.Tooltip("series:N", title="Series"),
                alt.Tooltip("value:Q", title=title, format=".4g"),
            ],
        )
    )
    return chart


def _loops(view: PromptView) -> list[alt.Chart]:
    spans: list[dict[str, Any]] = [
        {
            "from": loop.start_step - 0.5,
            "to": min(loop.start_step + loop.length, len(view.steps)) - 0.5,
        }
        for loop in view.ours.loops or ()
    ]
    if not spans:
        return []
    base = drawn(spans)
    return [base.mark_rect(color=palette.UNKNOWN, opacity=0.16).encode(x=alt.X("from:Q", title=STEP), x2=alt.X2("to"))]


def _marks_note(view: PromptView) -> str:
    """What else is drawn, in words."""
    notes = [f"Purple: loop, period {loop.period}" for loop in (view.ours.loops or ())[:2]]
    notes += ["✖: a layer is not finite"] if faulty_steps(view).any() else []
    return " · ".join(notes)


def _faults(view: PromptView) -> list[alt.Chart]:
    """A cross at the bottom of every step at which some layer was not finite."""
    steps = np.flatnonzero(faulty_steps(view))
    if not steps.size:
        return []
    values = [{"step": int(step), "what": "a layer is not finite"} for step in steps]
    return [
        drawn(values)
        .mark_text(text="✖", color=palette.BAD, fontSize=13, baseline="bottom")
        .encode(x=alt.X("step:Q"), y=alt.YDatum(0), tooltip=[alt.Tooltip("step:Q"), alt.Tooltip("what:N")])
    ]


def _chosen(step: int | None) -> list[alt.Chart]:
    if step is None:
        return []
    return [
        drawn([{"step": step}])
        .mark_rule(color=palette.BLUE, strokeWidth=2, strokeDash=[2, 2])
        .encode(x=alt.X("step:Q"))
    ]
