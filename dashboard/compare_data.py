"""What the Compare page reads, cached: comparisons with a baseline, and two runs held against each other.

Every function raises the library's one-line errors. Knows no widget.
"""

from __future__ import annotations

from typing import Any

import streamlit as st
from sqlalchemy import Row, select

import data
from model_health.baseline.flips import FlipReport
from model_health.baseline.registry import current
from model_health.baseline.report_pairs import RunPair, norm_limit, pair_runs
from model_health.baseline.store import BaselineStore
from model_health.baseline.stored_result import StoredResult, read_flips, read_result
from model_health.baseline.tolerance import Tolerance
from model_health.errors import StoreError
from model_health.report.load import load_report
from model_health.report.trace import Trace
from model_health.store.comparisons import FLIPS_JSON, ComparisonStore
from model_health.store.index.comparisons import ComparisonRecord, comparison_history
from model_health.store.index.records import SampleRecord
from model_health.store.index.tables_comparisons import comparisons
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore

LISTED = 200
"""Comparisons that are offered to choose from; a link reaches every other one."""
KEPT_SECONDS = 3600
"""Reports and results are never changed once written, so what was read of them is kept for long."""


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def list_comparisons(url: str) -> list[ComparisonRecord]:
    """The newest comparisons with a baseline, newest first; empty where there is no index yet."""
    if not data.index_exists(url):
        return []
    with data.open_index(url).reading("list the comparisons") as connection:
        return comparison_history(connection, limit=LISTED)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def find_comparison(url: str, key: str, of_run: bool) -> ComparisonRecord | None:
    """One comparison, or None where the index does not hold it."""
    if not data.index_exists(url):
        return None
    query = select(comparisons).where(comparisons.c.key == key, comparisons.c.of_run.is_(of_run))
    rows = data.open_index(url).rows(query)
    return _record(rows[0]) if rows else None


@st.cache_data(ttl=KEPT_SECONDS, max_entries=50, show_spinner=False)
def read_comparison(store_uri: str, record: ComparisonRecord) -> StoredResult:
    """All that a comparison found, from the store. Raises `StoreError` where the file is gone or damaged."""
    folder = _folder(record.key)
    content = ComparisonStore.open(store_uri).read(folder, of_run=record.of_run)
    return read_result(content, record.result_uri)


@st.cache_data(ttl=KEPT_SECONDS, max_entries=50, show_spinner=False)
def read_flip_report(store_uri: str, record: ComparisonRecord) -> FlipReport:
    """The tokens that changed. Raises `StoreError` as `read_comparison` does."""
    folder, store = _folder(record.key), ComparisonStore.open(store_uri)
    content = store.read(folder, FLIPS_JSON, of_run=record.of_run)
    return read_flips(content, store.uri(folder, FLIPS_JSON, of_run=record.of_run))


@st.cache_data(ttl=KEPT_SECONDS, max_entries=50, show_spinner=False)
def state_names(store_uri: str, model: str, suite: str, baseline_id: str) -> tuple[str, ...]:
    """The names of a baseline's states, for a result that is too old to name them; empty where it is gone."""
    try:
        return BaselineStore.open(store_uri).read_document(model, suite, baseline_id).state_names
    except StoreError:
        return ()  # The page numbers the states instead, and says so.


@st.cache_data(ttl=KEPT_SECONDS, max_entries=20, show_spinner="Reading the reports of both runs")
def pair(url: str, store_uri: str, old_key: str, new_key: str) -> RunPair:
    """Two runs held against each other by their reports. Raises `StoreError` where a report is gone or damaged."""
    index, store = data.open_index(url), ReportStore.open(store_uri)
    sides = [{sample.prompt_id: sample for sample in index.samples(key)} for key in (old_key, new_key)]
    ids = list(dict.fromkeys(prompt for side in sides for prompt in side))

    def read(prompt_id: str) -> tuple[Trace | None, Trace | None]:
        old, new = (_report(store, side.get(prompt_id)) for side in sides)
        return old, new

    return pair_runs(ids, read)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def limit_of_norms(store_uri: str, model: str, suite: str) -> float | None:
    """How far norms of healthy replays lie apart, tenfold; None where no promoted baseline recorded it."""
    store = BaselineStore.open(store_uri)
    promoted = current(store, model, suite)
    if promoted is None:
        return None
    learnt = store.read_document(model, suite, promoted.baseline_id).tolerances
    return norm_limit(None if learnt is None else Tolerance.model_validate(learnt))


def _report(store: ReportStore, sample: SampleRecord | None) -> Trace | None:
    if sample is None or sample.report_uri is None:
        return None
    return load_report(store.read_bytes(sample.report_uri, digest=sample.report_digest), name=sample.report_uri)


def _folder(key: str) -> RunFolder:
    return RunFolder(*key.split("/"))


def _record(row: Row[Any]) -> ComparisonRecord:
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    return ComparisonRecord(**{**values, "axes": tuple(row.axes)})
