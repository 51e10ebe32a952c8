"""The cost model multiplies: what doubles when what doubles."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from model_health.bench.scale.cost import SECONDS_A_DAY, Fleet, Units, day

UNITS = Units(
    report_bytes_per_token_layer=80.0,
    manifest_bytes_per_prompt=500.0,
    points_per_prompt=45,
    points_per_run=31,
    index_bytes_per_point=100.0,
    other_bytes_per_run=9000.0,
    index_cpu_per_point=3e-5,
    server_cpu_per_point=4e-5,
    outbox_cpu_per_run=0.02,
    gates_cpu_per_run=0.05,
    task_cpu=0.4,
    config_cpu_per_model=3e-4,
    import_cpu=4.0,
    prometheus_series=234,
    prometheus_pushes=2,
    datadog_series=137,
)


def test_twice_the_models_take_twice_of_everything_but_four_times_the_reading_of_their_files() -> None:
    one, two = asdict(day(Fleet(10), UNITS)), asdict(day(Fleet(20), UNITS))
    factors = {name: two[name] / one[name] for name in one}
    assert factors.pop("config_cpu") == pytest.approx(4)
    assert factors == {name: pytest.approx(2) for name in factors}


def test_series_follow_the_models_and_not_how_often_they_run() -> None:
    hourly, daily = day(Fleet(10), UNITS), day(Fleet(10, runs=1), UNITS)
    assert (daily.series, daily.datadog_series) == (hourly.series, hourly.datadog_series) == (2340, 1370)
    assert daily.points * 24 == hourly.points == 240 * (16 * 45 + 31)


def test_a_quicker_device_spends_its_time_on_imports_and_loading() -> None:
    fleet = Fleet(1, runs=1, tokens_per_second=1e9, load_seconds=30)
    assert day(fleet, UNITS).device_seconds == pytest.approx(34, abs=0.01)
    slow = replace(fleet, tokens_per_second=16 * 64 / SECONDS_A_DAY, overhead=0.0)
    assert day(slow, UNITS).device_seconds == pytest.approx(SECONDS_A_DAY + 34)
