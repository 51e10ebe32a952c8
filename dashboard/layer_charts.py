"""Charts over the layers of one prompt's report, and of its prompt analysis. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

import palette
from chart_parts import Layers, drawn, over, titled
from grids import Floats, Grid
from model_health.report.prompt import SparseAttentionHead
from views import LayerMetric

HEIGHT = 340
LAYER = "Layer"
TALLEST = 420
MANY = 200
"""Points beyond which a line is drawn without marks."""
AROUND = 200
"""Pixels that title, legend and axis take of a heatmap's height."""


def heatmap(
    grid: Grid,
    title: str,
    *,
    notes: Sequence[str] = (),
    x: str,
    y: str,
    log: bool = False,
    marked: str = "not finite",
    chosen: tuple[int, int] | None = None,
) -> Layers:
    """A matrix in cells; grey where nothing was measured, a cross where a cell is marked.

    Args:
        grid: what to draw.
        title: of the colours, with their unit.
        notes: below the title.
        x: title of the columns.
        y: title of the rows; row 0 is at the bottom.
        log: logarithmic colours; values that are not positive are drawn as the smallest that is.
        marked: what a mark means.
        chosen: a row and a column to frame.
    """
    cells = _cells(grid, marked)
    positive = [cell["value"] for cell in cells if cell["value"] is not None and cell["value"] > 0]
    least = min(positive, default=0.0)
    for cell in cells:
        cell["colour"] = max(cell["value"], least) if log and positive and cell["value"] is not None else cell["value"]
    scale = alt.Scale(scheme=palette.SEQUENTIAL, type="log" if log and positive else "linear", nice=False)
    across, up = _axis("x0:Q", x, grid.columns), _upward("y0:Q", y, grid.rows)
    tips = [
        alt.Tooltip("row:N", title=y.partition(" (")[0]),
        alt.Tooltip("column:N", title=x.partition(" (")[0]),
        alt.Tooltip("shown:N", title=title),
    ]
    place = {"x": across, "x2": alt.X2("x1"), "y": up, "y2": alt.Y2("y1"), "tooltip": tips}
    legend = alt.Legend(orient="top", type="gradient", gradientLength=260)
    colour = alt.Color("colour:Q", title=None, scale=scale, legend=legend)
    layers: list[alt.Chart] = [
        drawn([cell for cell in cells if cell["value"] is None and not cell["marked"]])
        .mark_rect(color=palette.NOT_MEASURED)
        .encode(**place),
        drawn([cell for cell in cells if cell["value"] is not None]).mark_rect(clip=True).encode(**place, color=colour),
        drawn([cell for cell in cells if cell["marked"]]).mark_rect(color=palette.BAD, opacity=0.6).encode(**place),
        drawn(_crosses(grid))
        .mark_text(text="✖", color="#ffffff", stroke=palette.BAD, strokeWidth=0.8, fontSize=13, fontWeight="bold")
        .encode(x=_axis("x:Q", x, grid.columns), y=_upward("y:Q", y, grid.rows)),
    ]
    if chosen is not None:
        base = drawn([{"x": chosen[1], "y": chosen[0]}])
        look: dict[str, Any] = {"color": palette.BLUE, "strokeDash": [3, 3], "strokeWidth": 1.5}
        layers.append(base.mark_rule(**look).encode(x=_axis("x:Q", x, grid.columns)))
        layers.append(base.mark_rule(**look).encode(y=_upward("y:Q", y, grid.rows)))
    height = AROUND + int(min(TALLEST, max(100, 17 * (len(grid.rows) - 1))))
    return over(layers, height, titled(title, *notes))


def profile(values: Floats, metric: LayerMetric, x: str, title: str, chosen: int | None = None) -> Layers:
    """One metric along layers or steps; breaks where there is no value."""
    rows = [{"x": place, "value": float(v) if np.isfinite(v) else None} for place, v in enumerate(values)]
    positive = bool(np.isfinite(values).any()) and bool((values[np.isfinite(values)] > 0).all())
    scale = alt.Scale(type="log", nice=False) if metric.log and positive else alt.Scale(zero=not metric.log)
    line = (
        drawn(rows)
        .mark_line(
            color=palette.BLUE,
            point=False if len(rows) > MANY else {"filled": True, "size": 30, "color": palette.BLUE},
            invalid="break-paths-filter-domains",
        )
        .encode(
            x=alt.X("x:Q", title=x, axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False)),
            y=alt.Y("value:Q", title=metric.axis, scale=scale),
            tooltip=[alt.Tooltip("x:Q", title=x.partition(" (")[0]), alt.Tooltip("value:Q", format=".4g")],
        )
    )
    here = drawn([] if chosen is None else [{"x": chosen}])
    rule = here.mark_rule(color=palette.BLUE, strokeDash=[2, 2], strokeWidth=2).encode(x=alt.X("x:Q"))
    return over([line, rule], HEIGHT, titled(title))


