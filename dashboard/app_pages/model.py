"""The page of one model on one suite: trends against their bands, latencies, flags, two parts compared, runs. Widgets.

The address holds the model, the suite, the view, the time, the filters and the metric: a link restores all of it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

import streamlit as st

import data
import fleet_data
import fleet_rows
import links
import model_charts
import model_data
import model_rows
import tables
import widgets
import wording
from fleet_rows import Condition
from model_health.errors import StoreError
from model_health.report.manifest import Verdict
from model_health.report.synthetic import NOTICE, is_synthetic
from model_health.store.index.fleet import MAIN_METRICS
from model_health.store.index.selection import Configuration, Selection
from model_health.store.index.trends import TrendQuery
from model_rows import EVERY, Span

TREND, LATENCY, FLAGS, PARTS, RUNS = "Trends", "Latency", "Flags", "Two parts", "Runs"
TIMES, REVISIONS, DEVICES = "two times", "two revisions", "two devices"


def main() -> None:
    """Draw the page."""
    now = widgets.header("Model", refreshes=True)
    with widgets.said("The model cannot be read."):
        settings = data.settings()
        url, store = settings.index_url, settings.store_uri
        rows = fleet_data.fleet_rows(url)
        if not rows and "model" not in st.query_params:
            widgets.nothing("No run has been recorded yet.", "`make run` records one, `make demo` makes up a year.")
            return
        where = _choose([(row.model, row.suite) for row in rows])
        found = [line for line in fleet_rows.lines(rows, fleet_data.expected(), now) if line.row is not None]
        line = next((one for one in found if (one.model, one.suite) == (where.model, where.suite)), None)
        if line is None or line.row is None:
            st.warning(
                f"The index holds no run of {wording.plain(where.model)} on {wording.plain(where.suite)}. "
                "Choose another above.",
                icon=":material/search_off:",
            )
            return
        _stands(line)
        newest = (line.row.last_verdict_run or line.row.last).run_key
        # Drawn again by itself when something in it is chosen: what stands above does not depend on it.
        st.fragment(_history)(url, store, where, newest)


def _history(url: str, store: str, where: Selection, newest: str) -> None:
    """A part of the model's history, in one of the views."""
    now = datetime.now(UTC)
    with widgets.said("The model's history cannot be read."):
        view = st.segmented_control(
            "View", [TREND, LATENCY, FLAGS, PARTS, RUNS], default=TREND, required=True, key="view",
            bind="query-params", label_visibility="collapsed",
        )  # fmt: skip
        configurations = model_data.configurations(url, where.model, where.suite)
        if view == PARTS:
            _parts(url, where, configurations, now)
            return
        where, shown = _filters(where, configurations, now)
        if view == TREND:
            _trends(url, store, where, shown, now, newest)
        elif view == LATENCY:
            _latency(url, where, shown, now)
        elif view == FLAGS:
            _flags(url, where, shown, now)
        else:
            _runs(url, where, now)


# -------------------------------------------------------------------------------------------------- what is looked at
def _choose(pairs: list[tuple[str, str]]) -> Selection:
    left, right = st.columns(2)
    with left:
        model = links.choose("Model", list(dict.fromkeys(name for name, _ in pairs)), "model")
    suites = [suite for name, suite in pairs if name == model]
    with right:
        suite = links.choose("Suite", suites or ["core"], "suite")
    return Selection(model, suite)


def _stands(line: fleet_rows.Line) -> None:
    """The first line: how the model stands, why, and where to look."""
    assert line.row is not None
    if is_synthetic(line.model):
        st.info(NOTICE, icon=":material/science:")
    box = {Condition.HEALTHY: st.success, Condition.NO_REPORT: st.error, Condition.FAILING: st.error}
    why = f": {line.why}" if line.why else ", and heard of in its window"
    box.get(line.condition, st.warning)(f"**{wording.plain(f'{line.condition.label}{why}.')}**")
    with st.container(horizontal=True):
        links.link("Open the newest run", "run", icon=":material/search:", run=line.row.last.run_key)
        if (compared := line.row.comparison) is not None:
            kind = "run" if compared.of_run else "candidate"
            links.link(
                "Open the newest comparison", "compare", icon=":material/compare_arrows:",
                comparison=f"{kind}:{compared.key}",
            )  # fmt: skip


