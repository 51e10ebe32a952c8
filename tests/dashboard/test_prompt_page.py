"""The page of a prompt: every view of every kind of report, what is not measured, and texts that must not act."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import reports
from model_health.report.serialise import to_gzip
from support.dashboards import BAD_LAYER, BAD_STEP, BOLD, SCRIPT, Seeded, long_report
from support.pages import told

Opener = Callable[..., AppTest]
VIEWS = ("Tokens", "Layers", "Prompt", "Not measured")
OLD = [("old/v0.2.0.json.gz", view) for view in VIEWS]
OLD += [("old/v0.3.0.json.gz", "Prompt"), ("old/v0.4.0.json.gz", "Layers"), ("old/many.sqlite", "Tokens")]


def charts(page: AppTest) -> list[str]:
    """The specifications of the charts that were drawn."""
    return [element.proto.spec for element in page.get("vega_lite_chart")]


def markup(page: AppTest) -> str:
    """What the page wrote as HTML."""
    return "".join(element.proto.body for element in page.get("html"))


def metrics(page: AppTest) -> dict[str, str]:
    return {box.label: box.value for box in page.metric}


def open_prompt(page: Opener, **query: str) -> AppTest:
    shown = page("app_pages/prompt", **query)
    assert not shown.exception, shown.exception[0].stack_trace
    return shown


# -------------------------------------------------------------------------------------------------------- which report
def test_without_a_run_the_page_says_how_to_get_one(index_path: Path, page: Opener) -> None:
    shown = open_prompt(page)
    assert "No prompt has been measured yet" in told(shown)
    assert "make run" in told(shown)


def test_without_an_address_the_newest_run_s_sick_prompt_is_shown(on_seeded: Seeded, page: Opener) -> None:
    shown = open_prompt(page)
    assert shown.selectbox(key="choose_run").value == on_seeded.sick
    assert shown.selectbox(key="choose_prompt").value == "overflow"
    assert shown.query_params["prompt"] == "overflow"
    assert metrics(shown)["State"] == "✖ unhealthy"


def test_another_prompt_of_the_run_is_one_choice_away(on_seeded: Seeded, page: Opener) -> None:
    shown = open_prompt(page, run=on_seeded.sick, prompt="overflow", step="7")
    shown.selectbox(key="choose_prompt").select("capital").run()
    assert not shown.exception
    assert metrics(shown)["State"] == "✔ healthy"
    assert "No flag was raised" in told(shown)


def test_a_prompt_that_is_not_there_is_said_in_one_line(on_seeded: Seeded, page: Opener) -> None:
    shown = open_prompt(page, run=on_seeded.sick, prompt="gone")
    assert len(shown.error) == 1
    assert "cannot be read" in shown.error[0].value
    assert "\n" not in shown.error[0].value


def test_a_run_without_reports_leads_to_its_own_page(on_seeded: Seeded, page: Opener) -> None:
    shown = open_prompt(page, run=on_seeded.failed)
    assert "There is no report of the run" in told(shown)


def test_a_report_that_the_index_does_not_know_opens_from_the_store(
    on_seeded: Seeded, page: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_HEALTH_INDEX_URL", f"sqlite:///{tmp_path / 'none.db'}")
    shown = open_prompt(page, run=on_seeded.sick)
    assert shown.selectbox(key="choose_prompt").options == ["capital", "overflow", "story"]


# --------------------------------------------------------------------------------------------------------- every view
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_a_report_is_drawn(on_seeded: Seeded, page: Opener, view: str) -> None:
    shown = open_prompt(page, run=on_seeded.sick, prompt="overflow", view=view)
    assert not [box for box in shown.error if "cannot be read" in box.value]
    assert bool(charts(shown)) is (view != "Not measured")


def test_non_finite_values_stand_out_by_first_step_and_layer_and_one_click_goes_there(
    on_seeded: Seeded, page: Opener
) -> None:
    shown = open_prompt(page, run=on_seeded.sick, prompt="overflow")
    said = [box.value.replace("\\", "") for box in shown.error]
    assert said == [
        f"NaN in a hidden state, first at step {BAD_STEP} and layer {BAD_LAYER}",
        f"NaN in the logits, first at step {BAD_STEP + 1}",
    ]
    next(button for button in shown.button if button.label == "Show it").click()
    shown.run()
    assert shown.number_input(key="layer").value == BAD_LAYER
    assert shown.number_input(key="step").value == BAD_STEP
    assert any("L2 norm of the hidden state" in spec for spec in charts(shown))


def test_the_text_marks_loops_high_entropy_and_the_chosen_step(on_seeded: Seeded, page: Opener) -> None:
    shown = open_prompt(page, run=on_seeded.sick, prompt="story", step="9")
    body = markup(shown)
    assert len(re.findall(r'class="t[^"]*\bloop\b', body)) == 20
    assert "⟲ every 4, 20 tokens" in body
    assert len(re.findall(r'class="t[^"]*\bhigh\b', body)) == 4
    assert len(re.findall(r'class="t[^"]*\bhere\b', body)) == 1
    assert "entropy 9.10 bits" in told(shown)


def test_the_colour_can_be_entropy(on_seeded: Seeded, page: Opener) -> None:
    by_entropy = markup(open_prompt(page, run=on_seeded.sick, prompt="story", colour="Entropy"))
    assert "Entropy: 0" in by_entropy
    assert by_entropy != markup(open_prompt(page, run=on_seeded.sick, prompt="story"))


@pytest.mark.parametrize(("step", "kept"), [("23", 23), ("24", 23), ("x", 0)])
def test_a_step_that_the_report_lacks_does_no_harm(on_seeded: Seeded, page: Opener, step: str, kept: int) -> None:
    shown = open_prompt(page, run=on_seeded.sick, prompt="capital", step=step)
    assert shown.number_input(key="step").value == kept


def test_a_step_stays_within_a_shorter_report(on_seeded: Seeded, page: Opener) -> None:
    shown = open_prompt(page, run=on_seeded.sick, prompt="story", step="39")
    shown.selectbox(key="choose_prompt").select("capital").run()
    assert not shown.exception
    assert shown.number_input(key="step").value == 23


def test_what_attention_does_not_show_is_said_with_its_reason(on_seeded: Seeded, page: Opener) -> None:
    layers = open_prompt(page, run=on_seeded.other, view="Layers", metric="L2 norm of the hidden state")
    assert "attention of this family is not dispatched" in told(layers)
    gaps = open_prompt(page, run=on_seeded.other, view="Not measured")
    rows = gaps.dataframe[0].value
    assert "attention of this family is not dispatched" in rows["Reason"].tolist()
    assert not rows["Reason"].isna().any()


def test_an_encoder_has_its_own_chart(on_seeded: Seeded, page: Opener) -> None:
    shown = open_prompt(page, run=on_seeded.other, view="Layers")
    assert any("Encoder layer" in spec for spec in charts(shown))


# --------------------------------------------------------------------------------------------------------- old reports
@pytest.mark.parametrize(("path", "view"), OLD)
def test_an_old_report_opens_by_its_path_and_says_what_it_is(
    on_seeded: Seeded, page: Opener, path: str, view: str
) -> None:
    shown = open_prompt(page, report=path, view=view)
    assert not shown.error
    assert "Read from a trace of version" in told(shown)
    assert metrics(shown)["State"] == "? not judged"


def test_a_file_of_several_reports_lets_one_choose(on_seeded: Seeded, page: Opener) -> None:
    shown = open_prompt(page, report="old/many.sqlite")
    assert len(shown.selectbox(key="choose_trace").options) == 2


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("old/broken.json", "cannot be read"),
        ("old/none.json", "not found"),
        ("../index.db", "not a path below the store"),
        ("/etc/hostname", "not a path below the store"),
    ],
)
def test_a_path_that_holds_no_report_is_said_in_one_line(on_seeded: Seeded, page: Opener, path: str, says: str) -> None:
    shown = open_prompt(page, report=path)
    assert len(shown.error) == 1
    assert says in shown.error[0].value.replace("\\", "")


# --------------------------------------------------------------------------------------------------------------- texts
def test_markup_in_a_text_is_text(on_seeded: Seeded, page: Opener) -> None:
    shown = open_prompt(page, run=on_seeded.sick, prompt="capital")
    body = markup(shown)
    assert "<script" not in body
    assert html.escape(SCRIPT) in body
    assert html.escape(BOLD) in body
    prompt = open_prompt(page, run=on_seeded.sick, prompt="capital", view="Prompt")
    assert [box.value for box in prompt.text] == [f"Capital? {SCRIPT}"]
    assert not any(SCRIPT in str(box.value) for box in [*prompt.markdown, *prompt.caption])


@pytest.mark.parametrize("view", VIEWS)
def test_hidden_texts_are_nowhere_on_the_page(
    on_seeded: Seeded, page: Opener, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    monkeypatch.setenv("MODEL_HEALTH_HIDE_TEXT", "true")
    shown = open_prompt(page, run=on_seeded.sick, prompt="story", view=view)
    everything = everything_of(shown)
    for word in ("jumps", "quick", "Tell me a story"):
        assert word not in everything
    if view == "Tokens":
        assert "surprisal" in everything, "the numbers stay"
        assert "Token" not in shown.dataframe[-1].value.columns


def everything_of(page: AppTest) -> str:
    """All that travels to the browser, tables and charts with their data included."""
    frames = [frame.value.to_csv() for frame in page.dataframe]
    assert page.get("vega_lite_chart") or page.dataframe
    protos: list[Any] = [*page.get("vega_lite_chart"), *page.get("html")]
    data = [bytes(dataset.data.data) for chart in page.get("vega_lite_chart") for dataset in chart.proto.datasets]
    return "\n".join([told(page), *frames, *(str(element.proto) for element in protos), *map(repr, data)])


# ---------------------------------------------------------------------------------------------------------------- long
def test_a_long_report_is_reduced_for_display_and_says_so(
    on_seeded: Seeded, page: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "long.json.gz").write_bytes(to_gzip(long_report(steps=1024, layers=32)))
    monkeypatch.setenv("MODEL_HEALTH_STORE_URI", str(tmp_path))
    reports.forget()
    shown = open_prompt(page, report="old/long.json.gz", view="Layers")
    assert metrics(shown)["Tokens"] == "64 + 1024"
    heatmap = next(spec for spec in charts(shown) if "Reduced for display" in spec)
    assert "a cell is the largest of up to 11 steps" in heatmap
    sizes = [len(dataset.data.data) for chart in shown.get("vega_lite_chart") for dataset in chart.proto.datasets]
    assert sum(sizes) < 1_500_000
