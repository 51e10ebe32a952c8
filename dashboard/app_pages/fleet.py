"""The page to start from: every model on every suite, silence first, then sickness. Widgets only.

The address holds the order, the filter and the search; a click on a row opens the model.
"""

from __future__ import annotations

from datetime import datetime

import streamlit as st

import data
import fleet_data
import fleet_rows
import links
import tables
import widgets
import wording
from fleet_rows import Condition
from model_health.report.synthetic import NOTICE, is_synthetic
from model_health.store.index.fleet import DAYS, MAIN_METRICS


def main() -> None:
    """Draw the page."""
    now = widgets.header("Fleet", refreshes=True)
    with widgets.said("The fleet cannot be read."):
        url = data.settings().index_url
        rows = fleet_data.fleet_rows(url)
        expected = fleet_data.expected()
    if not rows:
        nothing()
        return
    lines = fleet_rows.lines(rows, expected, now)
    if any(is_synthetic(line.model) for line in lines):
        st.info(NOTICE, icon=":material/science:")
    _headline(lines)
    with st.container(horizontal=True):
        for condition, count in fleet_rows.counts(lines).items():
            st.metric(condition.label, count, border=True, height="stretch")

    # Drawn again by itself when something in it is chosen: what stands above does not depend on it.
    st.fragment(_chosen)(lines, now)


def _chosen(lines: list[fleet_rows.Line], now: datetime) -> None:
    """What to look for, and the table of it."""
    left, middle, right = st.columns([2, 2, 1])
    with left:
        text = st.text_input("Search", key="q", bind="query-params", placeholder="a model, a suite, a gate, a reason")
    with middle:
        words = [condition.value.word for condition in Condition]
        states = st.multiselect("States", words, key="states", bind="query-params", placeholder="all")
    with right:
        order = st.selectbox("Order", fleet_rows.ORDERS, key="order", bind="query-params")
    found = fleet_rows.ordered(fleet_rows.matching(lines, text, states), order)
    if not found:
        st.info("No model matches. Search for less, or take a state away.", icon=":material/filter_alt_off:")
        return
    table(found, now)


def nothing() -> None:
    """What to do where nothing ran yet."""
    widgets.nothing("No run has been recorded yet.")
    st.markdown("Start one in a terminal, in the root of the repository:")
    st.code("make run", language="sh")
    st.markdown("or fill a store with a year of made-up nights, to look around in:")
    st.code("make demo", language="sh")
    st.button("Look again", on_click=data.forget)


def _headline(lines: list[fleet_rows.Line]) -> None:
    says, worst = fleet_rows.headline(lines)
    box = {Condition.HEALTHY: st.success, Condition.NO_REPORT: st.error, Condition.FAILING: st.error}
    icon = {Condition.HEALTHY: "check_circle", Condition.NO_REPORT: "notifications_active"}.get(worst, "error")
    box.get(worst, st.warning)(f"**{wording.plain(says)}**", icon=f":material/{icon}:")
    quiet = (Condition.HEALTHY, Condition.RETIRED, Condition.RUNNING)
    troubled = [line for line in lines if line.condition not in quiet]
    with st.container(horizontal=True):
        for line in troubled[: fleet_rows.LINKED]:
            label = f"{line.condition.value.mark} {wording.plain(line.model)} on {wording.plain(line.suite)}"
            links.link(label, "model", model=line.model, suite=line.suite)


def table(found: list[fleet_rows.Line], now: datetime) -> None:
    """The table; a row that is chosen opens its model."""
    metrics = [metric for metric in MAIN_METRICS if any(line.row and line.row.sparklines.get(metric) for line in found)]
    cells = fleet_rows.rows(found, now, metrics)
    chosen = widgets.selectable_table(
        cells,
        "fleet",
        says="Every model and suite; choose a row to open the model",
        columns={
            "Why": st.column_config.TextColumn(width="medium"),
            "Last report": st.column_config.TextColumn(help="The newest valid report, or one that nobody validated"),
            "Verdict since": st.column_config.TextColumn(help="How long the verdict has been what it is"),
            "Open alerts": st.column_config.ListColumn(help="Gates that stand at warn or fail"),
            "Baseline": st.column_config.TextColumn(help="The newest comparison with the promoted baseline"),
            **{
                tables.heading(metric): st.column_config.LineChartColumn(
                    width="small", help=f"Daily mean over the last {DAYS} days, each line on its own scale"
                )
                for metric in metrics
            },
        },
    )
    st.caption("Choose a row to open the model.")
    if chosen is not None:
        links.go("model", model=found[chosen].model, suite=found[chosen].suite)


main()