def _filters(where: Selection, found: list[Configuration], now: datetime) -> tuple[Selection, Span]:
    choices = [*model_rows.RANGES, model_rows.BETWEEN]
    choice = st.selectbox("Time", choices, index=choices.index("30 days"), key="time", bind="query-params")
    days: list[date] = []
    if choice == model_rows.BETWEEN:
        days = list(_days("from", "to", now - timedelta(days=30), now))
    shown = model_rows.span_for(choice, days, now)
    active = [name for name in ("revision", "device", "health") if name in st.query_params]
    with st.expander(f"Filters{f': {len(active)} set' if active else ''}", expanded=bool(active)):
        left, middle, right = st.columns(3)
        with left:
            offered = [EVERY, *model_rows.revisions(found)]
            revision = st.selectbox("Revision", offered, key="revision", bind="query-params")
        with middle:
            device = st.selectbox("Device", [EVERY, *model_rows.devices(found)], key="device", bind="query-params")
        with right:
            health = st.selectbox("Runs", [EVERY, "healthy", "not healthy"], key="health", bind="query-params")
    chosen = Selection(
        where.model,
        where.suite,
        since=shown.since,
        until=shown.until,
        revision=None if revision == EVERY else revision,
        device_class=None if device == EVERY else device,
        healthy={EVERY: None, "healthy": True, "not healthy": False}[health],
    )
    return chosen, shown


def _days(first: str, last: str, since: datetime, until: datetime) -> tuple[date, date]:
    left, right = st.columns(2)
    with left:
        begin = st.date_input("First day (UTC)", since.date(), key=first, bind="query-params", format="YYYY-MM-DD")
    with right:
        end = st.date_input("Last day (UTC)", until.date(), key=last, bind="query-params", format="YYYY-MM-DD")
    return begin, end


# -------------------------------------------------------------------------------------------------------------- views
def _trends(url: str, store: str, where: Selection, shown: Span, now: datetime, newest: str) -> None:
    found = model_data.metrics(url, where)
    choices = model_rows.metric_choices(found)
    if not choices:
        _nothing(where)
        _unmeasured(url, where, newest)
        return
    try:
        promoted = model_data.promoted(store, where.model, where.suite)
        changes = model_data.changes(url, store, where)
    except StoreError as error:
        st.caption(f"Promotions are not shown: {wording.plain(str(error))}")
        promoted, changes = (), model_data.Changes((), (), ())

    def history(name: str) -> model_data.MetricHistory:
        one = choices[name]
        return model_data.metric_history(url, TrendQuery(where, one.metric, dict(one.labels)), promoted)

    with st.container(horizontal=True):
        for name in [name for name in MAIN_METRICS if name in choices]:
            value, says = model_rows.standing(history(name))
            mark = {"in band": "✔", "out of band": "✖", "no band": "?"}.get(says, "∅")
            st.metric(
                tables.heading(name), "not measured" if value is None else f"{value:.4g}", f"{mark} {says}",
                delta_color="off", delta_arrow="off", border=True, height="stretch",
            )  # fmt: skip
    left, right = st.columns([2, 1])
    with left:
        metric = links.choose(
            "Metric", list(choices), "metric", format_func=tables.heading, help="Defined in METRICS.md"
        )
        if metric not in choices:
            st.warning(f"{wording.plain(metric)} was not measured in this time.", icon=":material/search_off:")
            _unmeasured(url, where, newest)
            return
    with right:
        kinds = st.multiselect(
            "Marks", list(model_rows.KINDS), default=[kind for kind in model_rows.KINDS if kind != "verdict"],
            key="marks", bind="query-params",
        )  # fmt: skip
        spread = st.toggle("Smallest and largest prompt", value=False, key="spread", bind="query-params")
    one = choices[metric]
    drawn = history(metric)
    heading = tables.heading(metric)
    st.caption(wording.plain(model_rows.metric_help(one.metric)))
    noted = model_rows.notes(changes, drawn, kinds)
    out = sum(row["Reading"] == "out of band" for row in model_rows.trend_rows(drawn))
    says = f"{heading}: {out} of {len(drawn.trend.steps)} steps are out of the band of healthy ones."
    widgets.chart(model_charts.trend(drawn, noted, heading, shown, now, spread=spread), "trend-chart", says)
    why = model_rows.no_band(drawn)
    st.caption(f"{says}{f' No band now: {why}.' if why else ''}")
    with st.expander("As a table"):
        widgets.table(model_rows.trend_rows(drawn), "trend", columns={"From": widgets.utc("From")})
    st.subheader("What happened")
    if noted:
        widgets.table(model_rows.note_rows(noted), "changes", columns={"At": widgets.utc("At")})
    else:
        st.caption("Nothing that is marked: no promotion, no other revision, library or device, no change of level.")
    _unmeasured(url, where, newest)


