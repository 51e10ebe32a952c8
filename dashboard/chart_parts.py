"""Small pieces that charts are made of. Pure.

Rows travel to the browser as a data frame, which Streamlit sends as columns: rows inside a specification would be
checked against its schema one by one, at each drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd  # type: ignore[import-untyped]

import palette


def drawn(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart of rows, still without a mark."""
    chart: alt.Chart = alt.Chart(pd.DataFrame(list(rows)))
    return chart


def over(layers: Sequence[alt.Chart], height: int, title: alt.TitleParams) -> alt.LayerChart:
    """Charts laid over each other, the last one on top; `height` in pixels, title, legend and axes included."""
    chart: alt.LayerChart = alt.LayerChart(layer=list(layers), height=height, title=title)
    return chart


def titled(text: str, *notes: str) -> alt.TitleParams:
    """A title, and below it what the marks mean: inside the chart, so that a saved picture says it too."""
    said = [note for note in notes if note]
    if not said:
        return alt.TitleParams(text, anchor="start")
    return alt.TitleParams(
        text, anchor="start", subtitle=said, subtitleColor=palette.NOTE, subtitleFontSize=12, subtitlePadding=4
    )
