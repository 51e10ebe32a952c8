"""Any report makes a view, and any view makes texts, tables and charts: whatever is missing or not finite in it."""

from __future__ import annotations

import html
import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import grids
import layer_charts
import prompt_facts
import step_charts
import token_text
from chart_parts import Drawn, readable
from model_health.metrics.telemetry import PromptTelemetry
from model_health.report.builder import build_report
from model_health.report.extension import Loop
from model_health.report.trace import Trace
from support.dashboards import BAD_LAYER, BAD_STEP, long_report
from support.telemetry import decode, findings, make_facts, make_findings, make_telemetry, telemetries
from views import LAYER_METRICS, PromptView, faulty_steps, first_bad, measured, view_of


def view(**sizes: int) -> PromptView:
    """Of a healthy report."""
    return view_of(build_report(make_telemetry(**sizes), make_findings(), make_facts(), decode))


def charts_of(shown: PromptView) -> list[Drawn]:
    """Every chart of the page."""
    steps, layers = len(shown.steps), shown.layer_count
    charts: list[Drawn] = [step_charts.entropy_chart(shown, 0), step_charts.margin_chart(shown)]
    charts += [step_charts.norm_chart(shown.steps.final_norm)]
    for metric in measured(shown) if layers and steps else ():
        grid = grids.reduce(shown.layers[metric.name], shown.bad, worst=metric.worst)
        charts.append(layer_charts.heatmap(grid, metric.heading, x="Step", y="Layer", log=metric.log, chosen=(0, 0)))
        charts.append(layer_charts.profile(shown.layers[metric.name][0], metric, "Step", "title", 0))
    return charts


def everything(shown: PromptView) -> list[str]:
    """Every chart and table of the page, as the browser gets them."""
    said = [json.dumps(readable(chart), allow_nan=False) for chart in charts_of(shown)]
    said.append(token_text.text_html(shown, token_text.colouring(shown, "entropy"), chosen=0))
    tables = (prompt_facts.step_rows(shown), prompt_facts.gap_rows(shown), prompt_facts.router_rows(shown))
    return said + [json.dumps(table, allow_nan=False) for table in tables]


def test_every_chart_is_what_vega_lite_allows() -> None:
    for chart in charts_of(view(steps=3, layers=2)):
        assert chart.to_dict()["$schema"]


@given(st.data(), telemetries(), findings())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_report_can_be_shown(data: st.DataObject, telemetry: PromptTelemetry, found: object) -> None:
    trace: Trace = build_report(telemetry, found, make_facts(), decode)  # type: ignore[arg-type]
    shown = view_of(trace)
    everything(shown)
    prompt_facts.sightings(shown)
    assert len(shown.steps) == len(trace.timeline)
    for metric in LAYER_METRICS:
        matrix = shown.layers[metric.name]
        assert matrix.shape == shown.bad.shape
        if not np.isfinite(matrix).all() and matrix.size and metric.name != "cross":
            assert shown.why_none(metric.part) != "the report does not say"


def test_numbers_are_those_of_the_report_and_attention_is_in_bits() -> None:
    telemetry = make_telemetry(steps=3, layers=2)
    shown = view_of(build_report(telemetry, make_findings(), make_facts(), decode))
    assert telemetry.logits is not None
    assert telemetry.hidden is not None
    assert shown.steps.entropy == pytest.approx(telemetry.logits.entropy_bits)
    assert shown.layers["l2"] == pytest.approx(telemetry.hidden.l2_norm.T)
    nats = telemetry.attention[1].entropy_nats.mean(axis=1)
    assert shown.layers["entropy"][1] == pytest.approx(nats / np.log(2), rel=1e-5)


def test_the_first_fault_is_the_earliest_step_and_in_it_the_lowest_layer() -> None:
    shown = view(steps=12, layers=8)
    assert first_bad(shown) is None
    shown.bad[6:, BAD_STEP:] = True
    shown.bad[BAD_LAYER, BAD_STEP] = True
    shown.bad[0, BAD_STEP + 1] = True
    assert first_bad(shown) == (BAD_STEP, BAD_LAYER)
    assert faulty_steps(shown).tolist() == [False] * BAD_STEP + [True] * (12 - BAD_STEP)


def test_of_a_long_report_no_chart_has_more_cells_than_a_screen_shows() -> None:
    shown = view_of(long_report(steps=300, layers=60))
    grid = grids.reduce(shown.layers["l2"], shown.bad)
    assert grid.values.size <= grids.MAX_ROWS * grids.MAX_COLUMNS
    assert "4 steps x 2 layers" in grid.says("largest", "layer", "step")


# --------------------------------------------------------------------------------------------------------------- grids
@given(
    st.integers(0, 70),
    st.integers(0, 200),
    st.integers(1, 20),
    st.integers(1, 30),
    st.sampled_from(["largest", "smallest"]),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_reducing_keeps_the_extremes_and_covers_everything(
    rows: int, columns: int, high: int, wide: int, worst: str
) -> None:
    rng = np.random.default_rng(rows * 1000 + columns)
    matrix = rng.normal(size=(rows, columns))
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    marks = rng.random(matrix.shape) < 0.05
    grid = grids.reduce(matrix, marks, worst=worst, max_rows=high, max_columns=wide)
    assert grid.values.shape == (len(grid.rows) - 1, len(grid.columns) - 1)
    assert grid.values.shape[0] <= high
    assert grid.values.shape[1] <= wide
    assert (grid.rows[-1], grid.columns[-1]) == matrix.shape
    extreme = np.nanmax if worst == "largest" else np.nanmin
    if np.isfinite(matrix).any():
        assert extreme(grid.values) == extreme(matrix)
    assert grid.marked.any() == marks.any()
    assert grid.reduced == (grid.values.shape != matrix.shape)
    assert bool(grid.says(worst, "layer", "step")) == grid.reduced


# ---------------------------------------------------------------------------------------------------------------- text
@given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_token_holds_the_page_s_markup_is_its_own(texts: list[str], hidden: bool) -> None:
    shown = view(steps=len(texts))
    steps = type(shown.steps)(**{**shown.steps.__dict__, "texts": tuple(texts)})
    shown = type(shown)(**{**shown.__dict__, "steps": steps})
    body = token_text.text_html(shown, token_text.colouring(shown, "surprisal"), hidden=hidden)
    tags = re.findall(r"<\s*/?\s*([^\s>]*)", body.replace(token_text.STYLE, ""))
    assert set(tags) <= {"div", "/div", "span", "/span", "br"}
    assert body.count("aria-label=") == len(texts)
    if hidden:
        assert not any(len(text) > 4 and html.escape(text) in body for text in texts)


def test_a_loop_that_runs_past_the_end_is_marked_to_the_end() -> None:
    assert token_text.looping([Loop(period=2, start_step=3, length=9, witness="tokens")], 11)
    assert not token_text.looping([Loop(period=2, start_step=3, length=9, witness="tokens")], 12)