def _unmeasured(url: str, where: Selection, newest: str) -> None:
    found = model_data.metrics(url, where)
    if not any(not one.measured for one in found):
        return
    if missing := model_rows.unmeasured(found, model_data.reasons(url, newest)):
        st.subheader("Not measured, and why")
        widgets.table(missing, "unmeasured", columns={"Reason": st.column_config.TextColumn(width="large")})


def _latency(url: str, where: Selection, shown: Span, now: datetime) -> None:
    choices = model_rows.latency_choices(model_data.metrics(url, where))
    if not choices:
        _nothing(where)
        return
    metric = links.choose("Latency", list(choices), "latency", format_func=tables.heading, help="Defined in METRICS.md")
    if metric not in choices:
        st.warning(f"{wording.plain(metric)} was not measured in this time.", icon=":material/search_off:")
        return
    one = choices[metric]
    steps = model_data.latencies(url, TrendQuery(where, one.metric, dict(one.labels)))
    st.caption(wording.plain(model_rows.metric_help(one.metric)))
    newest = steps[-1] if steps else None
    with st.container(horizontal=True):
        for percent, value in (newest.values if newest else {}).items():
            st.metric(f"p{percent}, newest step (s)", f"{value:.4g}", border=True)
    heading = tables.heading(metric)
    widgets.chart(model_charts.percentiles(steps, heading, shown, now), "latency-chart", f"Percentiles of {heading}")
    rows = [{"From": s.at, "Values": s.measured, **{f"p{p}": v for p, v in s.values.items()}} for s in steps]
    with st.expander("As a table"):
        widgets.table(rows, "latency-table", columns={"From": widgets.utc("From")})


def _flags(url: str, where: Selection, shown: Span, now: datetime) -> None:
    rates, verdicts, step = model_data.flags(url, where)
    if not verdicts:
        _nothing(where)
        return
    if any(rate.raised for rate in rates):
        widgets.chart(model_charts.flags(rates, step, shown, now), "flags-chart", "How often which flag was raised")
    elif rates:
        st.success("No prompt raised a flag in this time.", icon=":material/check:")
    else:
        widgets.nothing("Not measured: no run in this time counted its flags.")
    widgets.chart(model_charts.verdicts(verdicts, step, shown, now), "verdicts-chart", "Verdicts of runs over time")
    rows = [{"From": r.at, "Flag": r.flag, "Raised": r.raised, "Prompts": r.prompts, "Part": r.fraction} for r in rates]
    with st.expander("As a table"):
        if rows:
            widgets.table(rows, "flag-rates", columns={"From": widgets.utc("From")})
        widgets.table(
            [{"From": v.at, "Verdict": v.verdict or "none", "Runs": v.runs} for v in verdicts],
            "verdict-counts",
            columns={"From": widgets.utc("From")},
        )


