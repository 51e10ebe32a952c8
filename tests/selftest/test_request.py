"""What is asked of one dtype, and results that are read back for a page."""

from __future__ import annotations

import json

import pytest

from model_health.errors import BadInput
from model_health.selftest.figures import figures
from model_health.selftest.markdown import render
from model_health.selftest.request import DEFAULT_HEALTHY, SelfTestRequest, in_dtype
from model_health.selftest.result import YearFound, self_test_of
from support.self_tests import self_test_of as made_up
from support.self_tests import trial

ALL = SelfTestRequest("tiny", items=12)


def test_a_dtype_may_be_asked_less() -> None:
    found = in_dtype(ALL, "bfloat16:items=5:healthy=0:reduced")
    assert (found.dtype, found.items, found.healthy, found.reduced) == ("bfloat16", 5, 0, True)
    plain = in_dtype(ALL, "float32")
    assert (plain.dtype, plain.items, plain.healthy, plain.reduced) == ("float32", 12, DEFAULT_HEALTHY, False)


@pytest.mark.parametrize(
    "text", ["int8", "", "bfloat16:", "bfloat16:items=0", "bfloat16:items=x", "float32:healthy=-1", "float32:fast"]
)
def test_what_nobody_understands_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="--dtype"):
        in_dtype(ALL, text)


def test_a_result_is_read_back_as_it_was_written_and_gives_the_same_page() -> None:
    year = YearFound(200, 365, 20, 81.1, 3, 0, 1, 2, 0.002, 1.0, 4, (5, 9, 30, 31), 10, 23)
    test = made_up(trial(), trial(configuration="other", ratio=2.0), year=year, texts=40)
    content = {**test.to_json(), "figures": figures(test).to_json()}
    again = self_test_of(json.loads(json.dumps(content)))
    assert again == test
    assert render([again]) == render([test])


def test_the_page_tells_the_year_and_when_drift_was_seen() -> None:
    year = YearFound(200, 365, 20, 81.1, 3, 0, 1, 2, 0.002, 1.0, 4, (5, 9, 30), 10, 23)
    test = made_up(trial(), year=year)
    page = render([test])
    assert "3 false pages (0 beyond tolerance, 1 degraded, 2 drift)" in page
    assert "median delay is 9 nights; the chart's design says 10" in page
    assert "2 of 4 were found within 23 nights, 1 not at all" in page
    assert figures(test).shortfalls == ()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [({"pages": 82}, "pages 82 times for nothing, and 81 are allowed"), ({"delays": (5, 24)}, "is not found within")],
)
def test_a_year_of_false_pages_or_unseen_drift_breaks_a_promise(fields: dict[str, object], complaint: str) -> None:
    usual = {"recorded": 200, "nights": 365, "models": 20, "allowed": 81.1, "pages": 0, "beyond": 0, "degraded": 0}
    usual |= {"drifted": 0, "upper": 0.1, "shift": 1.0, "drifts": 4, "delays": (5, 9), "designed": 10}
    year = YearFound(**{**usual, "designed_late": 23, **fields})  # type: ignore[arg-type]
    assert any(complaint in line for line in figures(made_up(trial(), year=year)).shortfalls)
