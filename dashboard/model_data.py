"""What the Model page reads, cached: parts of a model's history, aggregated where it lies. Knows no widget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import streamlit as st

import data
from model_health.baseline.annotations import LevelChange, level_changes, promotions_in
from model_health.baseline.bands import BandStretch, bands
from model_health.baseline.registry import Promotion
from model_health.baseline.store import BaselineStore
from model_health.report.manifest import Verdict
from model_health.store.index.changes import Change, identity_changes, verdict_changes
from model_health.store.index.percentiles import PercentileStep, percentiles
from model_health.store.index.rates import FlagRate, VerdictCount, flag_rates, verdict_counts
from model_health.store.index.run_pages import RunPage, run_page
from model_health.store.index.selection import Configuration, Selection, configurations_of
from model_health.store.index.summaries import Difference, Summary, compare_selections, summarise
from model_health.store.index.trends import Trend, TrendQuery, span_of, step_for, trend

PAGE_SIZE: Final = 50
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class MetricHistory:
    """A metric over time, the band of its healthy steps, and where its level changed."""

    trend: Trend
    bands: tuple[BandStretch, ...]
    levels: tuple[LevelChange, ...]


@dataclass(frozen=True)
class Changes:
    """What happened to a model besides its numbers, in a selection's time."""

    promotions: tuple[Promotion, ...]
    identity: tuple[Change, ...]
    verdicts: tuple[Change, ...]


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def configurations(url: str, model: str, suite: str) -> list[Configuration]:
    """Under what a model was measured on a suite, oldest first."""
    with data.open_index(url).reading("read the configurations of a model") as connection:
        return configurations_of(connection, model, suite)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def span(url: str, where: Selection) -> tuple[datetime, datetime] | None:
    """From when to when a selection has runs."""
    with data.open_index(url).reading("read the span of a history") as connection:
        return span_of(connection, where)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def metrics(url: str, where: Selection) -> list[Summary]:
    """Every metric of a selection, with its other labels."""
    with data.open_index(url).reading("summarise a history") as connection:
        return summarise(connection, where)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def reasons(url: str, run_key: str) -> dict[str, str]:
    """Why a run did not measure, by metric; one reason where its prompts have several."""
    points = data.open_index(url).points(run_key)
    return {point.metric: point.reason for point in points if point.value is None and point.reason}


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def metric_history(url: str, query: TrendQuery, promoted_at: Sequence[datetime]) -> MetricHistory:
    """A metric with its bands and changes of level."""
    with data.open_index(url).reading("read a trend") as connection:
        found = trend(connection, query)
        stretches = bands(connection, query, found.step, promoted_at)
    return MetricHistory(found, tuple(stretches), tuple(level_changes(found)))


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def changes(url: str, store_uri: str, where: Selection) -> Changes:
    """Promotions, changes of what was measured and of verdicts. Raises `StoreError`."""
    with data.open_index(url).reading("read what changed") as connection:
        identity, verdicts = identity_changes(connection, where), verdict_changes(connection, where)
    return Changes(promotions_in(BaselineStore.open(store_uri), where), tuple(identity), tuple(verdicts))


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def promoted(store_uri: str, model: str, suite: str) -> tuple[datetime, ...]:
    """When baselines of a model were promoted, ever: each begins a band of its own."""
    found = promotions_in(BaselineStore.open(store_uri), Selection(model, suite))
    return tuple(one.promoted_at for one in found)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def latencies(url: str, query: TrendQuery) -> tuple[PercentileStep, ...]:
    """Percentiles of a length of time, in the steps of its trend."""
    with data.open_index(url).reading("read percentiles") as connection:
        between = span_of(connection, query.where)
        return () if between is None else percentiles(connection, query, step_for(between[1] - between[0], 120))


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def flags(url: str, where: Selection) -> tuple[list[FlagRate], list[VerdictCount], timedelta]:
    """How often which flag was raised and which verdict given, and the length of a step: a day or more."""
    with data.open_index(url).reading("read the rates of flags") as connection:
        between = span_of(connection, where)
        length = timedelta() if between is None else between[1] - between[0]
        step = max(_DAY, step_for(length, 60))
        step = _DAY * (step // _DAY)
        return flag_rates(connection, where, days=step // _DAY), verdict_counts(connection, where, step), step


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def difference(url: str, first: Selection, second: Selection) -> list[Difference]:
    """Every metric in two parts of a history."""
    with data.open_index(url).reading("compare two parts of a history") as connection:
        return compare_selections(connection, first, second)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def run_table(url: str, where: Selection, verdict: Verdict | None, page: int) -> RunPage:
    """A page of runs, newest first."""
    with data.open_index(url).reading("read a page of runs") as connection:
        return run_page(connection, where, verdict=verdict, size=PAGE_SIZE, page=page)


def anywhere(where: Selection) -> Selection:
    """The same model on the same suite, all of it."""
    return replace(where, since=None, until=None, revision=None, device_class=None)
