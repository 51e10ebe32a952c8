"""Which runs are old, which are needed, and that forgetting one takes all of it and nothing else, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from model_health.store.index import retention
from model_health.store.index.index import Index
from model_health.store.index.outbox import OutboxItem, enqueue
from model_health.store.index.records import RunStatus
from model_health.store.index.tables import metric_points, samples
from model_health.store.index.tables_alerts import gate_results
from model_health.store.index.tables_trends import trend_days
from model_health.store.names import RunFolder
from support.full_index import fill
from support.gate_runs import validate
from support.store_rows import NOON, a_result, a_sample, a_start, prompt_points

DAY = timedelta(days=1)


@pytest.fixture
def index(index_url: str) -> Iterator[Index]:
    with Index.open(index_url, clock=lambda: NOON) as opened:
        yield opened


def runs(index: Index, count: int, model: str = "m") -> list[str]:
    """So many measured runs, a day apart, oldest first."""
    for number in range(count):
        attempt = index.start_run(a_start(f"r{number}", model, started_at=NOON + number * DAY))
        index.finish_run(attempt, a_result(), [a_sample("p0")], prompt_points([1.0], at=NOON + number * DAY))
    return [RunFolder.of(model, "default", f"r{number}").key for number in range(count)]


def old(index: Index, **asked: object) -> list[str]:
    given = {"before": None, "keep": None, "spared": 0, **asked}
    with index.reading("test") as connection:
        return [run.folder.key for run in retention.old_runs(connection, **given)]  # type: ignore[arg-type]


def test_runs_are_old_by_age_or_by_number_of_each_model_and_never_while_they_are_under_way(index: Index) -> None:
    keys, others = runs(index, 5), runs(index, 2, "other")
    index.start_run(a_start("now", "m", started_at=NOON - 99 * DAY))
    assert old(index) == []
    assert set(old(index, before=NOON + 2 * DAY)) == {*keys[:2], *others}
    assert old(index, keep=3) == keys[:2]
    assert old(index, keep=4, before=NOON + 1 * DAY) == [keys[0], others[0]]
    assert old(index, before=NOON + 99 * DAY, spared=4) == keys[:1]


def test_what_is_not_delivered_and_the_evidence_of_open_alerts_is_needed(index: Index, index_url: str) -> None:
    fill(index_url)
    keys = runs(index, 2)
    with index.transaction("test") as connection:
        enqueue(connection, [OutboxItem("local", "samples", "k", {}, keys[0], NOON)])
        needed = retention.needed_runs(connection)
        connection.exec_driver_sql("UPDATE alert_states SET standing = 'pass', told = 'pass'")
        connection.exec_driver_sql("DELETE FROM comparisons")
        later = retention.needed_runs(connection)
    sick = RunFolder.of("smollm2", "default", "manual__1").key
    assert needed == {keys[0]: "not delivered yet", sick: "evidence of an open alert"}
    assert later == {keys[0]: "not delivered yet"}


def test_the_newest_comparison_and_the_newest_valid_run_are_needed(index: Index, index_url: str) -> None:
    fill(index_url)
    with index.transaction("test") as connection:
        connection.exec_driver_sql("UPDATE alert_states SET standing = 'pass', told = 'pass'")
        assert set(retention.needed_runs(connection).values()) == {"the newest comparison"}
    validate(index, RunFolder.of("smollm2", "default", "manual__1").key, True)
    with index.reading("test") as connection:
        assert set(retention.needed_runs(connection).values()) == {"the newest valid run"}


def test_a_forgotten_run_leaves_daily_trends_and_nothing_else_behind(index: Index, index_url: str) -> None:
    fill(index_url)
    runs(index, 1)
    with index.transaction("test") as connection:
        days = connection.execute(sa.select(sa.func.count()).select_from(trend_days)).scalar_one()
        found = retention.old_runs(connection, before=NOON + 99 * DAY, keep=None, spared=0)
        assert len(found) == 2
        assert all(retention.forget(connection, one) for one in found)
        assert not any(retention.forget(connection, one) for one in found)
        for table in (samples, metric_points, gate_results):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0
        assert connection.execute(sa.select(sa.func.count()).select_from(trend_days)).scalar_one() == days
    assert index.runs() == []


def test_a_run_that_is_measured_anew_meanwhile_is_not_forgotten(index: Index) -> None:
    [key] = runs(index, 1)
    with index.reading("test") as connection:
        [seen] = retention.old_runs(connection, before=NOON + DAY, keep=None, spared=0)
    index.start_run(a_start("r0", "m"))
    with index.transaction("test") as connection:
        assert not retention.is_still(connection, seen)
        assert not retention.forget(connection, seen)
    run = index.run(key)
    assert run is not None
    assert run.status is RunStatus.STARTED
