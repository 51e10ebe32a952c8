"""An index with at least one row in every table, for tests that carry it elsewhere."""

from __future__ import annotations

from datetime import timedelta

from model_health.store.index.alerts import (
    AlertState,
    GateRecord,
    HistoryEntry,
    append_history,
    lock_states,
    save_results,
    save_state,
)
from model_health.store.index.comparisons import save_comparison
from model_health.store.index.index import Index
from model_health.store.index.outbox import OutboxItem, claim, enqueue
from model_health.store.index.self_tests import write_self_test
from model_health.store.index.validation import FailureRecord, ValidationRecord, run_state, write_validation
from support.settled_comparisons import a_comparison
from support.store_rows import NOON, a_result, a_sample, a_start, prompt_points
from support.whole_self_tests import a_whole_self_test

MODEL, SUITE = "smollm2", "default"


def fill(url: str, run_id: str = "manual__1") -> None:
    """Migrate the index at `url`, and put one of everything into it."""
    with Index.open(url, clock=lambda: NOON + timedelta(hours=1)) as index:
        attempt = index.start_run(a_start(run_id))
        index.finish_run(attempt, a_result(), [a_sample("p0"), a_sample("p1")], prompt_points([1.5, None]))
        with index.transaction("fill") as connection:
            state = run_state(connection, attempt.run_key)
            assert state is not None
            failure = FailureRecord("entropy.range", "critical", "p0", "in range", 9, 1, 1)
            record = ValidationRecord(False, NOON, 2, 1, 9, 0.1, "entropy out of range", failures=(failure,))
            assert write_validation(connection, state, record)
            enqueue(connection, [OutboxItem("local", "samples", f"{run_id}:k", {"é": "\u2028"}, None, NOON)])
            claim(connection, "local", NOON + timedelta(minutes=1), lease=timedelta(minutes=5))
            key = (MODEL, SUITE, "loops")
            result = {"runs": [{"run_key": attempt.run_key}]}
            answer = GateRecord(*key, attempt.run_key, NOON, "fail", "critical", 2.0, 1.0, "loops", result)
            save_results(connection, [answer])
            lock_states(connection, [key], NOON)
            standing = {"standing": "fail", "told": "fail", "sequence": 1, "run_key": attempt.run_key, "result": result}
            save_state(connection, AlertState(*key, first_at=NOON, changed_at=NOON, **standing))
            said = ("raised", "fail", "pass", NOON, attempt.run_key, True, None, ("webhook:team",), {"gate": "loops"})
            append_history(connection, HistoryEntry(f"{run_id}:raised", *key, *said))
            write_self_test(connection, a_whole_self_test(model=MODEL, suite=SUITE))
            save_comparison(connection, a_comparison(key=attempt.run_key, model=MODEL, suite=SUITE, golden_mean=0.1))
