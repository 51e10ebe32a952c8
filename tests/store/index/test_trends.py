"""What the page of a model asks: steps, percentiles, rates, changes, runs and two selections, all by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.catalog.loader import catalogue
from model_health.store.index.changes import identity_changes, verdict_changes
from model_health.store.index.index import Index
from model_health.store.index.percentiles import has_percentiles, percentiles
from model_health.store.index.rates import flag_rates, verdict_counts
from model_health.store.index.records import Identity
from model_health.store.index.run_pages import run_page
from model_health.store.index.selection import Selection, configurations_of
from model_health.store.index.summaries import compare_selections
from model_health.store.index.trends import MOST_STEPS, STEPS, Trend, TrendQuery, step_for, trend
from support.outbox import empty
from support.store_rows import NOON, a_point, a_result, a_sample, a_start

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ALL = Selection("smollm2", "default")
MIDNIGHT = NOON.replace(hour=0)


@pytest.fixture
def index(shared_index: Index) -> Index:
    empty(shared_index)
    return shared_index


def identity(number: int = 1, revision: str = "abc", device: str = "cpu", torch: str = "2.13.0") -> Identity:
    libraries = {"torch": torch, "transformers": "5.23.0"}
    return Identity(f"id-{number}", "w-1", revision, "float32", "none", "sdpa", device, libraries)


def record(
    index: Index,
    hour: int,
    values: list[float | None] | None = None,
    *,
    metric: str = "entropy_bits_mean",
    flagged: int | None = None,
    who: Identity | None = None,
    **result: Any,
) -> str:
    at = NOON + hour * HOUR
    attempt = index.start_run(a_start(f"r{hour}", started_at=at))
    points = [
        a_point(metric, value, at=at, prompt_id=f"p{n}", prompt_group=f"g{n}") for n, value in enumerate(values or [])
    ]
    if flagged is not None:
        points.append(a_point("prompts_flagged", float(flagged), at=at, labels={"flag": "nan_detected"}))
        points.append(a_point("prompts_total", 4.0, at=at))
    samples = [a_sample("sick"), a_sample("well", unhealthy_flags=())]
    result = {"identity": who or identity(), "ended_at": at + timedelta(minutes=5), **result}
    index.finish_run(attempt, a_result(**result), samples, points)
    return attempt.run_key


def ask(index: Index, where: Selection = ALL, step: timedelta | None = None, **more: Any) -> Trend:
    with index.reading("test") as connection:
        return trend(connection, TrendQuery(where, "entropy_bits_mean", **more), step=step)


def means(found: Trend) -> list[float | None]:
    return [step.mean for step in found.steps]


# -------------------------------------------------------------------------------------------------------------- steps
@given(st.timedeltas(timedelta(0), timedelta(days=36_500)))
def test_a_step_is_the_shortest_that_keeps_a_chart_readable(span: timedelta) -> None:
    step = step_for(span)
    assert span <= step * MOST_STEPS
    shorter = [one for one in STEPS if one < step]
    assert not shorter or span > shorter[-1] * MOST_STEPS


def test_the_length_of_a_step_follows_from_the_runs_that_there_are(index: Index) -> None:
    assert ask(index).steps == ()
    for hour in (0, 24 * 300):
        record(index, hour, [float(hour)])
    assert ask(index).step == DAY
    assert ask(index, Selection("smollm2", "default", since=NOON + 24 * 299 * HOUR)).step < HOUR
    assert ask(index, Selection("smollm2", "default", since=NOON + 24 * 400 * HOUR)).steps == ()


def test_an_unknown_metric_and_an_unknown_model_have_no_steps(index: Index) -> None:
    record(index, 0, [1.0])
    with index.reading("test") as connection:
        assert trend(connection, TrendQuery(ALL, "no_such_metric")).steps == ()
        assert trend(connection, TrendQuery(Selection("who", "default"), "entropy_bits_mean")).steps == ()


def test_days_that_a_selection_touches_are_whole_where_steps_are_days(index: Index) -> None:
    for hour in (-30, -6, 0, 6, 30):
        record(index, hour, [float(hour)])
    where = Selection("smollm2", "default", since=NOON, until=NOON + HOUR)
    assert means(ask(index, where, DAY)) == [0.0]
    assert [(step.at, step.runs) for step in ask(index, where, DAY).steps] == [(MIDNIGHT, 3)]
    assert [step.runs for step in ask(index, where, HOUR).steps] == [1]
    until_midnight = Selection("smollm2", "default", until=MIDNIGHT)
    assert means(ask(index, until_midnight, DAY)) == [-30.0]


@pytest.mark.parametrize("step", [HOUR, DAY])
def test_a_trend_can_be_narrowed_to_revision_device_libraries_and_health(index: Index, step: timedelta) -> None:
    record(index, 0, [1.0], who=identity(1))
    record(index, 24, [2.0], who=identity(2, revision="def"))
    record(index, 48, [4.0], who=identity(3, revision="def", device="cuda", torch="2.14.0"), verdict="unhealthy")

    def of(**where: Any) -> list[float | None]:
        return means(ask(index, Selection("smollm2", "default", **where), step))

    assert of(revision="def") == [2.0, 4.0]
    assert of(revision="def", device_class="cpu") == [2.0]
    assert of(libraries={"torch": "2.14.0"}) == [4.0]
    assert of(libraries={"torch": "2.13.0", "transformers": "5.23.0"}) == [1.0, 2.0]
    assert of(libraries={"numpy": "1"}) == []
    assert (of(healthy=True), of(healthy=False)) == ([1.0, 2.0], [4.0])


@pytest.mark.parametrize("step", [HOUR, DAY])
def test_a_trend_can_be_narrowed_to_prompts_and_groups(index: Index, step: timedelta) -> None:
    record(index, 0, [1.0, 5.0])
    assert means(ask(index, step=step, prompt_id="p1")) == [5.0]
    assert means(ask(index, step=step, prompt_group="g0")) == [1.0]


# -------------------------------------------------------------------------------------------------------- percentiles
def test_percentiles_are_values_that_were_measured(index: Index) -> None:
    latency = "time_per_output_token_seconds"
    record(index, 0, [float(n) for n in range(1, 101)], metric=latency)
    record(index, 30, [7.0, None], metric=latency, verdict="unhealthy")
    with index.reading("test") as connection:
        first, second = percentiles(connection, TrendQuery(ALL, latency), DAY)
        (healthy,) = percentiles(connection, TrendQuery(Selection("smollm2", "default", healthy=True), latency), HOUR)
    assert (first.at, first.measured, first.values) == (MIDNIGHT, 100, {50: 50.0, 95: 95.0, 99: 99.0})
    assert (second.measured, second.values) == (1, {50: 7.0, 95: 7.0, 99: 7.0})
    assert healthy.at == NOON


def test_lengths_of_time_have_percentiles_and_moments_do_not() -> None:
    found = {name for name in catalogue() if has_percentiles(name)}
    assert {"time_to_first_token_seconds", "run_duration_seconds"} <= found
    assert not {"run_ended_timestamp_seconds", "entropy_bits_mean", "no_such_metric"} & found


# -------------------------------------------------------------------------------------------------------------- rates
def test_a_flags_rate_is_over_the_prompts_of_the_day(index: Index) -> None:
    record(index, 0, flagged=1)
    record(index, 1, flagged=2)
    record(index, 24, flagged=0)
    with index.reading("test") as connection:
        first, second = flag_rates(connection, ALL)
        (both,) = flag_rates(connection, ALL, days=14)
        assert flag_rates(connection, Selection("smollm2", "default", revision="other")) == []
    assert (first.flag, first.at, first.raised, first.prompts, first.fraction) == (
        "nan_detected",
        MIDNIGHT,
        3,
        8,
        0.375,
    )
    assert (second.raised, second.fraction) == (0, 0.0)
    assert (both.raised, both.prompts) == (3, 12)


def test_verdicts_are_counted_per_day_those_without_one_too(index: Index) -> None:
    record(index, 0)
    record(index, 1)
    record(index, 2, verdict="unhealthy")
    index.start_run(a_start("now", started_at=NOON + 24 * HOUR))
    with index.reading("test") as connection:
        found = {(count.at, count.verdict): count.runs for count in verdict_counts(connection, ALL)}
    assert found == {(MIDNIGHT, "healthy"): 2, (MIDNIGHT, "unhealthy"): 1, (MIDNIGHT + DAY, None): 1}


# ------------------------------------------------------------------------------------------------------------ changes
def test_each_change_of_verdict_names_its_run_and_passes_over_those_without(index: Index) -> None:
    record(index, 0)
    index.start_run(a_start("died", started_at=NOON + HOUR))
    sick = record(index, 2, verdict="unhealthy")
    record(index, 3, verdict="unhealthy")
    well = record(index, 4)
    with index.reading("test") as connection:
        found = verdict_changes(connection, ALL)
        later = verdict_changes(connection, Selection("smollm2", "default", since=NOON + 3 * HOUR))
    assert [(one.before, one.after, one.run_key, one.at) for one in found] == [
        ("healthy", "unhealthy", sick, NOON + 2 * HOUR),
        ("unhealthy", "healthy", well, NOON + 4 * HOUR),
    ]
    assert later == found[1:], "a change is one with regard to the run before, also where that is not asked for"


def test_changes_of_identity_say_what_changed_and_back(index: Index) -> None:
    record(index, 0, who=identity(1))
    attempt = index.start_run(a_start("failed", started_at=NOON + HOUR))
    index.fail_run(attempt, "no memory")
    record(index, 2, who=identity(2, torch="2.14.0"))
    record(index, 3, who=identity(3, revision="def", device="cuda", torch="2.14.0"))
    record(index, 4, who=identity(1))
    with index.reading("test") as connection:
        found = identity_changes(connection, ALL)
    assert [(one.kind, one.what, one.before, one.after) for one in found] == [
        ("libraries", "torch", "2.13.0", "2.14.0"),
        ("revision", "revision", "abc", "def"),
        ("device", "device_class", "cpu", "cuda"),
        ("revision", "revision", "def", "abc"),
        ("device", "device_class", "cuda", "cpu"),
        ("libraries", "torch", "2.14.0", "2.13.0"),
    ]


def test_a_change_that_no_field_shows_is_told_all_the_same(index: Index) -> None:
    record(index, 0, who=identity(1))
    record(index, 1, who=identity(2))
    with index.reading("test") as connection:
        (found,) = identity_changes(connection, ALL)
    assert (found.kind, found.before, found.after) == ("configuration", "id-1", "id-2")


def test_configurations_are_listed_with_their_time_and_without_failed_runs(index: Index) -> None:
    record(index, 0, who=identity(2, revision="def"))
    record(index, 5, who=identity(1))
    record(index, 9, who=identity(1))
    index.fail_run(index.start_run(a_start("failed", started_at=NOON - HOUR)), "no memory")
    with index.reading("test") as connection:
        found = configurations_of(connection, "smollm2", "default")
    assert [(one.revision, one.first_at, one.last_at) for one in found] == [
        ("def", NOON, NOON),
        ("abc", NOON + 5 * HOUR, NOON + 9 * HOUR),
    ]


# --------------------------------------------------------------------------------------------------------------- runs
def test_runs_come_a_page_at_a_time_newest_first(index: Index) -> None:
    keys = [record(index, hour, who=identity(hour % 2, device=("cpu", "cuda")[hour % 2])) for hour in range(5)]
    with index.reading("test") as connection:
        first = run_page(connection, ALL, size=2)
        last = run_page(connection, ALL, size=2, page=2)
        beyond = run_page(connection, ALL, size=2, page=3)
        cuda = run_page(connection, Selection("smollm2", "default", device_class="cuda"))
        sick = run_page(connection, ALL, verdict="unhealthy")
    assert ([row.record.run_key for row in first.rows], first.total) == ([keys[4], keys[3]], 5)
    assert [row.record.run_key for row in last.rows] == [keys[0]]
    assert (beyond.rows, beyond.total) == ((), 5)
    assert ([row.record.run_key for row in cuda.rows], cuda.total) == ([keys[3], keys[1]], 2)
    assert (sick.rows, sick.total) == ((), 0)
    assert (first.rows[0].prompts, first.rows[0].unhealthy, first.rows[0].valid) == (2, 1, None)


# ---------------------------------------------------------------------------------------------------------- selections
def test_two_selections_stand_side_by_side(index: Index) -> None:
    record(index, 0, [1.0, 3.0], who=identity(1))
    record(index, 24, [3.0, None], who=identity(2, revision="def"))
    record(index, 25, [0.5], metric="only_here", who=identity(2, revision="def"))
    with index.reading("test") as connection:
        entropy, only = compare_selections(
            connection,
            Selection("smollm2", "default", revision="abc"),
            Selection("smollm2", "default", revision="def"),
        )
    assert (entropy.metric, entropy.change, entropy.relative) == ("entropy_bits_mean", 1.0, 0.5)
    assert entropy.second is not None
    assert (entropy.second.measured, entropy.second.not_measured, entropy.second.maximum) == (1, 1, 3.0)
    assert (only.metric, only.first, only.change) == ("only_here", None, None)


def test_a_change_from_zero_has_no_relative_size(index: Index) -> None:
    record(index, 0, [0.0])
    record(index, 24, [1.0])
    with index.reading("test") as connection:
        (found,) = compare_selections(
            connection,
            Selection("smollm2", "default", until=MIDNIGHT + DAY),
            Selection("smollm2", "default", since=MIDNIGHT + DAY),
        )
    assert (found.change, found.relative) == (1.0, None)
