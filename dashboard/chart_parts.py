"""Small pieces that charts are made of, and the specification that the browser gets. Pure.

Rows travel to the browser as Arrow tables, each once, however many layers draw it. Altair checks a specification
against its schema at every step of the making, and copies each layer several times: a third of a second for a trend of
a year. Neither happens here; `to_dict`, which tests call, checks the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pyarrow as pa  # type: ignore[import-untyped]
from altair.utils.schemapi import disable_debug_mode

import palette

disable_debug_mode()


@dataclass(frozen=True)
class Layers:
    """Charts laid over each other, the last one on top.

    `height` is in pixels, title, legend and axes included. `apart` names the channels whose scale, and legend, each
    layer has of its own.
    """

    parts: tuple[alt.Chart | Layers, ...]
    height: int | None = None
    title: alt.TitleParams | None = None
    apart: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The specification with its rows in it. Raises what Altair raises for one that its schema refuses."""
        found: dict[str, Any] = alt.LayerChart.from_dict(readable(self)).to_dict()
        return found


Drawn = alt.Chart | Layers


def drawn(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart of rows, still without a mark. NaN becomes null; a row without one of the first row's keys has null."""
    names = list(rows[0]) if rows else []
    columns = {name: pa.array([row.get(name) for row in rows], from_pandas=True) for name in names}
    chart: alt.Chart = alt.Chart(pa.table(columns))
    return chart


def over(layers: Sequence[alt.Chart | Layers], height: int, title: alt.TitleParams) -> Layers:
    """Charts laid over each other, the last one on top; `height` in pixels, title, legend and axes included."""
    return Layers(tuple(layers), height, title)


def titled(text: str, *notes: str) -> alt.TitleParams:
    """A title, and below it what the marks mean: inside the chart, so that a saved picture says it too."""
    said = [note for note in notes if note]
    if not said:
        return alt.TitleParams(text, anchor="start")
    return alt.TitleParams(
        text, anchor="start", subtitle=said, subtitleColor=palette.NOTE, subtitleFontSize=12, subtitlePadding=4
    )


def specification(chart: Drawn) -> dict[str, Any]:
    """What the browser draws: a Vega-Lite specification, its `datasets` in Arrow's stream format, named by content."""
    spec, tables = _described(chart)
    return {**spec, "datasets": {name: _streamed(table) for name, table in tables.items()}}


def readable(chart: Drawn) -> dict[str, Any]:
    """The same with rows for `datasets`, for whoever reads it in Python."""
    spec, tables = _described(chart)
    rows = {name: [_plain(row) for row in table.to_pylist()] for name, table in tables.items()}
    return {**spec, "datasets": rows}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}


def _described(chart: Drawn) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """A specification that refers to its tables by name, and the tables."""
    tables: dict[str, pa.Table] = {}
    known: dict[int, str] = {}

    def name_of(table: pa.Table) -> str:
        if id(table) not in known:
            known[id(table)] = hashlib.md5(_streamed(table), usedforsecurity=False).hexdigest()
            tables[known[id(table)]] = table
        return known[id(table)]

    def describe(part: Drawn) -> dict[str, Any]:
        if isinstance(part, Layers):
            own: dict[str, Any] = {"layer": [describe(layer) for layer in part.parts]}
            if part.height is not None:
                own["height"] = part.height
            if part.title is not None:
                own["title"] = part.title.to_dict(validate=False)
            if part.apart:
                own["resolve"] = {"scale": dict.fromkeys(part.apart, "independent")}
            return own
        one = part.copy(deep=False)
        one.data = alt.NamedData(name_of(part.data))
        found: dict[str, Any] = one.to_dict(validate=False, context={"top_level": False})
        return found

    return describe(chart), tables


def _streamed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
