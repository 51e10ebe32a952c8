"""What else a page of the fleet reads, in bulk for a benchmark: comparisons, self-tests, alerts, items that wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert

from model_health.store.index.alerts import HistoryEntry, append_history, lock_states, save_state
from model_health.store.index.outbox import OutboxItem, enqueue
from model_health.store.index.tables_comparisons import comparisons
from model_health.store.index.tables_outbox import outbox
from model_health.store.index.tables_self_tests import self_tests

_GATE = "repetition-loop"


def write_beside(connection: Connection, models: Sequence[str], suite: str, nights: Sequence[datetime]) -> None:
    """Write a comparison and a delivered item per model and night, weekly self-tests, and trouble in every fifth."""
    compared = [_comparison(model, suite, night) for model in models for night in nights]
    connection.execute(insert(comparisons), compared)
    tested = [_self_test(model, suite, night) for model in models for night in nights[::7]]
    connection.execute(insert(self_tests), tested)
    connection.execute(insert(outbox), [_delivered(model, suite, night) for model in models for night in nights])
    last = nights[-1]
    troubled = models[::5]
    states = lock_states(connection, [(model, suite, _GATE) for model in troubled], last)
    for number, state in enumerate(states.values()):
        save_state(connection, replace(state, standing="fail", told="fail", since=last, sequence=1))
        key = f"{state.model}/{suite}/{_GATE}/1"
        entry = HistoryEntry(key, state.model, suite, _GATE, "raised", "fail", "pass", last, None, sent=True)
        append_history(connection, entry)
        enqueue(connection, [OutboxItem("webhook:team", "alert", key, {}, None, last + timedelta(seconds=number))])


def _comparison(model: str, suite: str, night: datetime) -> dict[str, Any]:
    key = f"{model}/{suite}/night-{night.date()}"
    return {
        "key": key,
        "of_run": True,
        "model": model,
        "suite": suite,
        "night": f"scheduled__{night.isoformat()}",
        "at": night,
        "baseline_id": "0" * 64,
        "candidate": "the night's run",
        "purpose": "nightly",
        "answer": "equivalent",
        "finding": "every bit is equal",
        "outcome": "pass",
        "screened": True,
        "reason": "equivalent",
        "axes": [],
        "moved": False,
        "p_values": {},
        "families": {"logprob": 0.0},
        "golden_mean": 0.0,
        "golden_low": -0.01,
        "golden_high": 0.01,
        "tokens": 2048,
        "flipped": 0,
        "result_uri": f"file:///synthetic/{key}/comparison.json",
        "result_digest": "sha256:00",
    }


def _self_test(model: str, suite: str, night: datetime) -> dict[str, Any]:
    return {
        "model": model,
        "suite": suite,
        "started_at": night,
        "dtype": "float32",
        "device": "a processor",
        "reduced": True,
        "passed": True,
        "figures": {},
        "libraries": {"torch": "2.13.0"},
        "wall_seconds": 60.0,
    }


def _delivered(model: str, suite: str, night: datetime) -> dict[str, Any]:
    return {
        "target": "prometheus",
        "kind": "samples",
        "key": f"{model}/{suite}/{night.isoformat()}",
        "run_key": None,
        "payload": None,
        "state": "delivered",
        "created_at": night,
        "attempts": 1,
        "delivered_at": night,
    }
