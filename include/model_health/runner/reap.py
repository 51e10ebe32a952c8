"""Turns runs whose process died without a word into runs that could not be measured.

Owns which runs those are: they say `started`, their last sign of life lies far back (or ahead, where a clock was set
back since), and they give none while somebody watches. The last is what decides: a clock that jumps makes every run
look silent, but it stops no heart. A run that is reaped twice, or gives a sign in between, is left as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from model_health.config.settings import Settings, load_settings
from model_health.config.sinks import load_sinks
from model_health.errors import StoreError
from model_health.gates.evidence import CLOCK_SKEW, SILENT_AFTER
from model_health.report.extension import SuiteIdentity
from model_health.report.manifest import AirflowIds, Manifest
from model_health.report.serialise import to_json
from model_health.runner.book import orphan_items
from model_health.runner.heartbeat import BEAT_SECONDS
from model_health.store.index.index import Index, utc_now
from model_health.store.index.records import RunRecord
from model_health.store.reports import ReportStore

WATCH_SECONDS: Final = 2.5 * BEAT_SECONDS
"""How long a silent run is watched before it counts as dead: a live one beats twice meanwhile."""
REASON: Final = "its process died without a word: it started and gave no further sign of life"
MOST: Final = 1000
"""Runs that one call reaps; the next one takes the others."""


@dataclass(frozen=True)
class Reaped:
    """Keys of the runs that were reaped, and of those that were silent for long and live all the same."""

    reaped: tuple[str, ...] = ()
    alive: tuple[str, ...] = ()


def reap(
    *,
    settings: Settings | None = None,
    silent_after: timedelta = SILENT_AFTER,
    clock: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> Reaped:
    """Reap what is dead. It waits only where some run is silent.

    Args:
        settings: read from the environment if None.
        silent_after: since the last sign of life; shorter ones are not looked at.
        clock: the present, in UTC.
        sleep: waits while the silent runs are watched.

    Raises:
        ConfigError: sinks.yaml is wrong.
        StoreError: the index or the store failed; the runs after it are left to the next call.
    """
    settings = settings or load_settings()
    sinks, store = load_sinks(settings).enabled, ReportStore.open(settings.store_uri)
    with Index.open(settings.index_url, clock=clock) as index:
        silent = index.silent_runs(silent_after, ahead=CLOCK_SKEW, limit=MOST)
        if not silent:
            return Reaped()
        sleep(WATCH_SECONDS)
        dead = [run for run in silent if _end(index, store, run, sinks, clock())]
    keys = {run.run_key for run in dead}
    return Reaped(tuple(sorted(keys)), tuple(sorted(run.run_key for run in silent if run.run_key not in keys)))


def _end(index: Index, store: ReportStore, run: RunRecord, sinks: Sequence[str], now: datetime) -> bool:
    """Record one run as not measured, unless it gave a sign of life since it was read."""
    manifest = Manifest(
        run_id=run.run_id,
        model_name=run.folder.model,
        suite=SuiteIdentity(
            name=run.folder.suite, version=run.suite_version or "unknown", digest=run.suite_digest or "unknown"
        ),
        airflow=_airflow(run),
        status="could_not_measure",
        verdict="could_not_measure",
        reason=REASON,
        started_at=run.started_at,
        ended_at=max(now, run.started_at),
    )
    if not index.reap_run(run, REASON, orphan_items(index, run, manifest, sinks)):
        return False
    try:
        store.begin_run(run.folder)  # reports of a run that did not end belong to no run
        store.write_manifest(run.folder, to_json(manifest, indent=2))
    except StoreError as error:
        error.add_note(f"{run.run_key} is reaped in the index all the same")
        raise
    return True


def _airflow(run: RunRecord) -> AirflowIds | None:
    if run.dag_id is None or run.dag_run_id is None:
        return None
    return AirflowIds(dag_id=run.dag_id, run_id=run.dag_run_id, try_number=run.try_number)