def sparse_attention(head: SparseAttentionHead, tokens: int, title: str, note: str) -> alt.Chart:
    """The largest prompt attention weights of a head: which token looks at which."""
    rows = [
        {"query": query, "key": key, "weight": weight}
        for query, key, weight in zip(head.query_indices, head.key_indices, head.weights, strict=True)
    ]
    ends = alt.Scale(domain=[-0.5, max(tokens, 1) - 0.5], nice=False)
    size = min(300, max(24, int((300 / max(tokens, 1)) ** 2)))
    chart: alt.Chart = (
        drawn(rows)
        .mark_square(size=size, opacity=1)
        .encode(
            x=alt.X("key:Q", title="Key (prompt token that is looked at)", scale=ends, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(
                "query:Q",
                title="Query (prompt token that looks)",
                scale=alt.Scale(domain=[-0.5, max(tokens, 1) - 0.5], nice=False, reverse=True),
                axis=alt.Axis(tickMinStep=1),
            ),
            color=alt.Color(
                "weight:Q",
                title="Weight",
                scale=alt.Scale(scheme=palette.SEQUENTIAL, domain=[0, 1]),
                legend=alt.Legend(orient="top", gradientLength=200),
            ),
            tooltip=[
                alt.Tooltip("query:Q", title="Query token"),
                alt.Tooltip("key:Q", title="Key token"),
                alt.Tooltip("weight:Q", title="Weight", format=".4f"),
            ],
        )
        .properties(height=520, title=titled(title, note))
    )
    return chart


def bars(values: Sequence[float], x: str, y: str, title: str, *, first: int = 0) -> alt.Chart:
    """Numbers along places; `first` is the place of the first of them."""
    rows = [{"x": first + place, "label": str(first + place), "value": value} for place, value in enumerate(values)]
    chart: alt.Chart = (
        drawn(rows)
        .mark_bar(color=palette.BLUE, width={"band": 0.9} if len(rows) < 2 else max(1, min(14, int(500 / len(rows)))))
        .encode(
            x=alt.X("x:Q", title=x, axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(zero=False, padding=8)),
            y=alt.Y("value:Q", title=y),
            tooltip=[alt.Tooltip("label:N", title=x.partition(" (")[0]), alt.Tooltip("value:Q", title=y, format=".4g")],
        )
        .properties(height=HEIGHT, title=titled(title))
    )
    return chart


def _cells(grid: Grid, marked: str) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = []
    for r, (low, high) in enumerate(zip(grid.rows, grid.rows[1:], strict=False)):
        for c, (left, right) in enumerate(zip(grid.columns, grid.columns[1:], strict=False)):
            value = grid.values[r, c]
            known, mark = bool(np.isfinite(value)), bool(grid.marked[r, c])
            shown = f"{value:.4g}" if known else "not measured"
            cells.append(
                {
                    "x0": left - 0.5,
                    # A little too long: smoothing would leave a seam between neighbours.
                    "x1": right - 0.5 + 0.04 * (right - left),
                    "y0": low - 0.5,
                    "y1": high - 0.5 + 0.04 * (high - low),
                    "value": float(value) if known else None,
                    "marked": mark,
                    "shown": (f"{shown}; {marked}" if known else marked) if mark else shown,
                    "row": _range(low, high),
                    "column": _range(left, right),
                }
            )
    return cells


def _crosses(grid: Grid) -> list[dict[str, float]]:
    """One cross per column: in the lowest row that is marked, where a fault in the layers begins."""
    found = []
    for c, (left, right) in enumerate(zip(grid.columns, grid.columns[1:], strict=False)):
        rows = np.flatnonzero(grid.marked[:, c])
        if rows.size:
            low, high = grid.rows[rows[0]], grid.rows[rows[0] + 1]
            found.append({"x": (left + right - 1) / 2, "y": (low + high - 1) / 2})
    return found


def _axis(field: str, title: str, edges: tuple[int, ...]) -> alt.X:
    return alt.X(field, title=title, axis=_ticks(), scale=_tight(edges))


def _upward(field: str, title: str, edges: tuple[int, ...]) -> alt.Y:
    return alt.Y(field, title=title, axis=_ticks(), scale=_tight(edges))


def _ticks() -> alt.Axis:
    return alt.Axis(tickMinStep=1, format="d", grid=False)


def _range(begin: int, end: int) -> str:
    return str(begin) if end - begin <= 1 else f"{begin} to {end - 1}"


def _tight(edges: tuple[int, ...]) -> alt.Scale:
    return alt.Scale(domain=[-0.5, max(edges[-1], 1) - 0.5], nice=False)
