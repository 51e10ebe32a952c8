"""The made-up year of the dashboard's benchmark: as large as it says, made once, answered by what the pages ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from model_health.bench.year_questions import QUESTIONS, models_in_turn
from model_health.bench.year_rows import POINTS_PER_RUN, SUITE, Size, fill, model_name
from model_health.errors import StoreError
from model_health.report.synthetic import is_synthetic
from model_health.store.index.fleet import fleet
from model_health.store.index.index import Index
from model_health.store.index.selection import Selection
from model_health.store.index.tables import metric_points, samples
from model_health.store.index.trends import TrendQuery, select_from_points, trend
from support.postgres import postgres_server

SMALL = Size(models=3, runs_per_day=4, days=12)
END = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path_factory.mktemp('year')}/index.db"
        if request.param == "postgresql":
            url = stack.enter_context(stack.enter_context(postgres_server()).new_database())
        assert fill(url, SMALL, END)
        yield stack.enter_context(Index.open(url, migrate_up=False))


def test_the_size_that_is_promised_is_that_of_the_benchmark() -> None:
    assert Size().runs == 175_200
    assert Size().points >= 5_000_000


def test_as_many_rows_are_made_as_the_size_says(filled: Index) -> None:
    points, of_samples = (
        filled.rows(select(func.count()).select_from(table))[0][0] for table in (metric_points, samples)
    )
    assert points == SMALL.points == SMALL.runs * POINTS_PER_RUN
    assert of_samples == SMALL.runs * 4
    assert sum(model.runs for model in filled.models()) == SMALL.runs


def test_days_were_counted_from_the_points(filled: Index) -> None:
    query, day = TrendQuery(Selection(model_name(1), SUITE), "attention_entropy_bits_mean"), timedelta(days=1)
    with filled.reading("test") as connection:
        steps = trend(connection, query, step=day).steps
        slow = connection.execute(select_from_points(query, None, day)).all()
    assert len(steps) == SMALL.days
    for step, row in zip(steps, slow, strict=True):
        assert (step.runs, step.measured, step.not_measured) == (row.runs, row.measured, row.not_measured)
        assert step.mean == pytest.approx(row.mean)
        assert (step.minimum, step.maximum) == (row.minimum, row.maximum)


def test_the_fleet_is_whole_and_labelled(filled: Index) -> None:
    with filled.reading("test") as connection:
        rows = fleet(connection, END)
    assert [row.model for row in rows] == [model_name(number) for number in range(SMALL.models)]
    assert all(is_synthetic(row.model) for row in rows)
    assert rows[0].alerts
    assert rows[0].waiting.pending == 1
    assert all(row.last_valid_at and row.self_test and row.comparison for row in rows)
    assert all(len(line) > 1 for row in rows for line in row.sparklines.values())


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_every_question_has_an_answer(filled: Index, question: object) -> None:
    with filled.reading("test") as connection:
        assert question.ask(connection, models_in_turn(3, 2)[1], END)  # type: ignore[attr-defined]


def test_a_year_is_made_once_and_nothing_else_is_touched(filled: Index, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/index.db"
    tiny = Size(models=1, runs_per_day=1, days=2)
    assert fill(url, tiny, END)
    assert not fill(url, tiny, END + timedelta(days=1))
    with pytest.raises(StoreError, match="holds 2 runs"):
        fill(url, SMALL, END)
