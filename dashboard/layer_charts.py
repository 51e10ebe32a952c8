"""Charts over the layers of one prompt's report, and of its prompt analysis. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

import palette
from chart_parts import drawn, over
from grids import Floats, Grid
from model_health.report.prompt import SparseAttentionHead
from views import LayerMetric

HEIGHT = 220
LAYER = "Layer (0 is the first block)"
TALLEST = 420


def heatmap(
    grid: Grid,
    title: str,
    *,
    x: str,
    y: str,
    log: bool = False,
    marked: str = "not finite",
    chosen: tuple[int, int] | None = None,
) -> alt.LayerChart:
    """A matrix in cells; grey where nothing was measured, a cross where a cell is marked.

    Args:
        grid: what to draw.
        title: of the colour scale, with its unit.
        x: title of the columns.
        y: title of the rows; row 0 is at the bottom.
        log: logarithmic colours; values that are not positive are drawn as the smallest that is.
        marked: what a mark means.
        chosen: a row and a column to frame.
    """
    cells, crosses = _cells(grid)
    positive = [cell["value"] for cell in cells if cell["value"] is not None and cell["value"] > 0]
    if log and positive:
        least = min(positive)
        for cell in cells:
            cell["colour"] = None if cell["value"] is None else max(cell["value"], least)
        scale = alt.Scale(scheme=palette.SEQUENTIAL, type="log", nice=False)
    else:
        for cell in cells:
            cell["colour"] = cell["value"]
        scale = alt.Scale(scheme=palette.SEQUENTIAL, nice=False)
    place = {
        "x": alt.X("x0:Q", title=x, axis=alt.Axis(tickMinStep=1, format="d", grid=False), scale=_tight(grid.columns)),
        "x2": alt.X2("x1"),
        "y": alt.Y("y0:Q", title=y, axis=alt.Axis(tickMinStep=1, format="d", grid=False), scale=_tight(grid.rows)),
        "y2": alt.Y2("y1"),
    }
    tips = [
        alt.Tooltip("row:N", title=y.partition(" (")[0]),
        alt.Tooltip("column:N", title=x.partition(" (")[0]),
        alt.Tooltip("shown:N", title=title),
    ]
    known = [cell for cell in cells if cell["value"] is not None]
    unknown = [cell for cell in cells if cell["value"] is None]
    layers: list[alt.Chart] = [
        drawn(unknown).mark_rect(color=palette.NOT_MEASURED).encode(**place, tooltip=tips),
        drawn(known)
        .mark_rect()
        .encode(
            **place,
            color=alt.Color(
                "colour:Q",
                title=title,
                scale=scale,
                legend=alt.Legend(orient="top", gradientLength=260, titleLimit=420),
            ),
            tooltip=tips,
        ),
    ]
    if crosses:
        layers.append(
            drawn(crosses)
            .mark_text(text="✖", color=palette.BAD, fontSize=12, fontWeight="bold")
            .encode(x=alt.X("x:Q", title=x), y=alt.Y("y:Q", title=y), tooltip=[*tips[:2], alt.Tooltip("what:N")])
        )
        for cross in crosses:
            cross["what"] = marked
    if chosen is not None:
        layers += _frame(*chosen, x, y)
    height = int(min(TALLEST, max(150, 16 * (len(grid.rows) - 1))))
    return over(layers, height)


def profile(values: Floats, metric: LayerMetric, x: str, chosen: int | None = None) -> alt.LayerChart:
    """One metric along layers or steps; breaks where there is no value."""
    rows = [{"x": place, "value": float(v) if np.isfinite(v) else None} for place, v in enumerate(values)]
    positive = bool(np.isfinite(values).any()) and bool((values[np.isfinite(values)] > 0).all())
    scale = alt.Scale(type="log", nice=False) if metric.log and positive else alt.Scale(zero=not metric.log)
    line = (
        drawn(rows)
        .mark_line(
            color=palette.BLUE,
            point={"filled": True, "size": 30, "color": palette.BLUE},
            invalid="break-paths-filter-domains",
        )
        .encode(
            x=alt.X("x:Q", title=x, axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False)),
            y=alt.Y("value:Q", title=metric.heading, scale=scale),
            tooltip=[alt.Tooltip("x:Q", title=x.partition(" (")[0]), alt.Tooltip("value:Q", format=".4g")],
        )
    )
    here = drawn([] if chosen is None else [{"x": chosen}])
    rule = here.mark_rule(color=palette.BLUE, strokeDash=[2, 2], strokeWidth=2).encode(x=alt.X("x:Q"))
    return over([line, rule], HEIGHT)


def sparse_attention(head: SparseAttentionHead, tokens: int) -> alt.Chart:
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
            x=alt.X("key:Q", title="Key: prompt token that is looked at", scale=ends, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(
                "query:Q",
                title="Query: prompt token that looks",
                scale=alt.Scale(domain=[-0.5, max(tokens, 1) - 0.5], nice=False, reverse=True),
                axis=alt.Axis(tickMinStep=1),
            ),
            color=alt.Color(
                "weight:Q",
                title="Attention weight",
                scale=alt.Scale(scheme=palette.SEQUENTIAL, domain=[0, 1]),
                legend=_scale_bar(200),
            ),
            tooltip=[
                alt.Tooltip("query:Q", title="Query token"),
                alt.Tooltip("key:Q", title="Key token"),
                alt.Tooltip("weight:Q", title="Weight", format=".4f"),
            ],
        )
        .properties(height=360)
    )
    return chart


def bars(values: Sequence[float], x: str, y: str, *, first: int = 0, labels: Sequence[str] | None = None) -> alt.Chart:
    """Numbers along places; `first` is the place of the first of them, `labels` name the places in the tooltip."""
    rows = [
        {"x": first + place, "label": labels[place] if labels else str(first + place), "value": value}
        for place, value in enumerate(values)
    ]
    chart: alt.Chart = (
        drawn(rows)
        .mark_bar(color=palette.BLUE, width={"band": 0.9} if len(rows) < 2 else max(1, min(14, int(500 / len(rows)))))
        .encode(
            x=alt.X("x:Q", title=x, axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(zero=False, padding=8)),
            y=alt.Y("value:Q", title=y),
            tooltip=[alt.Tooltip("label:N", title=x.partition(" (")[0]), alt.Tooltip("value:Q", title=y, format=".4g")],
        )
        .properties(height=HEIGHT)
    )
    return chart


def _cells(grid: Grid) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    cells: list[dict[str, Any]] = []
    crosses: list[dict[str, Any]] = []
    for r, (low, high) in enumerate(zip(grid.rows, grid.rows[1:], strict=False)):
        for c, (left, right) in enumerate(zip(grid.columns, grid.columns[1:], strict=False)):
            value = grid.values[r, c]
            known = bool(np.isfinite(value))
            names = {"row": _range(low, high), "column": _range(left, right)}
            missing = "not finite" if grid.marked[r, c] else "not measured"
            cells.append(
                {
                    "x0": left - 0.5,
                    "x1": right - 0.5,
                    "y0": low - 0.5,
                    "y1": high - 0.5,
                    "value": float(value) if known else None,
                    "shown": f"{value:.4g}" if known else missing,
                    **names,
                }
            )
            if grid.marked[r, c]:
                crosses.append({"x": (left + right - 1) / 2, "y": (low + high - 1) / 2, **names})
    return cells, crosses


def _scale_bar(length: int) -> alt.Legend:
    return alt.Legend(orient="top", gradientLength=length, titleLimit=420)


def _range(begin: int, end: int) -> str:
    return str(begin) if end - begin <= 1 else f"{begin} to {end - 1}"


def _tight(edges: tuple[int, ...]) -> alt.Scale:
    return alt.Scale(domain=[-0.5, max(edges[-1], 1) - 0.5], nice=False)


def _frame(row: int, column: int, x: str, y: str) -> list[alt.Chart]:
    base = drawn([{"x": column, "y": row}])
    look: dict[str, Any] = {"color": palette.BLUE, "strokeDash": [3, 3], "strokeWidth": 1.5}
    return [
        base.mark_rule(**look).encode(x=alt.X("x:Q", title=x)),
        base.mark_rule(**look).encode(y=alt.Y("y:Q", title=y)),
    ]
