"""What the page on self-tests and deliveries reads, cached for seconds. Raises the library's one-line errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import streamlit as st

import data
from model_health.delivery.status import items, ledger, target_counts
from model_health.store.index.delivery_history import TryCount, tries_over_time
from model_health.store.index.outbox import State, StoredItem
from model_health.store.index.outbox_status import LedgerEntry, TargetCounts
from model_health.store.index.self_test_history import self_test_history, self_test_of
from model_health.store.index.self_tests import SelfTestRecord

LISTED = 200
WINDOW = timedelta(days=14)
STEP = timedelta(hours=6)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def targets(url: str) -> list[TargetCounts]:
    """How the outbox stands, by target; empty where nothing was ever to be delivered."""
    return target_counts(data.open_index(url), datetime.now(UTC)) if data.index_exists(url) else []


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def outbox_items(url: str, target: str | None, states: Sequence[State]) -> list[StoredItem]:
    """The newest items that match, newest first."""
    return items(data.open_index(url), target=target, states=states, limit=LISTED)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def tries(url: str, target: str | None) -> list[LedgerEntry]:
    """The newest tries to deliver, newest first."""
    return ledger(data.open_index(url), target=target, limit=LISTED)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def try_counts(url: str, target: str | None) -> list[TryCount]:
    """Tries of the last two weeks, counted per six hours."""
    with data.open_index(url).reading("count the tries to deliver") as connection:
        return tries_over_time(connection, datetime.now(UTC) - WINDOW, STEP, target=target)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def self_tests(url: str) -> list[SelfTestRecord]:
    """The newest self-tests of all models, newest first, without their trials."""
    if not data.index_exists(url):
        return []
    with data.open_index(url).reading("list the self-tests") as connection:
        return self_test_history(connection, limit=LISTED)


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def self_test(url: str, model: str, suite: str, started_at: datetime) -> SelfTestRecord | None:
    """One self-test with its trials."""
    if not data.index_exists(url):
        return None
    with data.open_index(url).reading("read a self-test") as connection:
        return self_test_of(connection, model, suite, started_at)
