"""The page of one prompt: its report, down to the layer and the token. Widgets only.

The address names the report, as `?run=<run key>&prompt=<id>` or as `?report=<path below the store>` for one that no run
of ours wrote, and the view: `view`, `step`, `layer`, `head`, `metric`, `colour`.
"""

from __future__ import annotations

import streamlit as st

import data
import links
import prompt_facts
import prompt_sections
import reports
import widgets
import wording
from model_health.report.synthetic import NOTICE, WARNING, is_synthetic
from views import PromptView

VIEWS = ["Tokens", "Layers", "Prompt", "Not measured"]


def chosen_report() -> PromptView:
    """The report that the address names, or the newest run's first."""
    with widgets.said("The report cannot be read."):
        settings = data.settings()
        path = st.query_params.get("report")
        if path:
            return _at(settings.store_uri, path)
        rows = data.list_runs(settings.index_url)
    measured = [row.record.run_key for row in rows if row.prompts]
    if not measured and "run" not in st.query_params:
        widgets.nothing("No prompt has been measured yet.", "`make run` measures the first, `make demo` makes some up.")
        _open_by_path()
        st.stop()
    left, right = st.columns([3, 2])
    with left:
        run_key = links.choose("Run", measured, "run", help="model / suite / run")
    with widgets.said("The report cannot be read."):
        detail = data.read_run(settings.index_url, run_key)
        known = {sample.prompt_id: sample for sample in detail.samples} if detail else {}
        # The sick ones first: whoever comes without a prompt in mind comes for them.
        offered = sorted(known, key=lambda name: (not known[name].unhealthy_flags, name))
        offered = offered or reports.prompts_in_store(settings.store_uri, run_key)
    if not offered and "prompt" not in st.query_params:
        st.warning(f"There is no report of the run {wording.plain(run_key)}.", icon=":material/search_off:")
        links.link("The run, and why it has none", "run", run=run_key, icon=":material/search:")
        st.stop()
    marks = {name: "✖ " if sample.unhealthy_flags else "✔ " for name, sample in known.items()}
    with right:
        prompt_id = links.choose("Prompt", offered, "prompt", format_func=lambda name: f"{marks.get(name, '')}{name}")
    with widgets.said("The report cannot be read."):
        digest = known[prompt_id].report_digest if prompt_id in known else None
        return reports.report_of_prompt(settings.store_uri, run_key, prompt_id, digest)


def _at(store_uri: str, path: str) -> PromptView:
    several = reports.listed(store_uri, path)
    trace_id = None
    if len(several) > 1:
        says = {one.trace_id: one.says for one in several}
        trace_id = links.choose("Report", list(says), "trace", format_func=lambda name: says.get(name, name))
    st.caption(f":material/description: {wording.plain(path)}")
    return reports.report_at(store_uri, path, trace_id)


def _open_by_path() -> None:
    with st.expander("Open another report", icon=":material/folder_open:"):
        path = st.text_input(
            "Path below the store", key="path", help="JSON or gzip, traces of v0.2.0 to v0.4.0, also their SQLite form"
        )
        if path:
            links.go("prompt", report=path.strip())


def _head(view: PromptView) -> None:
    ours = view.ours
    if is_synthetic(ours.model_name or ""):
        st.info(NOTICE, icon=":material/science:")
    timing = ours.timing
    cells = (
        ("State", prompt_facts.state_word(view), None),
        ("Tokens", f"{view.prompt.num_tokens} + {view.generated.num_tokens}", "Prompt + generated"),
        ("Stopped by", prompt_facts.STOPPED.get(ours.stopped_by or "", "–"), view.why("model_health.stopped_by")),
        (
            "First token (s)",
            _shown(timing.time_to_first_token_seconds, 1, 3),
            _why(view, "time_to_first_token_seconds"),
        ),
        (
            "Per token (ms)",
            _shown(timing.time_per_output_token_seconds, 1e3, 1),
            _why(view, "time_per_output_token_seconds"),
        ),
    )
    with st.container(horizontal=True):
        for label, value, help_ in cells:
            st.metric(label, value, border=True, help=help_)
    facts = [ours.model_name or view.model.hf_id]
    facts += [f"{ours.suite.name} {ours.suite.version}"] if ours.suite else []
    facts += [f"group {ours.group}"] if ours.group else []
    facts += [f"{view.model.architecture} on {view.model.device}", wording.stamp(view.created_at)]
    st.caption(" · ".join(wording.plain(fact) for fact in facts))
    if origin := prompt_facts.origin(view):
        st.info(origin, icon=":material/history:")
    for warning in (one for one in view.warnings if one != WARNING):
        st.warning(f"{wording.plain(warning.code)}: {wording.plain(warning.message)}", icon=":material/warning:")


def _shown(value: float | None, scale: float, digits: int) -> str:
    return "–" if value is None else f"{value * scale:.{digits}f}"


def _why(view: PromptView, name: str) -> str | None:
    reason = view.why(f"model_health.timing.{name}")
    return f"Not measured: {reason}" if reason else None


def _show(view_name: str, step: int | None, layer: int | None) -> None:
    st.session_state["view"] = view_name
    if step is not None:
        st.session_state["step"] = step
    if layer is not None:
        st.session_state["layer"] = layer


def _findings(view: PromptView) -> None:
    for number, seen in enumerate(prompt_facts.sightings(view)):
        left, right = st.columns([5, 1], vertical_alignment="center")
        box, mark = (left.error, "✖") if seen.grave else (left.warning, "▲")
        box(f"{mark} {wording.plain(seen.says)}")
        if seen.step is not None:
            goal = "Layers" if seen.layer is not None else "Tokens"
            right.button(
                "Show it", key=f"sighting-{number}", on_click=_show, args=(goal, seen.step, seen.layer), width="stretch"
            )
    flags = prompt_facts.flag_rows(view)
    if flags:
        st.caption("Flags: " + " · ".join(f"{row['Flag']} ({row['Means here']})" for row in flags).replace("_", "\\_"))
    elif view.ours.failing is not None:
        st.caption("No flag was raised.")


st.title("Prompt")
view = chosen_report()
if view.ours.run_id and "run" in st.query_params:
    links.link("All prompts of this run", "run", run=st.query_params["run"], icon=":material/arrow_back:")
_head(view)
_findings(view)
which = st.segmented_control(
    "View", VIEWS, default=VIEWS[0], required=True, key="view", bind="query-params", label_visibility="collapsed"
)
hidden = data.settings().hide_text
if which == "Layers":
    prompt_sections.layers(view)
elif which == "Prompt":
    prompt_sections.prompt(view, hidden=hidden)
elif which == "Not measured":
    prompt_sections.gaps(view)
else:
    prompt_sections.tokens(view, hidden=hidden)
_open_by_path()
