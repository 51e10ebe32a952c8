"""The four views of a prompt's report: tokens, layers, the prompt itself, what was not measured. Widgets only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

import grids
import layer_charts
import links
import prompt_facts
import step_charts
import token_text
import widgets
import wording
from views import LAYER_METRICS, PromptView, measured


def tokens(view: PromptView, *, hidden: bool) -> None:
    """The text with its numbers, and one token looked at."""
    if not len(view.steps):
        widgets.nothing("No token was generated.", view.why("timeline"))
        return
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        named = st.segmented_control(
            "Coloured by",
            ["Surprisal", "Entropy"],
            default="Surprisal",
            required=True,
            key="colour",
            bind="query-params",
        )
    with right:
        step = links.number(
            "Step", "step", len(view.steps), help="The token that is framed in the text; 0 is the prefill's"
        )
    by = token_text.colouring(view, named.lower())
    if hidden:
        st.caption(":material/visibility_off: Texts are hidden in this installation (`hide_text`).")
    if not np.isfinite(by.values).any():
        st.warning(f"{by.title} was not measured: {wording.plain(view.why_none('timeline.logits_summary'))}")
    with st.container(border=True):
        st.html(token_text.text_html(view, by, chosen=step, hidden=hidden))
    st.caption(
        f"Point at a token for its numbers. {token_text.says(view, step, hidden=True)[:1].upper()}"
        f"{wording.plain(token_text.says(view, step, hidden=True)[1:])}."
    )

    first, second = st.columns(2)
    with first:
        widgets.chart(
            step_charts.entropy_chart(view, step), "entropy", "Entropy and surprisal in bits at every step of the text"
        )
    with second:
        widgets.chart(
            step_charts.margin_chart(view, step),
            "margin",
            "Margin between the two likeliest tokens, and mass of the top",
        )
    first, second = st.columns(2)
    with first:
        shares = prompt_facts.candidate_shares(view, step, hidden=hidden)
        if shares:
            widgets.chart(
                step_charts.candidates_chart(shares, step),
                "candidates",
                "The most likely tokens of this step, by probability",
            )
        else:
            why = view.why("timeline.logits_summary", step) or view.why("timeline.logits_summary.entropy", step)
            st.info(f"Not measured: {wording.plain(why or 'the report names no candidates')}")
    with second:
        if np.isfinite(view.steps.final_norm).any():
            widgets.chart(
                step_charts.norm_chart(view.steps.final_norm, step), "final", "L2 norm of the final state at every step"
            )
        else:
            why_not = view.why_none("model_health.final_hidden_l2_norm")
            st.info(f"Not measured: {wording.plain(why_not)}")
    st.markdown("##### All steps")
    rows = prompt_facts.step_rows(view, hidden=hidden)
    widgets.table(
        rows,
        "steps",
        says="One row per generated token",
        columns={
            name: st.column_config.NumberColumn(format="%.3f") for name in rows[0] if "(bits)" in name or "Top" in name
        },
        height=400 if len(rows) > 10 else None,
    )


def layers(view: PromptView) -> None:
    """One number of every layer at every step, and its two cuts."""
    if not view.layer_count:
        widgets.nothing("The report holds no layers.", view.why("timeline.layers"))
        return
    known = measured(view)
    titles = {one.title: one for one in known}
    first, second, third = st.columns([3, 1, 1], vertical_alignment="bottom")
    with first:
        picked = st.selectbox("Metric", list(titles), key="metric", bind="query-params")
    with second:
        layer = links.number("Layer", "layer", view.layer_count, help="0 is the first block, never the embedding")
    with third:
        step = links.number("Step", "step", len(view.steps), help="0 is the prefill")
    metric = titles[picked]
    matrix = view.layers[metric.name]
    grid = grids.reduce(matrix, view.bad, worst=metric.worst)
    marks = ["✖: not finite"] if view.bad.any() else []
    grey = bool((~np.isfinite(matrix) & ~view.bad).any())
    marks += ["Grey: not measured"] if grey else []
    widgets.chart(
        layer_charts.heatmap(
            grid,
            metric.heading,
            notes=[note for note in (grid.says(metric.worst, "layer", "step"), " · ".join(marks)) if note],
            x=step_charts.STEP,
            y=layer_charts.LAYER,
            log=metric.log,
            marked="NaN or Inf was seen",
            chosen=(layer, step),
        ),
        "heatmap",
        f"{metric.heading} of every layer at every step",
    )
    if grey:
        st.caption(f"Grey is not measured: {wording.plain(_reasons(view, metric.part))}.")
    absent = [one.title.lower() for one in LAYER_METRICS if one not in known and one.name != "cross"]
    if absent:
        why = view.why_none("timeline.layers.attention_summary")
        st.caption(f"Not measured: {wording.plain(', '.join(absent))} ({wording.plain(why)}).")
    left, right = st.columns(2)
    with left:
        widgets.chart(
            layer_charts.profile(matrix[:, step], metric, layer_charts.LAYER, f"All layers at step {step}", layer),
            "by-layer",
            f"{metric.title} by layer",
        )
    with right:
        widgets.chart(
            layer_charts.profile(matrix[layer], metric, step_charts.STEP, f"Layer {layer} at all steps", step),
            "by-step",
            f"{metric.title} by step",
        )
    widgets.save(
        [
            {"Layer": row, **{f"Step {column}": prompt_facts.number(value) for column, value in enumerate(values)}}
            for row, values in enumerate(matrix)
        ],
        f"{metric.name}-by-layer-and-step",
    )
    if metric.name in view.encoder:
        widgets.chart(
            layer_charts.profile(view.encoder[metric.name], metric, "Encoder layer", "Encoder, in its one pass"),
            "encoder",
            "The same of the encoder",
        )
    routers = prompt_facts.router_rows(view)
    if routers:
        st.markdown("##### Routers")
        widgets.table(
            routers,
            "routers",
            says="One row per router of the mixture of experts",
            columns={
                "Entropy (bits)": st.column_config.NumberColumn(format="%.3f"),
                "Busiest expert (%)": st.column_config.NumberColumn(format="%.1f"),
            },
        )


def prompt(view: PromptView, *, hidden: bool) -> None:
    """What was read of the prompt itself, before the first token."""
    if hidden:
        st.caption(":material/visibility_off: Texts are hidden in this installation (`hide_text`).")
    else:
        with st.container(border=True):
            st.text(view.prompt.text)
    analysis = view.analysis
    if analysis is None:
        st.info(f"Not measured: {wording.plain(view.why_none('prompt_analysis'))}")
        return
    attended = [number for number, one in enumerate(analysis.layers) if any(head.weights for head in one.heads)]
    if attended:
        first, second, _ = st.columns([1, 1, 2])
        with first:
            layer = links.number("Layer", "layer", len(analysis.layers))
        heads = analysis.layers[layer].heads
        with second:
            head = links.number("Head", "head", len(heads))
        if heads and heads[head].weights:
            count = len(heads[head].weights)
            note = f"Its {count} largest weights" if count > 1 else "Its largest weight"
            drawn = layer_charts.sparse_attention(
                heads[head],
                view.prompt.num_tokens,
                f"Attention over the prompt: layer {layer}, head {head}",
                f"{note}; a report keeps no others",
            )
            widgets.chart(drawn, "sparse", f"The largest attention weights of head {head} in layer {layer}, by token")
        else:
            why = view.why("prompt_analysis.layers.heads", layer=layer) or view.why(
                "prompt_analysis.layers", layer=layer
            )
            st.info(f"Not measured in layer {layer}: {wording.plain(why or 'no weight was kept')}")
    else:
        st.info(f"Not measured: {wording.plain(view.why_none('prompt_analysis.layers.heads'))}")
    left, right = st.columns(2)
    with left:
        _basins(view, [one.basin_scores for one in analysis.layers])
    with right:
        _bars(
            view,
            analysis.layer_transformations,
            "layer_transformations",
            "Block (compared with the one before)",
            "1 - cosine similarity",
            "Change from layer to layer",
        )
    _bars(
        view,
        analysis.prompt_surprisals,
        "prompt_surprisals",
        "Prompt token",
        "Surprisal (bits)",
        "Surprisal of the prompt",
    )


def gaps(view: PromptView) -> None:
    """Everything that was not measured, with its reason."""
    rows = prompt_facts.gap_rows(view)
    if not rows:
        st.success("Everything was measured.", icon=":material/check:")
        return
    widgets.table(
        rows,
        "not-measured",
        says="What was not measured, and why",
        columns={
            "Not measured": st.column_config.TextColumn(width="medium"),
            "Reason": st.column_config.TextColumn(width="large"),
        },
    )


def _basins(view: PromptView, scores: Sequence[Sequence[float]]) -> None:
    heads = max((len(one) for one in scores), default=0)
    if not heads:
        st.info(f"Not measured: {wording.plain(view.why_none('prompt_analysis.layers.basin_scores'))}")
        return
    matrix = np.full((len(scores), heads), np.nan)
    for number, one in enumerate(scores):
        matrix[number, : len(one)] = one
    grid = grids.reduce(matrix)
    note = grid.says("largest", "layer", "head")
    drawn = layer_charts.heatmap(grid, "Basin scores", notes=[note] if note else [], x="Head", y=layer_charts.LAYER)
    widgets.chart(drawn, "basins", "Basin score of every head in every layer")


def _bars(view: PromptView, values: Sequence[float], part: str, x: str, y: str, title: str) -> None:
    if values:
        widgets.chart(layer_charts.bars(values, x, y, title, first=1), part, f"{title}: {y} along: {x}")
        return
    why = view.why(f"prompt_analysis.{part}")
    st.info(f"{title}: {f'not measured: {wording.plain(why)}' if why else 'there is nothing to measure.'}")


def _reasons(view: PromptView, part: str) -> str:
    """The reasons why cells of a heatmap are empty: the first three, each once."""
    found: dict[str, None] = {}
    for entry in view.ours.not_measured:
        if part.startswith(entry.part) or entry.part.startswith(part):
            found.setdefault(entry.reason)
    reasons = list(found)
    return "; ".join(reasons[:3]) + ("; ..." if len(reasons) > 3 else "") or "the report does not say why"
