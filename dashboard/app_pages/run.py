"""The page of one run: its state, what changed, its prompts, validation, gates, and where the time went. Widgets only.

The address holds the run (`?run=<model>/<suite>/<run folder>`), so that an alert or a colleague can point at it.
"""

from __future__ import annotations

from urllib.parse import quote

import streamlit as st

import data
import links
import reports
import run_data
import run_facts
import tables
import widgets
import wording
from model_health.config.settings import Settings
from model_health.errors import ModelHealthError
from model_health.report.manifest import Manifest
from model_health.report.synthetic import NOTICE, is_synthetic
from model_health.store.index.records import RunRecord


def _head(detail: data.RunDetail, settings: Settings) -> None:
    record = detail.record
    sick = sum(1 for sample in detail.samples if sample.unhealthy_flags)
    cells = {
        "State": wording.state_of(record, now).label,
        "Started (UTC)": f"{record.started_at:%Y-%m-%d %H:%M}",
        "Took": wording.span(record.ended_at - record.started_at) if record.ended_at else "–",
        "Unhealthy prompts": f"{sick} of {len(detail.samples)}" if detail.samples else "–",
    }
    with st.container(horizontal=True):
        for label, value in cells.items():
            st.metric(label, value, border=True)
    with st.container(horizontal=True):
        model, suite = record.folder.model, record.folder.suite
        links.link(f"{model} over time", "model", model=model, suite=suite, icon=":material/show_chart:")
        links.link("Compare", "compare", kind="Two runs", second=record.run_key, icon=":material/compare_arrows:")
        if settings.airflow_url and record.dag_id and record.dag_run_id:
            place = f"dags/{quote(record.dag_id, safe='')}/runs/{quote(record.dag_run_id, safe='')}"
            st.link_button("Open in Airflow", f"{settings.airflow_url}/{place}", icon=":material/open_in_new:")
    if reason := wording.why(record, now):
        st.error(f"Not measured: {wording.plain(reason)}", icon=":material/do_not_disturb_on:")
    if record.log_tail:
        st.caption("The last lines of its log")
        st.code(record.log_tail, language=None)


def _manifest(record: RunRecord, settings: Settings) -> Manifest | None:
    """The manifest, where the store has it. Without it the index still tells most of the page."""
    if record.manifest_uri is None:
        return None
    try:
        return reports.manifest_of(settings.store_uri, record.run_key, record.manifest_digest)
    except ModelHealthError as error:
        st.warning(
            f"The manifest cannot be read: {wording.plain(str(error))} What the index holds is shown.",
            icon=":material/warning:",
        )
        return None


def _changed(record: RunRecord, previous: RunRecord | None, manifest: Manifest | None, settings: Settings) -> None:
    st.subheader("What changed since the run before")
    if previous is None:
        st.caption("There is no measured run of this model and suite before it.")
        return
    before: Manifest | None = None
    if manifest is not None:
        try:
            before = reports.manifest_of(settings.store_uri, previous.run_key, previous.manifest_digest)
        except ModelHealthError:
            manifest = None  # both or neither: what only one of them tells is no change
    rows = run_facts.changes(
        run_facts.identity(previous, before), run_facts.identity(record, manifest if before else None)
    )
    if rows:
        widgets.table(rows, "changes", says="What differs between this run's identity and that of the run before")
    else:
        st.caption(
            ":material/check: Nothing that is recorded: same weights, configuration, libraries, device and suite."
        )
    links.link(
        f"The run before, {wording.stamp(previous.started_at)}", "run", run=previous.run_key, icon=":material/history:"
    )


def _prompts(detail: data.RunDetail) -> None:
    st.subheader("Prompts")
    if not detail.samples:
        st.info("This run has no prompts in the index.", icon=":material/hourglass_empty:")
        return
    available = tables.metrics_of(detail)
    metrics = st.multiselect(
        "Metrics",
        available,
        default=[name for name in tables.FIRST_METRICS if name in available],
        format_func=tables.heading,
        help="Defined in METRICS.md",
    )
    rows = tables.prompt_rows(detail, metrics)
    st.caption("Choose a row to see its tokens and layers.")
    chosen = widgets.selectable_table(
        rows,
        "prompts",
        says="One row per prompt: health, flags, latencies and the chosen metrics; unhealthy ones first",
        columns={
            "Flags": st.column_config.ListColumn(
                "Flags", width="medium", help="Raised, and not tolerated by the prompt"
            ),
            "Others": st.column_config.ListColumn(
                "Others", help="Flags that inform, or that this prompt is meant to raise"
            ),
            "First token (s)": st.column_config.NumberColumn(format="%.3f"),
            "Per token (ms)": st.column_config.NumberColumn(format="%.1f"),
            **{tables.heading(name): st.column_config.NumberColumn(format="%.3f") for name in metrics},
        },
    )
    if chosen is not None:
        links.go("prompt", run=detail.record.run_key, prompt=rows[chosen]["Prompt"])
    sick = [sample.prompt_id for sample in detail.samples if sample.unhealthy_flags]
    with st.container(horizontal=True):
        for prompt_id in sick[:8]:
            links.link(f"✖ {prompt_id}", "prompt", run=detail.record.run_key, prompt=prompt_id)
    if missing := tables.gaps(detail):
        with st.expander(f"Not measured, and why ({len(missing)})"):
            widgets.table(missing, "gaps", columns={"Reason": st.column_config.TextColumn(width="large")})


