"""The statements that change the index, each on a connection whose transaction somebody else owns.

That way a later part can add a row of its own to the same transaction. Knows nothing of URLs and engines.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from model_health.errors import StoreError
from model_health.store.index import rollup
from model_health.store.index.outbox import OutboxItem, enqueue, supersede
from model_health.store.index.points import clean, insert_points
from model_health.store.index.records import (
    Attempt,
    Identity,
    Point,
    RunRecord,
    RunResult,
    RunStart,
    RunStatus,
    SampleRecord,
)
from model_health.store.index.tables import metric_points, runs, samples
from model_health.store.index.upsert import insert_into
from model_health.store.index.validation import clear_validation

MAX_LOG_TAIL = 16_000
"""Characters of a failed run's log that are kept: its end, where the cause is."""


def start_run(connection: Connection, start: RunStart) -> Attempt:
    """Make or take over the row of a run key. What an earlier try of the same key wrote is removed."""
    token = uuid.uuid4().hex
    values: dict[str, Any] = {column.name: None for column in runs.columns if column.name != "id"}
    values |= {
        "run_key": start.folder.key,
        "attempt": token,
        "model": start.folder.model,
        "suite": start.folder.suite,
        "suite_version": start.suite_version,
        "suite_digest": start.suite_digest,
        "run_id": start.run_id,
        "dag_id": start.dag_id,
        "dag_run_id": start.dag_run_id,
        "try_number": start.try_number,
        "status": RunStatus.STARTED.value,
        "started_at": start.started_at,
        "heartbeat_at": start.started_at,
    }
    upsert = insert_into(connection.dialect.name, runs).values(values)
    changed = {name: upsert.excluded[name] for name in values if name != "run_key"}
    statement = upsert.on_conflict_do_update(index_elements=["run_key"], set_=changed).returning(runs.c.id)
    row_id = connection.execute(statement).scalar_one()
    rollup.recount(connection, start.folder.model, start.folder.suite, _clear(connection, row_id))
    clear_validation(connection, row_id)
    supersede(connection, start.folder.key)
    return Attempt(start.folder.key, token)


def finish_run(
    connection: Connection,
    attempt: Attempt,
    result: RunResult,
    sample_records: Sequence[SampleRecord],
    points: Iterable[Point],
    outbox: Sequence[OutboxItem] = (),
) -> None:
    """Record a measured run with all its rows, and hold what shall leave for it. Doing it again gives the same rows."""
    changed = {
        "status": RunStatus.MEASURED.value,
        "verdict": result.verdict,
        "reason": clean(result.reason),
        "log_tail": None,
        "ended_at": result.ended_at,
        "heartbeat_at": result.ended_at,
        "manifest_uri": result.manifest_uri,
        "manifest_digest": result.manifest_digest,
        "report_schema_version": result.report_schema_version,
        "manifest_schema_version": result.manifest_schema_version,
        **_identity_columns(result.identity),
        "flags": dict(result.flags),
        "unhealthy_flags": dict(result.unhealthy_flags),
    }
    open_row = _row_of(attempt).where(runs.c.status != RunStatus.COULD_NOT_MEASURE.value)
    row = connection.execute(open_row.values(changed).returning(runs.c.id, runs.c.model, runs.c.suite)).one_or_none()
    if row is None:
        raise _superseded(connection, attempt)
    before = _clear(connection, row.id)
    _insert_samples(connection, row.id, sample_records)
    sums = insert_points(connection, row.id, row.model, row.suite, list(points))
    rollup.write_run(connection, row.id, row.model, row.suite, before, sums)
    enqueue(connection, outbox, "held")


def fail_run(
    connection: Connection,
    attempt: Attempt,
    reason: str,
    log_tail: str,
    ended_at: datetime,
    outbox: Sequence[OutboxItem] = (),
) -> bool:
    """Record that a started run could not be measured, and let `outbox` go out: it has no reports to validate.

    Returns False, changing nothing, if the run is not running.
    """
    text = clean(reason)
    if not text:
        raise StoreError("a failed run needs a reason", subject=attempt.run_key)
    changed = {
        "status": RunStatus.COULD_NOT_MEASURE.value,
        "verdict": "could_not_measure",
        "reason": text,
        "log_tail": clean(log_tail[-MAX_LOG_TAIL:]) or None,
        "ended_at": ended_at,
    }
    statement = _row_of(attempt).where(runs.c.status == RunStatus.STARTED.value)
    if connection.execute(statement.values(changed)).rowcount == 0:
        return False
    enqueue(connection, outbox)
    return True


