"""The band of healthy steps: learned at the start of each accepted baseline, not from what is sick or drifts later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.baseline.annotations import level_changes, promotions_in
from model_health.baseline.bands import FEWEST, band_of, bands
from model_health.baseline.store import BaselineStore
from model_health.store.index.index import Index
from model_health.store.index.selection import Selection
from model_health.store.index.trends import Trend, TrendQuery, TrendStep, trend
from support.store_rows import NOON, a_result, a_start, prompt_points

DAY = timedelta(days=1)
ALL = Selection("smollm2", "default")
ENTROPY = TrendQuery(ALL, "entropy_bits_mean")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "index.db") as opened:
        yield opened


def record(index: Index, day: int, value: float, verdict: str = "healthy") -> None:
    at = NOON + day * DAY
    attempt = index.start_run(a_start(f"r{day}", started_at=at))
    index.finish_run(attempt, a_result(ended_at=at, verdict=verdict), [], prompt_points([value], at))


@given(st.lists(st.floats(-1e6, 1e6), min_size=FEWEST, max_size=50))
def test_a_band_holds_its_median_and_at_least_half_of_what_it_was_learned_from(values: list[float]) -> None:
    band = band_of(values)
    assert band is not None
    assert band.low <= band.centre <= band.high
    assert band.centre == median(values)
    assert 2 * sum(band.low <= value <= band.high for value in values) >= len(values)


def test_one_wild_value_does_not_widen_a_band() -> None:
    calm = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9, 1.0]
    band = band_of([*calm, 1e9])
    assert band is not None
    assert band.high < 2.0


def test_a_constant_metric_has_a_band_of_no_width() -> None:
    band = band_of([3.0] * FEWEST)
    assert band is not None
    assert (band.low, band.high) == (3.0, 3.0)


def test_too_few_healthy_steps_give_no_band_and_say_so(index: Index) -> None:
    for day in range(FEWEST + 3):
        record(index, day, 1.0 + day / 100, "healthy" if day < FEWEST - 1 else "unhealthy")
    with index.reading("test") as connection:
        (only,) = bands(connection, ENTROPY, DAY)
    assert only.band is None
    assert only.reason == "7 healthy steps since then, fewer than 8"


def test_an_index_without_the_model_has_no_bands(index: Index) -> None:
    with index.reading("test") as connection:
        assert bands(connection, ENTROPY, DAY) == []


def test_a_drift_leaves_the_band_and_a_promotion_begins_another(index: Index) -> None:
    for day in range(100):
        drift = max(0, day - 40) * 0.1
        record(index, day, 2.0 + 0.01 * (day % 5) + drift)
    promoted: datetime = NOON + 80 * DAY
    with index.reading("test") as connection:
        first, second = bands(connection, ENTROPY, DAY, [promoted, NOON - DAY, NOON + 500 * DAY])
        late = bands(
            connection,
            TrendQuery(Selection("smollm2", "default", since=promoted), "entropy_bits_mean"),
            DAY,
            [promoted],
        )
        steps = trend(connection, ENTROPY, step=DAY).steps
    assert first.band is not None
    assert (first.until, second.since, second.until) == (promoted, promoted, None)
    inside = [first.band.low <= (step.mean or 0.0) <= first.band.high for step in steps]
    assert all(inside[:40])
    assert not any(inside[45:])
    assert second.band is not None
    assert second.band.centre > 6.0
    assert [stretch.since for stretch in late] == [promoted]


def test_a_change_of_level_is_dated_and_gaps_do_not_count() -> None:
    means = [1.0, 1.1, 0.9, None, 1.0, 1.05, 0.95, 5.0, 5.1, 4.9, None, 5.0, 5.05]
    steps = tuple(TrendStep(NOON + n * DAY, 1, 1, 0, mean, mean, mean) for n, mean in enumerate(means))
    (change,) = level_changes(Trend(DAY, steps))
    assert change.at == NOON + 7 * DAY
    assert (round(change.before, 1), round(change.after, 1)) == (1.0, 5.0)
    assert level_changes(Trend(DAY, ())) == []


def test_a_model_without_a_baseline_has_no_promotions(tmp_path: Path) -> None:
    assert promotions_in(BaselineStore.open(tmp_path), ALL) == ()
