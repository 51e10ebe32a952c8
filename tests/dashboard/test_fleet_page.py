"""The Fleet page: who is silent, who is sick, and where to click; empty, filtered, searched, ordered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import fleet_rows
from fleet_data import Expected
from fleet_rows import Condition
from model_health.store.index.fleet import FleetRow, fleet
from model_health.store.index.index import Index
from support.comparisons import made, record
from support.dashboard_history import night, present
from support.operations import deliveries, record_self_test
from support.pages import column, told

Opener = Callable[..., AppTest]
PAGE = "app_pages/fleet"


@pytest.fixture(scope="module")
def rows(home: Path) -> dict[str, FleetRow]:
    with Index.open(home / "index.db") as index, index.reading("test") as connection:
        return {row.model: row for row in fleet(connection, present())}


def conditions(page: AppTest) -> dict[str, str]:
    return dict(zip(column(page, "Model"), column(page, "State"), strict=True))


# ----------------------------------------------------------------------------------------------------------- nothing
def test_without_an_index_the_page_says_how_to_begin(index_path: Path, page: Opener) -> None:
    shown = page(PAGE)
    assert not shown.exception
    assert "No run has been recorded yet" in told(shown)
    assert [box.value for box in shown.code] == ["make run", "make demo"]
    assert not index_path.exists()


def test_a_damaged_index_is_said_in_one_line(index_path: Path, page: Opener) -> None:
    index_path.write_bytes(b"this is not a database, not even a little one" * 40)
    shown = page(PAGE)
    assert not shown.exception
    assert len(shown.error) == 1


# -------------------------------------------------------------------------------------------------------------- page
def test_silence_comes_before_sickness(full: Path, page: Opener) -> None:
    shown = page(PAGE)
    assert not shown.exception
    assert not shown.markdown, "a page's own strings must not be drawn"
    assert "No report: 1 of 7. silent on core (the last report is 5 d old)" in shown.error[0].value.replace("\\", "")
    assert column(shown, "Model")[:3] == ["silent", "sick", "broken"]
    assert conditions(shown) == {
        "silent": "! no report",
        "sick": "✖ failing",
        "broken": "∅ not measured",
        "calm": "✔ healthy",
        "shifted": "✔ healthy",
        "mute": "✔ healthy",
        "young": "✔ healthy",
    }
    assert {box.label: box.value for box in shown.metric}["✔ healthy"] == "4"


def test_each_row_says_why_since_when_and_what_is_open(full: Path, page: Opener) -> None:
    shown = page(PAGE, order="by model")
    models = column(shown, "Model")
    assert models == sorted(models)
    why = dict(zip(models, column(shown, "Why"), strict=True))
    assert why["sick"] == "gate repetition-loop; repetition_loop_detected ×2"
    assert why["broken"] == "no disk <b>left</b>"
    since = dict(zip(models, column(shown, "Verdict since"), strict=True))
    assert since["sick"] == "10 min, was healthy"
    assert since["calm"].endswith("never another")
    alerts = dict(zip(models, column(shown, "Open alerts"), strict=True))
    assert list(alerts["sick"]) == ["✖ repetition-loop"]


def test_sparklines_are_of_what_was_measured(full: Path, page: Opener) -> None:
    shown = page(PAGE, order="by model")
    lines = dict(zip(column(shown, "Model"), column(shown, "Mean entropy (bits)"), strict=True))
    assert len(lines["calm"]) >= 29
    assert len(lines["young"]) == 1
    assert lines["mute"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "REPETITION"}, ["sick"]),
        ({"q": "core silent"}, ["silent"]),
        ({"states": "failing"}, ["sick"]),
        ({"order": "longest silent first", "q": "silent"}, ["silent"]),
        ({"states": "failing", "q": "calm"}, []),
    ],
)
def test_what_is_searched_and_chosen_is_in_the_address(
    full: Path, page: Opener, query: dict[str, str], expected: list[str]
) -> None:
    shown = page(PAGE, **query)
    assert [*(column(shown, "Model") if expected else ())] == expected
    assert bool(shown.dataframe) == bool(expected)


def test_a_search_that_finds_nothing_says_so(full: Path, page: Opener) -> None:
    shown = page(PAGE, q="nobody of this name")
    assert not shown.exception
    assert "No model matches" in told(shown)


def test_data_that_was_made_up_says_so(index: Index, page: Opener) -> None:
    with index.transaction("test") as connection:
        night(connection, "synthetic-calm", present())
    assert "made up" in told(page(PAGE))


# -------------------------------------------------------------------------------------------------------------- rows
def line(row: FleetRow, now: datetime | None = None) -> fleet_rows.Line:
    return fleet_rows.lines([row], Expected(), now or present())[0]


def test_a_model_is_silent_only_beyond_its_window(rows: dict[str, FleetRow]) -> None:
    heard = fleet_rows.heard_at(rows["calm"])
    assert heard is not None
    assert line(rows["calm"], heard + timedelta(hours=2)).condition is Condition.HEALTHY
    assert line(rows["calm"], heard + timedelta(hours=2, seconds=1)).condition is Condition.NO_REPORT


def test_what_is_not_scheduled_any_more_is_silent_without_noise(rows: dict[str, FleetRow]) -> None:
    found = fleet_rows.lines([rows["silent"], rows["calm"]], Expected(frozenset({("calm", "core")})), present())
    assert [(one.model, one.condition) for one in found] == [
        ("calm", Condition.HEALTHY),
        ("silent", Condition.RETIRED),
    ]
    assert fleet_rows.headline(found)[1] is Condition.HEALTHY


def test_what_is_scheduled_and_never_ran_is_loud(rows: dict[str, FleetRow]) -> None:
    found = fleet_rows.lines([rows["calm"]], Expected(frozenset({("calm", "core"), ("never", "core")})), present())
    assert [(one.model, one.condition, one.why) for one in found] == [
        ("never", Condition.NO_REPORT, "scheduled, and never ran"),
        ("calm", Condition.HEALTHY, ""),
    ]
    assert fleet_rows.rows(found, present(), ["entropy_bits_mean"])[0]["Last report"] is None


def test_all_well_is_said_in_one_line(rows: dict[str, FleetRow]) -> None:
    says, worst = fleet_rows.headline([line(rows["calm"]), line(rows["shifted"])])
    assert (says, worst) == ("All 2 are healthy, and every one was heard of in its window.", Condition.HEALTHY)
    assert fleet_rows.headline([])[1] is Condition.INCONCLUSIVE


def test_no_two_conditions_look_alike() -> None:
    for attribute in ("word", "mark"):
        assert len({getattr(condition.value, attribute) for condition in Condition}) == len(Condition)


def test_what_is_stuck_tested_and_compared_stands_in_its_row(index: Index, tmp_path: Path, page: Opener) -> None:
    with index.transaction("test") as connection:
        key = night(connection, "tiny", present() - timedelta(minutes=5), suite="smoke")
    deliveries(index, present())
    record_self_test(index, present() - timedelta(days=1), passed=False)
    record(index, tmp_path, made(noise=0.5, first_state=2), at=present())
    assert key
    shown = page(PAGE)
    assert not shown.exception
    assert column(shown, "Self-test")[0].startswith("✖ 1 faults under the same configuration were missed, 1 d ago")
    assert column(shown, "Baseline") == ["✖ inconclusive at layer.1"]
    assert column(shown, "State") == ["▲ warning"]
    assert "the self-test fell short; other than its baseline" in column(shown, "Why")[0]
