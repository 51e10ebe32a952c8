"""What the Fleet page reads, cached: a row per model and suite, what is scheduled, and how long silence may last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import streamlit as st

import data
import wording
from model_health.config.gates import GateRule, load_gates
from model_health.config.load import load_project
from model_health.errors import ConfigError
from model_health.store.index.fleet import FleetRow, fleet

CONFIGURED_SECONDS: Final = 60

Pair = tuple[str, str]


@dataclass(frozen=True)
class Expected:
    """What the configuration says of reports.

    Args:
        pairs: models and suites that are scheduled; None where nothing says so, and everything that ran counts.
        rules: the gates over silence; without one, `wording.STALE_AFTER` counts.
    """

    pairs: frozenset[Pair] | None = None
    rules: tuple[GateRule, ...] = ()

    def window(self, model: str, suite: str) -> timedelta:
        """How long a model may be silent on a suite before that is the first thing to say."""
        levels = [rule.fail if rule.warn is None else rule.warn for rule in self.rules if rule.covers(model, suite)]
        known = [level for level in levels if level is not None]
        return timedelta(seconds=min(known)) if known else wording.STALE_AFTER


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def fleet_rows(url: str) -> list[FleetRow]:
    """Every model and suite that ever ran; empty where there is no index yet."""
    if not data.index_exists(url):
        return []
    with data.open_index(url).reading("read the fleet") as connection:
        return fleet(connection, datetime.now(UTC))


@st.cache_data(ttl=CONFIGURED_SECONDS, show_spinner=False)
def expected() -> Expected:
    """What the configuration asks for. A configuration that cannot be read asks for nothing: the runs are shown."""
    settings = data.settings()
    try:
        project = load_project(settings)
        pairs = frozenset((model.name, suite) for model in project.enabled_models for suite in model.suites)
    except ConfigError:
        pairs = frozenset()
    try:
        rules = tuple(rule for rule in load_gates(settings).rules.values() if rule.condition == "no_report")
    except ConfigError:
        rules = ()
    return Expected(pairs or None, rules)
