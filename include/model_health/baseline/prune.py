"""Forgets old runs: their reports, then their rows. What somebody may still ask for stays.

Owns what is never forgotten: promoted baselines and the runs behind them, evidence of open alerts, what is under way or
not delivered, and of each model and suite the newest runs, the newest valid one and the newest comparison. Baselines,
comparisons' rows and daily trends are never touched, so drift and history outlive reports.

Files go before rows, a manifest before its reports. Whoever dies in between leaves a row without files, which the next
call finds and finishes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from model_health.baseline.registry import history
from model_health.baseline.store import BaselineStore
from model_health.config.settings import Settings, load_settings
from model_health.errors import BadInput
from model_health.store.index import retention
from model_health.store.index.index import Index, utc_now
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore

SPARED: Final = 10
"""Newest runs of each model and suite that are never forgotten, whatever their age: gates look back at some."""
BASELINE: Final = "behind a promoted baseline"


@dataclass(frozen=True)
class Pruned:
    """What was forgotten, or would be.

    Args:
        done: whether anything was removed; False for a dry run.
        runs: keys, oldest first.
        kept: old runs that stayed, by what needs them.
    """

    done: bool
    runs: tuple[str, ...]
    kept: Mapping[str, int]

    def summary(self) -> dict[str, Any]:
        """For XCom: counts only."""
        return {"done": self.done, "runs": len(self.runs), "kept": dict(self.kept)}


def prune(
    *,
    days: float | None = None,
    runs: int | None = None,
    delete: bool = False,
    settings: Settings | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Pruned:
    """Forget old runs.

    Args:
        days: runs that started longer ago are old; None: the setting `retention_days`.
        runs: of each model and suite, runs beyond so many newest are old; None: the setting `retention_runs`.
        delete: False only says what would go.
        settings: read from the environment if None.
        clock: the present, in UTC.

    Raises:
        BadInput: neither an age nor a number is given, or one is not positive.
        StoreError: the index, the store or a promotion cannot be read or changed. What was forgotten by then stays so.
    """
    settings = settings or load_settings()
    days = settings.retention_days if days is None else days
    runs = settings.retention_runs if runs is None else runs
    if days is None and runs is None:
        hint = "give --days or --runs, or set MODEL_HEALTH_RETENTION_DAYS or MODEL_HEALTH_RETENTION_RUNS"
        raise BadInput("nothing says what is old", hint=hint)
    if not all(value is None or value > 0 for value in (days, runs)):
        raise BadInput("what is kept must be at least one day and one run")
    before = None if days is None else clock() - timedelta(days=days)
    behind = dict.fromkeys(_behind_baselines(settings.store_uri), BASELINE)
    with Index.open(settings.index_url, clock=clock) as index:
        with index.reading("look for old runs") as connection:
            old = retention.old_runs(connection, before=before, keep=runs, spared=SPARED)
            needed = {**retention.needed_runs(connection), **behind}
        kept = Counter(needed[run.folder.key] for run in old if run.folder.key in needed)
        going = [run for run in old if run.folder.key not in needed]
        if delete:
            store = ReportStore.open(settings.store_uri)
            going = [run for run in going if _forget(index, store, run)]
    return Pruned(delete, tuple(run.folder.key for run in going), dict(kept))


def _forget(index: Index, store: ReportStore, run: retention.OldRun) -> bool:
    with index.reading("look at an old run again") as connection:
        if not retention.is_still(connection, run):
            return False  # somebody measures it anew: its folder is theirs
    store.begin_run(run.folder)
    with index.transaction("forget an old run") as connection:
        return retention.forget(connection, run)


def _behind_baselines(store_uri: str) -> set[str]:
    """Keys of the runs behind every baseline that was ever promoted: one that counted may count again."""
    store, keys = BaselineStore.open(store_uri), set()
    for model, suite in sorted({(model, suite) for model, suite, _ in store.baselines()}):
        for name in {promotion.baseline_id for promotion in history(store, model, suite)}:
            document = store.read_document(model, suite, name)
            keys |= {RunFolder.of(model, suite, run.run_id).key for run in document.runs}
    return keys
