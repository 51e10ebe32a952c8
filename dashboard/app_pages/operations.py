"""The page about Model Health itself: does the monitor catch faults, and does what it says arrive? Widgets only.

The address holds the part (`?part=Self-test`), the self-test (`?test=...`), the target and the states.
"""

from __future__ import annotations

from datetime import datetime

import streamlit as st

import data
import links
import operations_charts
import operations_data
import operations_rows
import widgets
import wording
from model_health.store.index.outbox import State
from model_health.store.index.outbox_status import STATES

DELIVERY, SELF_TEST = "Delivery", "Self-test"
EVERY = "every target"
OPEN: list[State] = ["pending", "delivering", "held", "withheld", "dead"]


def main() -> None:
    """Draw the page."""
    now = widgets.header("Self-test & delivery", refreshes=True)
    part = st.segmented_control(
        "Part", [DELIVERY, SELF_TEST], default=DELIVERY, required=True, key="part", bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    with widgets.said("The index cannot be read."):
        url = data.settings().index_url
        if part == SELF_TEST:
            self_test(url, now)
        else:
            delivery(url, now)


# ---------------------------------------------------------------------------------------------------------- delivery
def delivery(url: str, now: datetime) -> None:
    """The outbox and its ledger."""
    counts = operations_data.targets(url)
    if not counts:
        widgets.nothing(
            "Nothing was ever to be delivered.",
            "Switch a sink on in `configs/sinks.yaml`, or add a route in `configs/gates.yaml`. From then on, what a "
            "run measured and what gates say waits here until it has arrived.",
        )
        return
    troubles = operations_rows.troubles(counts, now)
    for trouble in troubles:
        st.error(_with_code(trouble), icon=":material/mail_off:")
    if not troubles:
        st.success("Nothing is stuck: what waits is younger than an hour.", icon=":material/check:")
    st.subheader("Targets")
    widgets.table(operations_rows.target_rows(counts, now), "targets", says="How each target stands")

    left, right = st.columns(2)
    with left:
        target = st.selectbox("Target", [EVERY, *(one.target for one in counts)], key="target", bind="query-params")
    with right:
        states = st.multiselect("States", list(STATES), default=OPEN, key="states", bind="query-params")
    which = None if target == EVERY else target
    st.subheader("Outbox")
    items = operations_data.outbox_items(url, which, tuple(states))
    if not items:
        st.caption("No item is in any of these states.")
    else:
        chosen = widgets.selectable_table(
            operations_rows.item_rows(items),
            "outbox",
            says="Items of the outbox, newest first",
            columns={
                **{name: widgets.utc(name) for name in ("Made", "Next try", "Delivered")},
                "Last error": st.column_config.TextColumn(width="medium"),
            },
        )
        if len(items) == operations_data.LISTED:
            st.caption(f"The newest {operations_data.LISTED}; choose a target or a state to see others.")
        if chosen is not None:
            _item(items[chosen].run_key, items[chosen].last_error)
    st.subheader("Ledger")
    tried = operations_data.try_counts(url, which)
    if tried:
        failed = sum(one.tries for one in tried if one.outcome in ("failed", "refused", "lost"))
        total = sum(one.tries for one in tried)
        widgets.chart(operations_charts.tries(tried), "tries-chart", f"{failed} of {total} tries of two weeks failed.")
        st.caption(f"{failed} of {total} tries of the last two weeks did not arrive.")
    entries = operations_data.tries(url, which)
    if entries:
        widgets.table(
            operations_rows.ledger_rows(entries),
            "ledger",
            says="The ledger: every try to deliver, newest first",
            columns={"Started": widgets.utc("Started"), "Took (s)": st.column_config.NumberColumn(format="%.2f")},
        )
    else:
        st.caption("Nothing has been tried yet.")


def _item(run_key: str | None, error: str | None) -> None:
    if error:
        st.markdown(f"Last error: {wording.plain(error)}")
    if run_key:
        links.link("Open the run of this item", "run", icon=":material/search:", run=run_key)
    else:
        st.caption("This item belongs to no single run.")


# ---------------------------------------------------------------------------------------------------------- self-test
def self_test(url: str, now: datetime) -> None:
    """The detection table of a self-test, and the history of all."""
    records = operations_data.self_tests(url)
    if not records and "test" not in st.query_params:
        widgets.nothing(
            "The monitor has not been tested yet.",
            "`model-health self-test --model MODEL` puts faults into a model in memory and tells which were caught. "
            "The Dag `self_test` does so every week.",
        )
        return
    known = {operations_rows.self_test_address(record): record for record in records}
    chosen = links.choose(
        "Self-test",
        list(known),
        "test",
        format_func=lambda name: operations_rows.self_test_label(known[name]) if name in known else name,
        help="Newest first",
    )
    asked = operations_rows.read_address(chosen)
    record = None if asked is None else operations_data.self_test(url, *asked)
    if record is None:
        st.warning(f"The index holds no self-test {wording.plain(chosen)}.", icon=":material/search_off:")
        return
    short = operations_rows.shortfalls(record)
    for shortfall in short:
        st.error(f"{wording.plain(record.model)}: {wording.plain(shortfall)}.", icon=":material/gpp_bad:")
    if not short:
        st.success(
            f"The monitor keeps its promises on {wording.plain(record.model)}: see each trial below.",
            icon=":material/verified_user:",
        )
    newest = max((one.started_at for one in records), default=record.started_at)
    if now - newest > operations_rows.WEEKLY:
        st.warning(
            f"The newest self-test is {wording.span(now - newest)} old. Is the Dag `self_test` paused?",
            icon=":material/schedule:",
        )
    with st.container(horizontal=True):
        for name in ("same", "loud", "placed", "false_alarms"):
            title = operations_rows.RATES[name]
            st.metric(title, operations_rows.rate_text(record.figures, name), border=True, height="stretch")
    wrong_only = st.toggle("Only what went wrong", value=False, key="wrong", bind="query-params")
    st.subheader("Trials")
    rows = operations_rows.trial_rows(record.trials, wrong_only=wrong_only)
    if rows:
        widgets.table(
            rows,
            "trials",
            says="The detection table: every fault and harmless change, what went wrong first",
            columns={
                "Of its limit": st.column_config.NumberColumn(format="%.3g", help="Above 1 is beyond tolerance"),
                "Why": st.column_config.TextColumn(width="large"),
            },
        )
    else:
        st.caption("Nothing went wrong." if record.trials else "This self-test recorded no trial.")
    st.subheader("History")
    mine = [one for one in records if (one.model, one.suite) == (record.model, record.suite)]
    if points := operations_rows.history_points(mine):
        widgets.chart(operations_charts.history(points), "history-chart", "What each self-test of this model caught")
    widgets.table(
        operations_rows.history_rows(records), "self-tests", columns={"Started": widgets.utc("Started")},
        says="Every self-test, newest first",
    )  # fmt: skip


def _with_code(text: str) -> str:
    """A sentence of ours in which a command stands between backticks; everything else is text from outside."""
    parts = text.split("`")
    return "".join(f"`{part}`" if number % 2 else wording.plain(part) for number, part in enumerate(parts))


main()
