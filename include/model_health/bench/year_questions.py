"""What the pages Fleet and Model ask of the index, as a list to be timed: each question as a page would put it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from model_health.baseline.bands import bands
from model_health.bench.year_rows import SUITE, model_name
from model_health.store.index.changes import identity_changes, verdict_changes
from model_health.store.index.fleet import fleet
from model_health.store.index.percentiles import percentiles
from model_health.store.index.rates import flag_rates, verdict_counts
from model_health.store.index.run_pages import run_page
from model_health.store.index.selection import Selection, configurations_of
from model_health.store.index.summaries import compare_selections
from model_health.store.index.trends import TrendQuery, span_of, step_for, trend

_DAY: Final = timedelta(days=1)
_METRIC: Final = "entropy_bits_mean"
_LATENCY: Final = "time_per_output_token_seconds"


@dataclass(frozen=True)
class Question:
    """One question, and how it is put; `model` is asked about anew each time, so that no answer is remembered."""

    name: str
    ask: Callable[[Connection, str, datetime], object]


def _year(model: str) -> Selection:
    return Selection(model, SUITE)


def _month(model: str, end: datetime) -> Selection:
    return Selection(model, SUITE, since=end - 30 * _DAY, until=end)


def _one_device(connection: Connection, model: str) -> Selection:
    newest = configurations_of(connection, model, SUITE)[-1]
    return Selection(model, SUITE, device_class=newest.device_class)


def _trend(connection: Connection, where: Selection, metric: str) -> object:
    query = TrendQuery(where, metric)
    found = trend(connection, query)
    return found, bands(connection, query, found.step)


def _latency(connection: Connection, where: Selection) -> object:
    span = span_of(connection, where)
    assert span is not None, "the benchmark's models have runs"
    return percentiles(connection, TrendQuery(where, _LATENCY), step_for(span[1] - span[0]))


QUESTIONS: Final = (
    Question("the fleet, with lines of 30 days", lambda c, model, end: fleet(c, end)),
    Question("a metric's year and its band", lambda c, model, end: _trend(c, _year(model), _METRIC)),
    Question("a metric's last 30 days and its band", lambda c, model, end: _trend(c, _month(model, end), _METRIC)),
    Question("a metric's year on one device", lambda c, model, end: _trend(c, _one_device(c, model), _METRIC)),
    Question("latency percentiles of a year", lambda c, model, end: _latency(c, _year(model))),
    Question("latency percentiles of 30 days", lambda c, model, end: _latency(c, _month(model, end))),
    Question("flag rates of a year", lambda c, model, end: flag_rates(c, _year(model))),
    Question("verdicts of a year", lambda c, model, end: verdict_counts(c, _year(model))),
    Question(
        "changes of a year", lambda c, model, end: (verdict_changes(c, _year(model)), identity_changes(c, _year(model)))
    ),
    Question("the newest 50 runs", lambda c, model, end: run_page(c, _year(model))),
    Question("the oldest 50 runs", lambda c, model, end: run_page(c, _year(model), page=170)),
    Question(
        "two months side by side",
        lambda c, model, end: compare_selections(c, _month(model, end), _month(model, end - 30 * _DAY)),
    ),
)


def models_in_turn(count: int, rounds: int) -> list[str]:
    """Which model each round asks about."""
    return [model_name(number % count) for number in range(rounds)]
