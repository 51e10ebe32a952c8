"""What all pages are made of: a header that keeps itself fresh, charts, tables, error boxes. Widgets only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import streamlit as st

import data
import exports
import wording
from chart_parts import Drawn, specification
from model_health.errors import ModelHealthError

EVERY_SECONDS = 30


def header(title: str, *, refreshes: bool = False) -> datetime:
    """The page's title, and where `refreshes` a switch that pauses its refreshing. Returns the present, in UTC.

    The switch is in the address as `?live=false`. A page that refreshes itself is drawn again every 30 seconds.
    """
    now = datetime.now(UTC)
    if not refreshes:
        st.title(title)
        return now
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    left.title(title)
    with right:
        live = st.toggle(
            f"Refresh every {EVERY_SECONDS} s", value=True, key="live", bind="query-params", help="Switch off to pause"
        )
        st.caption(f"As of {now:%Y-%m-%d %H:%M:%S} UTC")
    st.session_state["drawn_whole"] = True
    st.fragment(_tick, run_every=EVERY_SECONDS if live else None)()
    return now


def _tick() -> None:
    # Alone, without the page around it, this runs only when the time has come.
    if not st.session_state.pop("drawn_whole", False):
        st.rerun()


def chart(drawn: Drawn, key: str, says: str) -> None:
    """A chart, as wide as its place, with *Download as PNG* in its corner.

    Args:
        drawn: what `chart_parts` made.
        key: its name on the page.
        says: what it shows, in a sentence, for whoever does not see it.
    """
    st.vega_lite_chart(specification(drawn), width="stretch", key=key, alt=says)


def table(
    rows: Sequence[Mapping[str, Any]],
    name: str,
    *,
    says: str | None = None,
    columns: Mapping[str, Any] | None = None,
    height: int | None = None,
) -> None:
    """A table, and below it a button that saves it as CSV.

    Args:
        rows: cells by column; None is a value that was not measured.
        name: of the table on the page and, with the date, of the file.
        says: what it shows, for whoever does not see it.
        columns: Streamlit's column configuration.
        height: pixels; as tall as the rows need by default.
    """
    st.dataframe(
        list(rows), key=name, hide_index=True, placeholder="–", column_config=columns, alt=says, height=height or "auto"
    )
    save(rows, name)


def selectable_table(
    rows: Sequence[Mapping[str, Any]], name: str, *, says: str | None = None, columns: Mapping[str, Any] | None = None
) -> int | None:
    """A table whose rows lead somewhere. Returns the number of the row that was chosen, or None."""
    chosen = st.dataframe(
        list(rows),
        key=name,
        hide_index=True,
        placeholder="–",
        column_config=columns,
        alt=says,
        on_select="rerun",
        selection_mode="single-row",
    )
    save(rows, name)
    numbers: list[int] = chosen.selection.rows
    return numbers[0] if numbers else None


def save(rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """A button that saves rows as CSV."""
    st.download_button(
        "Save as CSV",
        lambda: exports.csv_text(rows),
        file_name=exports.file_name("model-health", name, f"{datetime.now(UTC):%Y%m%dT%H%MZ}") + ".csv",
        mime="text/csv",
        key=f"{name}-csv",
        on_click="ignore",
        type="tertiary",
        icon=":material/download:",
    )


def utc(title: str) -> Any:
    """Column configuration of a time."""
    return st.column_config.DatetimeColumn(f"{title} (UTC)", format="YYYY-MM-DD HH:mm:ss", timezone="UTC")


@contextmanager
def said(what: str) -> Iterator[None]:
    """Show the library's errors in one line, with a button to try again, and stop the page there.

    Args:
        what: begins the line: "The run cannot be read."
    """
    try:
        yield
    except ModelHealthError as error:
        st.error(f"{what} {wording.plain(str(error))}", icon=":material/error:")
        st.button("Try again", on_click=data.forget, key=f"again-{what}")
        st.stop()


def nothing(what: str, how: str | None = None) -> None:
    """Say that there is nothing to show, and how to get something."""
    st.info(what, icon=":material/hourglass_empty:")
    if how:
        st.caption(how)
