"""What is counted per day follows from the points, whatever is written, written again, or written at once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.store.index import migrate, rollup
from model_health.store.index.engine import make_engine, parse_index_url, writer
from model_health.store.index.index import Index
from model_health.store.index.records import Identity, Point
from model_health.store.index.selection import Selection
from model_health.store.index.tables_trends import configurations, trend_days, trend_series
from model_health.store.index.trends import TrendQuery, trend
from support.outbox import empty
from support.store_rows import NOON, a_point, a_result, a_start, prompt_points

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def index(shared_index: Index) -> Index:
    empty(shared_index)
    return shared_index


def record(index: Index, run_id: str, at: datetime, points: list[Point], model: str = "smollm2", **result: Any) -> None:
    attempt = index.start_run(a_start(run_id, model=model, started_at=at))
    index.finish_run(attempt, a_result(ended_at=at + HOUR, **result), [], points)


def days(index: Index) -> list[tuple[Any, ...]]:
    """Every counted day, in an order that does not rest on row ids."""
    names = [trend_series.c[name] for name in ("model", "metric", "labels", "per_prompt")]
    kept = [column for column in trend_days.c if column.name not in ("trend_id", "configuration_id")]
    query = (
        sa.select(*names, configurations.c.identity_digest, *kept)
        .select_from(trend_days)
        .join(trend_series, trend_series.c.id == trend_days.c.trend_id)
        .join(configurations, configurations.c.id == trend_days.c.configuration_id)
    )
    return sorted((tuple(row) for row in index.rows(query)), key=repr)


def test_a_run_adds_to_its_day_and_nulls_are_counted_apart(index: Index) -> None:
    record(index, "one", NOON, prompt_points([1.0, 3.0, None]))
    record(index, "two", NOON + HOUR, prompt_points([8.0], NOON + HOUR))
    number = int(NOON.timestamp() // DAY.total_seconds())
    assert days(index) == [
        ("smollm2", "entropy_bits_mean", "", True, "id-1", number, True, 2, 3, 1, 12.0, 1.0, 8.0),
    ]


def test_a_day_on_which_nothing_was_measured_has_no_sum_and_no_range(index: Index) -> None:
    record(index, "one", NOON, prompt_points([None]))
    assert days(index)[0][-5:] == (0, 1, None, None, None)
    record(index, "two", NOON + HOUR, prompt_points([2.0], NOON + HOUR))
    assert days(index)[0][-5:] == (1, 1, 2.0, 2.0, 2.0)
    record(index, "three", NOON + 2 * HOUR, prompt_points([None], NOON + 2 * HOUR))
    assert days(index)[0][-5:] == (1, 2, 2.0, 2.0, 2.0)


def test_health_configuration_labels_and_scope_are_counted_apart(index: Index) -> None:
    other = Identity("id-2", revision="def456")
    record(index, "one", NOON, [a_point(), a_point(prompt_id="p"), a_point(labels={"flag": "x"})])
    record(index, "two", NOON + HOUR, [a_point(at=NOON + HOUR)], verdict="unhealthy")
    record(index, "three", NOON + HOUR, [a_point(at=NOON + HOUR)], identity=other)
    record(index, "four", NOON + HOUR, [a_point(at=NOON + HOUR)], identity=None)
    found = [(row[2], row[3], row[4], row[6]) for row in days(index)]
    assert sorted(found) == sorted(
        [
            ("", False, "id-1", True),
            ("", True, "id-1", True),
            ("flag=x", False, "id-1", True),
            ("", False, "id-1", False),
            ("", False, "id-2", True),
            ("", False, "", True),
        ]
    )


def test_a_retry_takes_its_own_values_back_and_nobody_elses(index: Index) -> None:
    record(index, "one", NOON, prompt_points([1.0]))
    before = days(index)
    record(index, "two", NOON, prompt_points([100.0, 0.5]))
    index.start_run(a_start("two", started_at=NOON + HOUR))
    assert days(index) == before, "a retry that has only started has removed what its last try said"
    record(index, "two", NOON + 2 * HOUR, prompt_points([3.0], NOON + 2 * HOUR))
    assert [row[-5:] for row in days(index)] == [(2, 0, 4.0, 1.0, 3.0)]


def test_a_run_that_is_finished_twice_counts_once_also_on_another_day(index: Index) -> None:
    attempt = index.start_run(a_start("one"))
    for at in (NOON, NOON, NOON + DAY):
        index.finish_run(attempt, a_result(), [], prompt_points([1.0, 2.0], at))
    assert [(row[5] - days(index)[0][5], row[7:]) for row in days(index)] == [(0, (1, 2, 0, 3.0, 1.0, 2.0))]


def test_a_run_around_midnight_counts_on_both_days(index: Index) -> None:
    midnight = NOON.replace(hour=0)
    record(index, "one", midnight, [a_point(at=midnight - HOUR, prompt_id="a"), a_point(at=midnight, prompt_id="b")])
    assert [row[7] for row in days(index)] == [1, 1]


def test_runs_of_one_model_that_end_at_once_are_all_counted(index: Index) -> None:
    def several(name: str) -> None:
        for number in range(4):
            run = f"{name}-{number % 3}"  # the fourth is a retry of the first
            record(index, run, NOON, prompt_points([1.0, 2.0]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(several, "abcd"))
    assert [row[7:] for row in days(index)] == [(12, 24, 0, 36.0, 1.0, 2.0)]


def test_counting_all_anew_and_migrating_give_what_writing_gave(index_url: str) -> None:
    with Index.open(index_url) as index:
        for number in range(6):
            at = NOON + number * 7 * HOUR
            points = [*prompt_points([1.0 * number, None], at), a_point("peak_memory_bytes", 5.0, at=at)]
            identity = Identity(f"id-{number % 2}", libraries={"torch": f"2.{number % 2}"})
            verdict = "unhealthy" if number == 3 else "healthy"
            record(index, f"r{number}", at, points, model=f"m{number % 2}", identity=identity, verdict=verdict)
        attempt = index.start_run(a_start("failed"))
        index.fail_run(attempt, "no memory")
        written = days(index)
        engine = make_engine(parse_index_url(index_url))
        with writer(engine).begin() as connection:
            rollup.rebuild(connection)
        engine.dispose()
        assert days(index) == written
    migrate.downgrade(index_url, "0006")
    migrate.upgrade(index_url)
    with Index.open(index_url) as index:
        assert days(index) == written
        libraries = index.rows(sa.select(configurations.c.libraries).order_by(configurations.c.model))
        assert [row.libraries for row in libraries] == [{"torch": "2.0"}, {"torch": "2.1"}]


# --------------------------------------------------------------------------------- law: days and points agree, always
_values = st.one_of(st.none(), st.floats(-1e6, 1e6, allow_subnormal=False))
_runs = st.lists(
    st.tuples(
        st.integers(0, 7),  # which run: the same again is a retry
        st.integers(0, 24 * 20),  # hours after noon
        st.lists(_values, max_size=4),
        st.sampled_from(["healthy", "unhealthy"]),
    ),
    max_size=10,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    path: Path = tmp_path_factory.mktemp("law") / "index.db"
    with Index.open(path) as opened:
        yield opened


_models = iter(range(10**6))


@settings(deadline=None, max_examples=40)
@given(
    written=_runs, width=st.sampled_from([HOUR, 6 * HOUR, DAY, 2 * DAY, 7 * DAY]), healthy=st.sampled_from([None, True])
)
def test_steps_are_what_a_loop_over_the_points_gives(
    shared: Index, written: list[tuple[int, int, list[float | None], str]], width: timedelta, healthy: bool | None
) -> None:
    model = f"model-{next(_models)}"
    kept: dict[int, tuple[datetime, list[float | None], str]] = {}
    for run, hours, values, verdict in written:
        at = NOON + hours * HOUR
        record(shared, f"r{run}", at, prompt_points(values, at), model=model, verdict=verdict)
        kept[run] = (at, values, verdict)

    naive: dict[int, list[float | None]] = defaultdict(list)
    runs_in: dict[int, int] = defaultdict(int)
    for at, values, verdict in kept.values():
        if values and (healthy is None or verdict == "healthy"):
            step = int(at.timestamp() // width.total_seconds())
            naive[step] += values
            runs_in[step] += 1
    with shared.reading("test") as connection:
        where = Selection(model, "default", healthy=healthy)
        found = trend(connection, TrendQuery(where, "entropy_bits_mean"), step=width)
    assert [int(step.at.timestamp() // width.total_seconds()) for step in found.steps] == sorted(naive)
    for step in found.steps:
        number = int(step.at.timestamp() // width.total_seconds())
        measured = [value for value in naive[number] if value is not None]
        assert (step.runs, step.measured, step.not_measured) == (
            runs_in[number],
            len(measured),
            len(naive[number]) - len(measured),
        )
        assert (step.minimum, step.maximum) == (min(measured, default=None), max(measured, default=None))
        if step.mean is None:
            assert not measured
        else:
            assert math.isclose(step.mean, math.fsum(measured) / len(measured), rel_tol=1e-9, abs_tol=1e-6)