def _validation(found: run_data.Judged, record: RunRecord, settings: Settings) -> None:
    st.subheader("Validation")
    if found.validation is None:
        st.caption("This run was not validated: `model-health validate RUN --record` does so.")
        return
    line = wording.plain(run_facts.validation_line(found.validation))
    if found.validation.valid:
        st.success(f"Valid. {line}", icon=":material/check:")
    else:
        st.error(f"Invalid: {wording.plain(found.validation.reason or '')} {line}", icon=":material/close:")
    if found.validation.failures:
        widgets.table(
            run_facts.failure_rows(found.validation),
            "validation",
            says="Expectations that failed",
            columns={
                "Expected": st.column_config.TextColumn(width="large"),
                "First place": st.column_config.TextColumn(width="medium"),
            },
        )
    page = reports.data_docs(settings, record.run_key)
    if page is None:
        st.caption("The Data Docs of this validation are not on this machine.")
        return
    text = page.read_text(encoding="utf-8")
    with st.container(horizontal=True, vertical_alignment="center"):
        shown = st.toggle(
            "Show the Data Docs", key="docs", bind="query-params", help="Every expectation that was asked"
        )
        st.download_button(
            "Save the Data Docs",
            text,
            file_name=f"data-docs-{record.folder.name}.html",
            mime="text/html",
            on_click="ignore",
            type="tertiary",
            icon=":material/download:",
        )
    if shown:
        st.iframe(text, height=640)


def _gates(found: run_data.Judged) -> None:
    st.subheader("Gates")
    if not found.gates:
        st.caption("No gate was asked about this run: `model-health gates` asks them.")
        return
    widgets.table(
        run_facts.gate_rows(found.gates),
        "gates",
        says="What each gate answered about this run",
        columns={
            "Because": st.column_config.TextColumn(width="large"),
            "Value": st.column_config.NumberColumn(format="%.4g"),
            "Level": st.column_config.NumberColumn(format="%.4g", help="The level that the verdict speaks of"),
        },
    )
    for gate in found.gates:
        if gate.place is not None and gate.runs:
            at = gate.place
            breached = next((run.run_key for run in gate.runs if run.breach in ("warn", "fail")), gate.runs[0].run_key)
            links.link(
                f"{gate.gate}: {run_facts.place_of(gate)}",
                "prompt",
                run=breached,
                prompt=at.prompt_id,
                step=at.step,
                layer=at.layer,
                view="Layers" if at.layer is not None else None,
                icon=":material/my_location:",
            )
    with st.expander("Evidence, run by run"):
        for gate in found.gates:
            st.markdown(f"**{wording.plain(gate.gate)}**: {wording.plain(gate.reason)}")
            if gate.runs:
                widgets.table(run_facts.evidence_rows(gate), f"evidence-{gate.gate}")


def _performance(manifest: Manifest | None) -> None:
    st.subheader("Where the time went")
    if manifest is None or manifest.performance is None:
        st.caption("Not recorded." if manifest else "The manifest would say; it is not there.")
        return
    record = manifest.performance
    left, right = st.columns([2, 3])
    with left:
        widgets.chart(run_facts.operation_chart(record), "operations", "Wall time of each stage of the run, in seconds")
    with right:
        widgets.table(
            run_facts.operation_rows(record),
            "operations-table",
            columns={
                "Time (s)": st.column_config.NumberColumn(format="%.2f"),
                "Share (%)": st.column_config.NumberColumn(format="%.1f"),
                "Peak memory (MB)": st.column_config.NumberColumn(format="%.0f"),
            },
        )
    said = [f"In all {record.total_seconds:.1f} s."]
    if manifest.peak_memory_bytes is not None:
        said.append(f"Peak memory {manifest.peak_memory_bytes / 1e6:.0f} MB.")
    if manifest.overhead is not None:
        said.append(f"Watching cost {100 * (manifest.overhead.ratio - 1):+.1f} % of plain generation, measured.")
    st.caption(" ".join(said))


now = widgets.header("Run", refreshes=True)
with widgets.said("The run cannot be read."):
    settings = data.settings()
    rows = data.list_runs(settings.index_url)
    keys = [row.record.run_key for row in rows]
if not keys and "run" not in st.query_params:
    st.info("No run has been recorded yet. `make run` records one.", icon=":material/hourglass_empty:")
    st.stop()
key = links.choose("Run", keys, "run", help="model / suite / run")
with widgets.said("The run cannot be read."):
    detail = data.read_run(settings.index_url, key)
    judged = run_data.judged(settings.index_url, key) if detail else None
if detail is None or judged is None:
    st.warning(f"The index holds no run {wording.plain(key)}. It may have been removed.", icon=":material/search_off:")
    st.stop()

if is_synthetic(detail.record.folder.model):
    st.info(NOTICE, icon=":material/science:")
_head(detail, settings)
manifest = _manifest(detail.record, settings)
_prompts(detail)
_changed(detail.record, judged.previous, manifest, settings)
_gates(judged)
_validation(judged, detail.record, settings)
_performance(manifest)
with st.expander("What was measured, on what"):
    facts = run_facts.run_facts(detail.record) | run_facts.identity(detail.record, manifest)
    widgets.table(run_facts.fact_rows(facts), "identity", columns={"Value": st.column_config.TextColumn(width="large")})
