"""What the pages read, cached for seconds: runs, and one run with its samples. Knows no widget.

Every function raises the library's one-line errors; a page shows them. Nothing here creates or migrates an index: a
dashboard that is newer than the workers must not change a database under their feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from sqlalchemy import String, case, cast, func, select

from model_health.config.settings import Settings, load_settings
from model_health.store.index.engine import parse_index_url
from model_health.store.index.index import Index
from model_health.store.index.migrate import current
from model_health.store.index.records import ModelRecord, Point, RunFilter, RunRecord, SampleRecord
from model_health.store.index.tables import runs, samples

SECONDS = 15
"""How long an answer is kept: a page that reloads by itself asks the database four times a minute at most."""


@dataclass(frozen=True)
class RunRow:
    """A run as the list shows it. `prompts` and `unhealthy` count samples: 0 for a run that measured none."""

    record: RunRecord
    prompts: int
    unhealthy: int


@dataclass(frozen=True)
class RunDetail:
    """One run with everything that the index holds of it."""

    record: RunRecord
    samples: tuple[SampleRecord, ...]
    points: tuple[Point, ...]


def settings() -> Settings:
    """The settings of this installation. Raises `ConfigError`."""
    return load_settings()


def index_exists(url: str) -> bool:
    """Whether there is an index at all: before the first run there is none, and that is no fault."""
    where = parse_index_url(url)
    if where.is_sqlite and where.url.database and not Path(where.url.database).exists():
        return False
    return current(url) is not None


@st.cache_data(ttl=SECONDS, show_spinner=False)
def list_models(url: str) -> list[ModelRecord]:
    """Every model and suite with its newest run; empty where there is no index yet."""
    return open_index(url).models() if index_exists(url) else []


@st.cache_data(ttl=SECONDS, show_spinner=False)
def list_runs(url: str, model: str | None = None, suite: str | None = None, limit: int = 200) -> list[RunRow]:
    """The newest runs that match, newest first; empty where there is no index yet."""
    if not index_exists(url):
        return []
    index = open_index(url)
    found = index.runs(RunFilter(model=model, suite=suite), limit=limit)
    sick = case((cast(samples.c.unhealthy_flags, String) != "[]", 1), else_=0)
    counts = (
        select(runs.c.run_key, func.count().label("prompts"), func.sum(sick).label("sick"))
        .join(samples, samples.c.run_id == runs.c.id)
        .where(runs.c.run_key.in_([record.run_key for record in found]))
        .group_by(runs.c.run_key)
    )
    known = {row.run_key: (int(row.prompts), int(row.sick)) for row in index.rows(counts)}
    return [RunRow(record, *known.get(record.run_key, (0, 0))) for record in found]


@st.cache_data(ttl=SECONDS, show_spinner=False)
def read_run(url: str, run_key: str) -> RunDetail | None:
    """One run, or None where the index does not hold it."""
    if not index_exists(url):
        return None
    index = open_index(url)
    record = index.run(run_key)
    if record is None:
        return None
    points = tuple(point for point in index.points(run_key) if point.prompt_id)
    return RunDetail(record, tuple(index.samples(run_key)), points)


def forget() -> None:
    """Drop all cached answers, those of other modules too, so that the next look asks the database."""
    st.cache_data.clear()


@st.cache_resource(show_spinner=False)
def open_index(url: str) -> Index:
    """The index, opened once per server; other modules that read it start here, after `index_exists`."""
    return Index.open(url, migrate_up=False)
