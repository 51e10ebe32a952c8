"""What the page of a run reads beside the run itself: its validation, its gates' answers, the run before. Cached.

Raises the library's one-line errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st
from sqlalchemy import select

import data
from model_health.gates.result import GateResult
from model_health.store.index.index import Index
from model_health.store.index.records import RunFilter, RunRecord, RunStatus
from model_health.store.index.tables_alerts import gate_results
from model_health.store.index.validation import ValidationRecord, read_validation


@dataclass(frozen=True)
class Judged:
    """What became of a run after its measurement. `previous` is the measured run of model and suite before it."""

    validation: ValidationRecord | None
    gates: tuple[GateResult, ...]
    previous: RunRecord | None


@st.cache_data(ttl=data.SECONDS, show_spinner=False)
def judged(url: str, run_key: str) -> Judged:
    """Validation, gates and the run before, of a run that the index holds."""
    with Index.open(url, migrate_up=False) as index:
        record = index.run(run_key)
        with index.reading("read the validation") as connection:
            validation = read_validation(connection, run_key)
        rows = index.rows(select(gate_results.c.result).where(gate_results.c.run_key == run_key))
        gates = sorted((GateResult.from_json(row.result) for row in rows), key=lambda one: one.gate)
        before: list[RunRecord] = []
        if record is not None:
            where = RunFilter(
                model=record.folder.model,
                suite=record.folder.suite,
                status=RunStatus.MEASURED,
                until=record.started_at,
            )
            before = index.runs(where, limit=1)
    gates.sort(key=lambda one: -one.verdict.severity)
    return Judged(validation, tuple(gates), before[0] if before else None)
