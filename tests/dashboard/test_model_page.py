"""The Model page: trends against bands, what happened, latencies, flags, two parts, runs; and nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import model_charts
import model_rows
from model_data import Changes, MetricHistory
from model_health.baseline.annotations import level_changes
from model_health.baseline.bands import bands
from model_health.baseline.document import Provenance
from model_health.baseline.registry import Promotion
from model_health.store.index.index import Index
from model_health.store.index.selection import Selection
from model_health.store.index.trends import TrendQuery, trend
from support.dashboard_history import present
from support.pages import column, told

Opener = Callable[..., AppTest]
PAGE = "app_pages/model"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def shifted(home: Path) -> MetricHistory:
    """The entropy of the model whose level changed, by day."""
    query = TrendQuery(Selection("shifted", "core"), "entropy_bits_mean")
    with Index.open(home / "index.db") as index, index.reading("test") as connection:
        found = trend(connection, query, step=DAY)
        stretches = bands(connection, query, DAY, [present() - 12 * DAY])
    return MetricHistory(found, tuple(stretches), tuple(level_changes(found)))


# ----------------------------------------------------------------------------------------------------------- nothing
def test_without_an_index_the_page_says_how_to_begin(index_path: Path, page: Opener) -> None:
    shown = page(PAGE)
    assert not shown.exception
    assert "No run has been recorded yet" in told(shown)
    assert not index_path.exists()


def test_a_damaged_index_is_said_in_one_line(index_path: Path, page: Opener) -> None:
    index_path.write_bytes(b"this is not a database, not even a little one" * 40)
    shown = page(PAGE)
    assert not shown.exception
    assert len(shown.error) == 1


@pytest.mark.parametrize("asked", [{"model": "nobody", "suite": "core"}, {"model": "calm", "suite": "none"}])
def test_an_unknown_model_is_said_to_be_unknown(full: Path, page: Opener, asked: dict[str, str]) -> None:
    shown = page(PAGE, **asked)
    assert not shown.exception
    assert f"holds no run of {asked['model']} on {asked['suite']}" in told(shown)


# ------------------------------------------------------------------------------------------------------------- trends
def test_the_first_line_says_how_the_model_stands(full: Path, page: Opener) -> None:
    shown = page(PAGE, model="sick", suite="core")
    assert not shown.exception
    assert not [box for box in shown.markdown if "`" in box.value], "a page's own strings must not be drawn"
    first = shown.error[0].value.replace("\\", "")
    assert first == "**✖ failing: gate repetition-loop; repetition_loop_detected ×2.**"


def test_a_trend_tells_what_is_out_of_band_and_what_happened(full: Path, page: Opener) -> None:
    shown = page(PAGE, model="shifted", suite="core", time="90 days")
    assert not shown.exception
    assert shown.query_params["metric"] == "entropy_bits_mean"
    readings = column(shown, "Reading")
    assert readings[0] == "in band"
    assert readings[-1] == "out of band"
    what = set(column(shown, "What"))
    assert what == {"◆ revision", "■ library", "▼ device or configuration", "✚ level changed"}
    assert "revision: main → v2" in column(shown, "Change")
    cards = {box.label: (box.value, box.delta) for box in shown.metric}
    assert cards["Mean entropy (bits)"][1] == "✖ out of band"
    assert cards["Time per output token (seconds)"] == ("0.03", "✔ in band")


def test_time_metric_and_filters_are_restored_from_the_address(full: Path, page: Opener) -> None:
    asked = {
        "time": "between two days",
        "from": f"{present() - 30 * DAY:%Y-%m-%d}",
        "to": f"{present() - 25 * DAY:%Y-%m-%d}",
    }
    shown = page(PAGE, model="shifted", suite="core", metric="time_per_output_token_seconds", revision="main", **asked)
    assert not shown.exception
    assert shown.selectbox(key="revision").value == "main"
    assert shown.selectbox(key="choose_metric").value == "time_per_output_token_seconds"
    times = column(shown, "From")
    assert {at.date() for at in times} <= {(present() - n * DAY).date() for n in range(25, 31)}
    assert len(times) >= 5


def test_what_was_never_measured_is_listed_with_its_reason(full: Path, page: Opener) -> None:
    shown = page(PAGE, model="mute", suite="core")
    assert not shown.exception
    assert column(shown, "Metric") == ["Mean attention entropy (bits)", "Mean entropy (bits)"]
    assert column(shown, "Reason") == ["attention is not dispatched", "logits of this family are not seen"]
    asked = page(PAGE, model="mute", suite="core", metric="entropy_bits_mean")
    assert not asked.exception
    assert "entropy_bits_mean was not measured in this time" in told(asked)


def test_one_run_has_a_point_and_no_band(full: Path, page: Opener) -> None:
    shown = page(PAGE, model="young", suite="core", time="everything")
    assert not shown.exception
    assert column(shown, "Reading") == ["no band"]
    assert "No band now: 1 healthy steps since then, fewer than 8" in told(shown)


def test_a_time_in_which_nothing_ran_says_so(full: Path, page: Opener) -> None:
    shown = page(PAGE, model="silent", suite="core", time="24 hours")
    assert not shown.exception
    assert "Nothing of silent on core matches" in told(shown)
    assert "! no report" in shown.error[0].value.replace("\\", "")


# -------------------------------------------------------------------------------------------------------- other views
def test_latencies_have_percentiles(full: Path, page: Opener) -> None:
    shown = page(PAGE, model="calm", suite="core", view="Latency")
    assert not shown.exception
    assert [(box.label, box.value) for box in shown.metric][:2] == [
        ("p50, newest step (s)", "0.02"),
        ("p95, newest step (s)", "0.04"),
    ]
    assert set(column(shown, "p99")) == {0.04}


def test_flags_have_rates_and_runs_have_verdicts(full: Path, page: Opener) -> None:
    shown = page(PAGE, model="sick", suite="core", view="Flags")
    assert not shown.exception
    rates = dict(zip(column(shown, "Flag"), column(shown, "Part"), strict=True))
    assert rates["nan_detected"] == 0.0
    assert max(column(shown, "Part")) == 1.0
    assert {"healthy", "unhealthy"} == set(column(shown, "Verdict"))
    calm = page(PAGE, model="calm", suite="core", view="Flags")
    assert "No prompt raised a flag" in told(calm)


@pytest.mark.parametrize("by", ["two revisions", "two devices", "two times"])
def test_two_parts_stand_side_by_side(full: Path, page: Opener, by: str) -> None:
    days = [present() - n * DAY for n in (35, 25, 15, 5)]
    names = ("from1", "to1", "from2", "to2")
    asked = {name: f"{day:%Y-%m-%d}" for name, day in zip(names, days, strict=True)} if by == "two times" else {}
    shown = page(PAGE, model="shifted", suite="core", view="Two parts", by=by, **asked)
    assert not shown.exception
    rows = dict(zip(column(shown, "Metric"), column(shown, "Change"), strict=True))
    assert rows["Mean entropy (bits)"] == pytest.approx(0.8, abs=0.1)
    assert column(shown, "Metric")[0] == "Mean entropy (bits)", "the largest change comes first"


def test_where_there_are_not_two_the_page_says_how_many(full: Path, page: Opener) -> None:
    shown = page(PAGE, model="calm", suite="core", view="Two parts", by="two revisions")
    assert not shown.exception
    assert "not two revisions to compare, only 1: main" in told(shown)


def test_runs_are_listed_page_by_page_and_by_verdict(full: Path, page: Opener) -> None:
    shown = page(PAGE, model="sick", suite="core", view="Runs")
    assert column(shown, "State")[0] == "✖ unhealthy"
    assert "11 runs match" in told(shown)
    healthy = page(PAGE, model="sick", suite="core", view="Runs", verdict="healthy")
    assert set(column(healthy, "State")) == {"✔ healthy"}
    broken = page(PAGE, model="broken", suite="core", view="Runs")
    assert column(broken, "Why")[0] == "no disk <b>left</b>"
    assert column(broken, "Reports")[1] == "✔ valid"


# --------------------------------------------------------------------------------------------------------------- pure
def test_a_band_begins_anew_with_each_promotion(shifted: MetricHistory) -> None:
    readings = {row["From"]: row["Reading"] for row in model_rows.trend_rows(shifted)}
    at = sorted(readings)
    assert readings[at[0]] == "in band"
    assert readings[at[25]] == "out of band", "after the change and before the promotion"
    assert readings[at[-1]] == "in band", "what was promoted has a level of its own"


def test_promotions_are_notes_with_who_and_why(shifted: MetricHistory) -> None:
    promotion = Promotion(
        number=1,
        model_name="shifted",
        suite="core",
        baseline_id="ab" * 16,
        replaced=None,
        promoted_at=present(),
        provenance=Provenance(by="ann", reason="new weights"),
    )
    found = model_rows.notes(Changes((promotion,), (), ()), shifted, ["promotion", "level"])
    assert [note.kind for note in found] == ["level", "promotion"]
    assert found[-1].says == "baseline abababababab promoted by ann: new weights"
    assert model_rows.notes(Changes((promotion,), (), ()), shifted, []) == []


def test_every_kind_of_note_has_a_shape_and_a_word_of_its_own() -> None:
    assert set(model_rows.KINDS) == set(model_rows.SHAPES)
    assert len({look.word for look in model_rows.KINDS.values()}) == len(model_rows.KINDS)
    assert len(set(model_rows.SHAPES.values())) == len(model_rows.SHAPES)


@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_trend_is_a_whole_chart_whatever_it_gets(shifted: MetricHistory, count: int) -> None:
    notes = [model_rows.Note(present() - n * DAY / 4, "level", "from 1 to 2") for n in range(count)]
    spec = model_charts.trend(
        shifted, notes, "Mean entropy (bits)", model_rows.Span(None, None), present(), spread=True
    )
    told = spec.to_dict()["title"]["subtitle"][0]
    assert ("the newest 60 of 100 changes are marked" in told) == (count == 100)
    empty = MetricHistory(type(shifted.trend)(DAY, ()), (), ())
    assert model_charts.trend(empty, notes, "x", model_rows.Span(present() - DAY, None), present()).to_dict()["layer"]


@pytest.mark.parametrize(
    ("choice", "days", "since", "until"),
    [
        ("24 hours", [], timedelta(days=1), None),
        ("everything", [], None, None),
        ("a word of an old link", [], timedelta(days=30), None),
        ("between two days", [], timedelta(days=30), None),
    ],
)
def test_a_choice_of_time_is_a_span(
    choice: str, days: list[date], since: timedelta | None, until: datetime | None
) -> None:
    now = datetime(2026, 11, 22, 12, 30, 15, tzinfo=UTC)
    found = model_rows.span_for(choice, days, now)
    assert found.since == (None if since is None else now.replace(second=0) - since)
    assert found.until is until


def test_days_are_whole_in_either_order() -> None:
    found = model_rows.span_for("between two days", [date(2026, 3, 5), date(2026, 3, 1)], present())
    assert found == model_rows.Span(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 6, tzinfo=UTC))