def record_failure(
    connection: Connection,
    start: RunStart,
    reason: str,
    log_tail: str,
    ended_at: datetime,
    outbox: Sequence[OutboxItem] = (),
) -> bool:
    """`fail_run` for whoever holds no attempt: the parent of a process that died, started or not.

    Returns False, changing nothing, if that try was measured before it died, or a newer try took over.
    """
    columns = (runs.c.status, runs.c.started_at, runs.c.try_number)
    row = connection.execute(select(*columns).where(runs.c.run_key == start.folder.key).with_for_update()).one_or_none()
    if row is not None:
        measured = row.status == RunStatus.MEASURED.value and row.started_at >= start.started_at
        if measured or (row.try_number or 0) > (start.try_number or 0):
            return False
    return fail_run(connection, start_run(connection, start), reason, log_tail, ended_at, outbox)


def reap_run(
    connection: Connection, run: RunRecord, reason: str, ended_at: datetime, outbox: Sequence[OutboxItem] = ()
) -> bool:
    """`fail_run` for whoever holds no attempt, of a run that gave no sign of life since `run` was read."""
    same = (runs.c.run_key == run.run_key, runs.c.status == RunStatus.STARTED.value)
    silent = (runs.c.heartbeat_at == run.heartbeat_at, runs.c.started_at == run.started_at)
    token = connection.execute(select(runs.c.attempt).where(*same, *silent).with_for_update()).scalar_one_or_none()
    return token is not None and fail_run(connection, Attempt(run.run_key, token), reason, "", ended_at, outbox)


def heartbeat(connection: Connection, attempt: Attempt, now: datetime) -> bool:
    """Say that a started run is alive. Returns False if it is not running, or another attempt took over."""
    statement = _row_of(attempt).where(runs.c.status == RunStatus.STARTED.value)
    return connection.execute(statement.values(heartbeat_at=now)).rowcount > 0


def _identity_columns(identity: Identity | None) -> dict[str, Any]:
    if identity is None:
        return {}
    return {
        "identity_digest": identity.digest,
        "revision": identity.revision,
        "weights_digest": identity.weights_digest,
        "dtype": identity.dtype,
        "quantization": identity.quantization,
        "attention_backend": identity.attention_backend,
        "device_class": identity.device_class,
        "libraries": dict(identity.libraries),
    }


def _row_of(attempt: Attempt) -> Any:
    return update(runs).where(runs.c.run_key == attempt.run_key, runs.c.attempt == attempt.token)


def _superseded(connection: Connection, attempt: Attempt) -> StoreError:
    found = connection.execute(
        select(runs.c.attempt, runs.c.reason).where(runs.c.run_key == attempt.run_key)
    ).one_or_none()
    if found is None:
        return StoreError("the index has no such run", subject=attempt.run_key, hint="start the run first")
    if found.attempt != attempt.token:
        return StoreError("a newer try of this run took over", subject=attempt.run_key)
    return StoreError(f"the run was already given up: {found.reason}", subject=attempt.run_key)


def _clear(connection: Connection, row_id: int) -> set[int]:
    """Remove what a run wrote; the days on which it had points, which have to be counted anew."""
    days = rollup.days_of(connection, row_id)
    connection.execute(delete(metric_points).where(metric_points.c.run_id == row_id))
    connection.execute(delete(samples).where(samples.c.run_id == row_id))
    return days


def _insert_samples(connection: Connection, row_id: int, records: Sequence[SampleRecord]) -> None:
    seen: set[str] = set()
    rows = []
    for record in records:
        if record.prompt_id in seen:
            raise StoreError("the prompt has two samples in one run", subject=record.prompt_id)
        seen.add(record.prompt_id)
        rows.append(
            {
                "run_id": row_id,
                "prompt_id": record.prompt_id,
                "prompt_group": record.prompt_group,
                "report_uri": record.report_uri,
                "report_digest": record.report_digest,
                "prompt_tokens": record.prompt_tokens,
                "generated_tokens": record.generated_tokens,
                "stopped_by": record.stopped_by,
                "time_to_first_token_seconds": record.time_to_first_token_seconds,
                "time_per_output_token_seconds": record.time_per_output_token_seconds,
                "loop_period": record.loop_period,
                "flags": list(record.flags),
                "unhealthy_flags": list(record.unhealthy_flags),
                "not_measured": dict(record.not_measured),
                "tolerated": None if record.tolerated is None else list(record.tolerated),
            }
        )
    if rows:
        connection.execute(insert(samples), rows)