def _parts(url: str, where: Selection, found: list[Configuration], now: datetime) -> None:
    """Two times, revisions or devices side by side, every metric of each."""
    kind = st.segmented_control(
        "Compare", [TIMES, REVISIONS, DEVICES], default=TIMES, required=True, key="by", bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    if kind == TIMES:
        st.markdown("**First**")
        before = _days("from1", "to1", now - timedelta(days=28), now - timedelta(days=15))
        st.markdown("**Second**")
        after = _days("from2", "to2", now - timedelta(days=14), now)
        spans = [model_rows.span_for(model_rows.BETWEEN, days, now) for days in (before, after)]
        sides = [Selection(where.model, where.suite, since=one.since, until=one.until) for one in spans]
        names = [" to ".join(f"{day}" for day in sorted(days)) for days in (before, after)]
    else:
        offered = model_rows.revisions(found) if kind == REVISIONS else model_rows.devices(found)
        what = "revision" if kind == REVISIONS else "device"
        if len(offered) < 2:
            only = f": {wording.plain(offered[0])}" if offered else ""
            widgets.nothing(f"There are not two {what}s to compare, only {len(offered)}{only}.")
            return
        left, right = st.columns(2)
        with left:
            first = st.selectbox("First", offered, index=1, key=f"{what}1", bind="query-params")
        with right:
            second = st.selectbox("Second", offered, index=0, key=f"{what}2", bind="query-params")
        names = [first, second]
        sides = [
            Selection(where.model, where.suite, revision=one)
            if kind == REVISIONS
            else Selection(where.model, where.suite, device_class=one)
            for one in names
        ]
    differences = model_data.difference(url, *sides)
    rows = model_rows.difference_rows(differences)
    if not rows:
        widgets.nothing("Neither part holds a value. Choose other days: whole UTC days count.")
        return
    worse = sum(row["Reading"] == "▲ worse" for row in rows)
    st.caption(
        f"{len(rows)} metrics; {worse} moved the wrong way from {wording.plain(names[0])} to "
        f"{wording.plain(names[1])}. Means over all prompts and runs. "
        "Whether a change is chance is not judged here: see *Compare*."
    )
    numbers: dict[str, Any] = {
        name: st.column_config.NumberColumn(format="%.4g") for name in ("First", "Second", "Change")
    }
    numbers["Relative (%)"] = st.column_config.NumberColumn(format="%+.1f")
    widgets.table(rows, "parts", says="Every metric in both parts, the largest change first", columns=numbers)


def _runs(url: str, where: Selection, now: datetime) -> None:
    left, right = st.columns(2)
    with left:
        said = st.selectbox("Verdict", [EVERY, *get_args(Verdict)], key="verdict", bind="query-params")
    verdict = None if said == EVERY else said
    first = model_data.run_table(url, where, verdict, 0)
    pages = max(1, -(-first.total // model_data.PAGE_SIZE))
    with right:
        number = st.number_input("Page", 1, pages, key="page", bind="query-params", help=f"1 to {pages}, newest first")
    page = first if number == 1 else model_data.run_table(url, where, verdict, int(number) - 1)
    if not page.rows:
        _nothing(where)
        return
    st.caption(f"{page.total} runs match. Choose a row to open the run.")
    chosen = widgets.selectable_table(
        model_rows.run_rows(page.rows, now), "model-runs", says="Runs, newest first",
        columns={"Started": widgets.utc("Started"), "Flags": st.column_config.ListColumn()},
    )  # fmt: skip
    if chosen is not None:
        links.go("run", run=page.rows[chosen].record.run_key)


def _nothing(where: Selection) -> None:
    widgets.nothing(
        f"Nothing of {wording.plain(where.model)} on {wording.plain(where.suite)} matches.",
        "Choose a longer time, or take a filter away.",
    )


main()
