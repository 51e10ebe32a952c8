"""The page about Model Health itself: what has not arrived and what to do, and which faults are caught."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import operations_rows
from model_health.store.index.index import Index
from support.dashboard_history import present
from support.operations import deliveries, record_self_test
from support.pages import column, told

Opener = Callable[..., AppTest]
PAGE = "app_pages/operations"


@pytest.mark.parametrize("part", ["Delivery", "Self-test"])
def test_with_nothing_the_page_says_how_there_would_be_something(index: Index, page: Opener, part: str) -> None:
    shown = page(PAGE, part=part)
    assert not shown.exception
    assert not shown.error
    assert ("Nothing was ever" if part == "Delivery" else "has not been tested yet") in told(shown)


def test_what_was_given_up_and_what_is_stuck_come_first_with_the_command_that_helps(index: Index, page: Opener) -> None:
    deliveries(index, present())
    shown = page(PAGE)
    assert not shown.exception
    assert not shown.markdown, "a page's own strings must not be drawn"
    first, second = (box.value.replace("\\", "") for box in shown.error)
    assert first == "prometheus: 1 delivery was given up; `model-health outbox retry --target prometheus` tries again."
    assert second.startswith("datadog: 1 delivery waits, the oldest for 3 h")
    assert column(shown, "Target")[:2] == ["datadog", "prometheus"]
    assert column(shown, "State")[:2] == ["▲ stuck", "✖ given up"]
    assert column(shown, "Last error") == ["503 from the intake", "400 Bad Request <i>unknown label</i>"]
    assert sorted(column(shown, "Outcome")) == ["▲ failed for now", "✔ delivered", "✔ delivered", "✖ refused"]
    assert "2 of 4 tries of the last two weeks did not arrive" in told(shown)


def test_where_all_arrived_the_page_says_so(index: Index, page: Opener) -> None:
    deliveries(index, present(), dead=False, stuck=False)
    shown = page(PAGE)
    assert not shown.error
    assert "Nothing is stuck" in shown.success[0].value
    assert "No item is in any of these states" in told(shown)
    delivered = page(PAGE, states="delivered")
    assert column(delivered, "Delivered")[0] is not None


def test_a_target_is_chosen_by_the_address(index: Index, page: Opener) -> None:
    deliveries(index, present())
    shown = page(PAGE, target="datadog")
    assert shown.selectbox(key="target").value == "datadog"
    assert column(shown, "Last error") == ["503 from the intake"]
    assert column(shown, "Outcome") == ["▲ failed for now"]


def test_a_self_test_that_fell_short_says_what_was_missed_first(index: Index, page: Opener) -> None:
    record_self_test(index, present() - timedelta(days=7))
    record_self_test(index, present() - timedelta(hours=1), passed=False)
    shown = page(PAGE, part="Self-test")
    assert not shown.exception
    assert "1 faults under the same configuration were missed" in shown.error[0].value.replace("\\", "")
    assert column(shown, "Trial")[0] == "sign <b>bit</b> of one weight"
    assert column(shown, "Result")[0] == "✖ missed"
    assert column(shown, "Started")[0] > column(shown, "Started")[1]
    wrong = page(PAGE, part="Self-test", wrong="true")
    assert set(column(wrong, "Result")) == {"✖ missed"}


def test_an_older_self_test_is_reached_by_its_address(index: Index, page: Opener) -> None:
    old = present() - timedelta(days=7)
    record_self_test(index, old)
    record_self_test(index, present() - timedelta(hours=1), passed=False)
    shown = page(PAGE, part="Self-test", test=f"tiny/smoke/{old:%Y%m%dT%H%M%S.%fZ}")
    assert not shown.error
    assert "keeps its promises on tiny" in told(shown)


@pytest.mark.parametrize("asked", ["tiny/smoke/20200101T000000.000000Z", "nonsense", "a/b/c"])
def test_an_unknown_self_test_is_said_to_be_unknown(index: Index, page: Opener, asked: str) -> None:
    record_self_test(index, present())
    shown = page(PAGE, part="Self-test", test=asked)
    assert not shown.exception
    assert "holds no self-test" in told(shown)


def test_when_nobody_tests_any_more_the_page_asks_why(index: Index, page: Opener) -> None:
    record_self_test(index, present() - timedelta(days=20))
    assert "20 d old. Is the Dag `self_test` paused?" in told(page(PAGE, part="Self-test"))


def test_figures_of_another_version_are_not_measured_instead_of_zero() -> None:
    assert operations_rows.rate_text({}, "same") == "not measured"
    assert operations_rows.rate_text({"same": {"hits": 0, "of": 0}}, "same") == "not measured"
    assert operations_rows.rate_text({"same": {"hits": 3, "of": 4}}, "same") == "3 of 4"


def test_a_damaged_index_is_said_in_one_line(index_path: Any, page: Opener) -> None:
    index_path.write_bytes(b"this is not a database, not even a little one" * 40)
    shown = page(PAGE)
    assert not shown.exception
    assert len(shown.error) == 1
