"""The page that lists runs: what ran, when, what came of it, and whether anybody still looks. Widgets only."""

from __future__ import annotations

import streamlit as st

import charts
import data
import links
import tables
import widgets
import wording

EVERY = "every"
LIMIT = 200

now = widgets.header("Runs", refreshes=True)
with widgets.said("The runs cannot be read."):
    url = data.settings().index_url
    models = data.list_models(url)

if not models:
    st.info("No run has been recorded yet.", icon=":material/hourglass_empty:")
    st.markdown("Start one in a terminal, in the root of the repository:")
    st.code("make run", language="sh")
    st.markdown("or, for one model and suite, without Airflow:")
    st.code(".venv/bin/model-health run --model smollm2-135m --suite smoke", language="sh")
    st.button("Look again", on_click=data.forget)
    st.stop()

for sentence in tables.stale(models, now):
    st.warning(f"{wording.plain(sentence)}. Is `run_canaries` paused?", icon=":material/schedule:")

left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
known = [EVERY, *sorted({entry.model for entry in models})]
model = left.selectbox("Model", known, key="model", bind="query-params")
known = [EVERY, *sorted({entry.suite for entry in models})]
suite = middle.selectbox("Suite", known, key="suite", bind="query-params")
right.button("Refresh", icon=":material/refresh:", on_click=data.forget, width="stretch")

with widgets.said("The runs cannot be read."):
    rows = data.list_runs(url, None if model == EVERY else model, None if suite == EVERY else suite, LIMIT)

if not rows:
    st.info("No run matches. Choose another model or suite.", icon=":material/filter_alt_off:")
    st.stop()

latest = rows[0]
state = wording.state_of(latest.record, now)
first, second, third, fourth = st.columns(4)
first.metric("Newest run", state.label, border=True)
second.metric("Started", f"{wording.span(now - latest.record.started_at)} ago", border=True)
measured = f"{latest.unhealthy} of {latest.prompts}" if latest.prompts else "–"
third.metric("Unhealthy prompts", measured, border=True)
fourth.metric("Runs shown", len(rows), border=True)

widgets.chart(
    charts.run_strip(rows, now), "strip", "When each run started, in one line per model and suite, marked by its state"
)
shown = f"The newest {LIMIT} runs. " if len(rows) == LIMIT else ""
st.caption(f"{shown}Choose a row to see its prompts.")
chosen = widgets.selectable_table(
    tables.run_rows(rows, now),
    "runs",
    says="The runs, newest first: state, model, suite, time and flags",
    columns={
        "Started": widgets.utc("Started"),
        "Flags": st.column_config.ListColumn(
            "Flags", help="Raised by a prompt that does not tolerate them; ×n: by n prompts"
        ),
        "Unhealthy": st.column_config.NumberColumn("Unhealthy", help="Prompts with a flag that they do not tolerate"),
        "Why": st.column_config.TextColumn("Why", help="Why there is no measurement", width="medium"),
    },
)
if chosen is not None:
    links.go("run", run=rows[chosen].record.run_key)
