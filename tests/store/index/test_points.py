"""What is written of a run's values is read back bit by bit, in either database."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from model_health.errors import StoreError
from model_health.store.index.index import Index
from model_health.store.index.records import Point
from support.outbox import empty
from support.store_rows import NOON, a_point, a_result, a_start

AWKWARD = (0.0, 1e308, -1e308, 5e-324, 2.2250738585072014e-308, 0.1 + 0.2, 1 / 3, 123456789.123456789, 7)


@pytest.fixture
def index(shared_index: Index) -> Index:
    empty(shared_index)
    return shared_index


def written(index: Index, points: list[Point]) -> list[Point]:
    attempt = index.start_run(a_start("one"))
    index.finish_run(attempt, a_result(), [], points)
    return sorted(index.points(attempt.run_key), key=lambda point: point.prompt_id or "")


def test_every_number_comes_back_as_it_was(index: Index) -> None:
    points = [a_point(value=value, prompt_id=f"p{number:02d}") for number, value in enumerate(AWKWARD)]
    assert [repr(point.value) for point in written(index, points)] == [repr(float(value)) for value in AWKWARD]


def test_moments_come_back_to_the_microsecond_whatever_their_zone(index: Index) -> None:
    far = timezone(timedelta(hours=5, minutes=45))
    moments: list[datetime] = [
        NOON.replace(microsecond=1),
        NOON.replace(microsecond=999_999).astimezone(far),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=far),
    ]
    points = [a_point(at=at, prompt_id=f"p{number}") for number, at in enumerate(moments)]
    assert [point.at for point in written(index, points)] == moments


def test_reasons_groups_and_labels_keep_their_signs(index: Index) -> None:
    strange = "a \"quoted\" {brace}, NULL, \\ and 'more'"
    points = [
        a_point(value=None, reason=strange, prompt_id='p"0', prompt_group="{x,y}"),
        a_point(value=None, reason=strange, prompt_id="p1", labels={"flag": "NULL"}),
        a_point(value=1.0, prompt_id="p2"),
    ]
    found = written(index, points)
    assert [(point.reason, point.prompt_id, point.prompt_group) for point in found] == [
        (point.reason, point.prompt_id, point.prompt_group) for point in points
    ]
    assert found[1].labels == {"flag": "NULL"}


def test_two_values_of_one_metric_and_prompt_are_refused_and_nothing_is_written(index: Index) -> None:
    attempt = index.start_run(a_start("one"))
    with pytest.raises(StoreError, match="two values for one metric"):
        index.finish_run(attempt, a_result(), [], [a_point(prompt_id="p"), a_point(value=2.0, prompt_id="p")])
    assert index.points(attempt.run_key) == []
