"""The index as the rest of the library sees it: open it, record runs in it, ask it questions.

Every method is one transaction. Errors are `StoreError`s of one line that name the database without its password.
Knows nothing of reports: it takes and gives the records of `records`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, Row, Select, select

from model_health.errors import StoreError
from model_health.store.index import migrate, pairs, queries, write
from model_health.store.index.engine import IndexUrl, index_faults, make_engine, parse_index_url, writer
from model_health.store.index.outbox import OutboxItem
from model_health.store.index.records import (
    Attempt,
    ModelRecord,
    Point,
    RunFilter,
    RunRecord,
    RunResult,
    RunStart,
    RunStatus,
    SampleRecord,
    TrendFilter,
    TrendPoint,
    label_mapping,
)
from model_health.store.index.tables import runs
from model_health.store.index.types import bucket_start

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


class Index:
    """An open index. Make it with `open`; it is a context manager. One process, any number of threads."""

    def __init__(self, engine: Engine, where: IndexUrl, clock: Clock) -> None:
        self._engine = engine
        self._where = where
        self._clock = clock

    @classmethod
    def open(cls, url: str | Path, *, migrate_up: bool = True, clock: Clock = utc_now) -> Self:
        """Open the index at `sqlite:///path`, a plain path or `postgresql://...`.

        Brings an older or empty database up to date, unless `migrate_up` is False: then those are refused. Raises
        `ConfigError` for a URL that is not allowed, `StoreError` if the database cannot be reached or is newer.
        """
        where = parse_index_url(url)
        engine = make_engine(where)
        try:
            found = migrate.current_of(engine, where)
            if found != migrate.head():
                if not migrate_up:
                    raise StoreError(
                        f"the index is at version {found or 'none'}, not {migrate.head()}",
                        subject=where.shown,
                        hint="migrate it, or use the Model Health that wrote it",
                    )
                migrate.upgrade_engine(engine, where)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, where, clock)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def shown(self) -> str:
        """Where the index is, fit to print."""
        return self._where.shown

    @contextmanager
    def transaction(self, doing: str) -> Iterator[Connection]:
        """One transaction that writes, for the functions of modules beside this one: committed at the end, or nothing.

        Raises `StoreError` that says what was being done. Keep it short: on SQLite nobody else can write meanwhile.
        """
        with index_faults(self._where, doing), writer(self._engine).begin() as connection:
            yield connection

    @contextmanager
    def reading(self, doing: str) -> Iterator[Connection]:
        """A connection to read from, for the functions of modules beside this one."""
        with index_faults(self._where, doing), self._engine.connect() as connection:
            yield connection

    # ------------------------------------------------------------------------------------------------- recording
    def start_run(self, start: RunStart) -> Attempt:
        """Record that a run starts; call it before the model loads.

        A retry of the same run key takes over the row, and what the earlier try left is removed. The attempt that is
        returned is the only one that may finish, fail or keep alive this run from now on.
        """
        with index_faults(self._where, "record the start of a run"), writer(self._engine).begin() as connection:
            return write.start_run(connection, start)

    def finish_run(
        self,
        attempt: Attempt,
        result: RunResult,
        samples: Sequence[SampleRecord],
        points: Iterable[Point],
        outbox: Sequence[OutboxItem] = (),
    ) -> None:
        """Record a measured run, its samples and its metric points, all or nothing. Repeating it changes nothing.

        `outbox` is what shall leave this machine for the run: held back until the run's reports are found valid.

        Raises `StoreError` if the run was never started, was given up (`fail_run`), or a newer try took over.
        """
        with self.transaction("record a run") as connection:
            write.finish_run(connection, attempt, result, samples, points, outbox)

    def fail_run(self, attempt: Attempt, reason: str, log_tail: str = "", outbox: Sequence[OutboxItem] = ()) -> bool:
        """Record that a run could not be measured, why, and the end of its log; `outbox` may leave at once.

        Returns False and changes nothing if the run was measured after all, or a newer try took over.
        """
        with self.transaction("record a failed run") as connection:
            return write.fail_run(connection, attempt, reason, log_tail, self._clock(), outbox)

    def record_failure(
        self, start: RunStart, reason: str, log_tail: str = "", outbox: Sequence[OutboxItem] = ()
    ) -> bool:
        """`fail_run` for whoever holds no attempt: the parent of a process that died, whether it had started or not.

        Returns False and changes nothing if that try was measured before it died (its row started no earlier than
        `start` says), or a try with a higher number took over.
        """
        with self.transaction("record a failed run") as connection:
            return write.record_failure(connection, start, reason, log_tail, self._clock(), outbox)

    def heartbeat(self, attempt: Attempt) -> bool:
        """Say that the run is alive. False means that it should stop: it was given up, or a newer try took over."""
        with index_faults(self._where, "record a heartbeat"), writer(self._engine).begin() as connection:
            return write.heartbeat(connection, attempt, self._clock())

    # --------------------------------------------------------------------------------------------------- reading
    def run(self, run_key: str) -> RunRecord | None:
        """The run of a key, or None."""
        rows = self.rows(queries.select_run(run_key))
        return queries.run_record(rows[0]) if rows else None

    def runs(self, where: RunFilter | None = None, *, limit: int = 100, offset: int = 0) -> list[RunRecord]:
        """The runs that match, newest first."""
        return [queries.run_record(row) for row in self.rows(queries.select_runs(where or RunFilter(), limit, offset))]

    def silent_runs(self, after: timedelta, *, ahead: timedelta | None = None, limit: int = 100) -> list[RunRecord]:
        """Runs that say `started` but gave no sign of life for `after`: their process died without a word.

        With `ahead`, those as well whose last sign lies further ahead than that: a clock was set back, and they would
        never grow old.
        """
        now = self._clock()
        found = self.runs(RunFilter(status=RunStatus.STARTED, heartbeat_before=now - after), limit=limit)
        if ahead is not None:
            found += self.runs(RunFilter(status=RunStatus.STARTED, heartbeat_after=now + ahead), limit=limit)
        return found[:limit]

    def reap_run(self, run: RunRecord, reason: str, outbox: Sequence[OutboxItem] = ()) -> bool:
        """Record that a run that was read as started could not be measured, unless it gave a sign of life since.

        Returns False and changes nothing where it did, ended, or a newer try took over.
        """
        with self.transaction("record a dead run") as connection:
            return write.reap_run(connection, run, reason, self._clock(), outbox)

    def samples(self, run_key: str) -> list[SampleRecord]:
        """The samples of a run, by prompt id."""
        found = []
        for row in self.rows(queries.select_samples(run_key)):
            values = {name: value for name, value in row._mapping.items() if name != "run_id"}
            found_lists = ((name, values[name]) for name in ("flags", "unhealthy_flags", "tolerated"))
            lists = {name: tuple(listed) for name, listed in found_lists if listed is not None}
            found.append(SampleRecord(**{**values, **lists}))
        return found

    def points(self, run_key: str, prompt_id: str | None = None) -> list[Point]:
        """The metric points of a run, or of one prompt in it; `prompt_id=""` gives those of the run as a whole."""
        return [
            Point(
                metric=row.metric,
                value=row.value,
                at=row.at,
                reason=row.reason,
                prompt_id=row.prompt_id or None,
                prompt_group=row.prompt_group or None,
                labels=label_mapping(row.labels),
            )
            for row in self.rows(queries.select_points(run_key, prompt_id))
        ]

    def trend(self, where: TrendFilter, *, bucket: timedelta | None = None, limit: int = 1000) -> list[TrendPoint]:
        """A metric over time, aggregated in SQL, oldest first: one step per run, or per `bucket` of time.

        With more than `limit` steps the newest are given.
        """
        if bucket is not None and bucket < timedelta(seconds=1):
            raise StoreError("a trend's bucket must be at least a second", subject=str(bucket))
        rows = self.rows(queries.select_trend(where, bucket, limit))
        return [
            TrendPoint(
                at=row.at if bucket is None else bucket_start(row.step, bucket),
                run_key=row.run_key if bucket is None else None,
                runs=row.runs,
                count=row.count_,
                not_measured=row.not_measured,
                mean=row.mean,
                minimum=row.minimum,
                maximum=row.maximum,
            )
            for row in reversed(rows)
        ]

    def models(self) -> list[ModelRecord]:
        """Every model and suite that has a run, with its newest run."""
        newest = {row.run_id: row.total for row in self.rows(pairs.select_newest())}
        found = self.rows(select(runs).where(runs.c.id.in_(newest)).order_by(runs.c.model, runs.c.suite))
        return [ModelRecord(row.model, row.suite, newest[row.id], queries.run_record(row)) for row in found]

    def metrics(self, model: str, suite: str) -> list[str]:
        """The names of the metrics that a model has on a suite, sorted."""
        return [row.metric for row in self.rows(queries.select_metrics(model, suite))]

    def rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """Run any SELECT over `tables`: for questions that have no method here. Aggregate in it; do not pull points."""
        with index_faults(self._where, "read the index"), self._engine.connect() as connection:
            return connection.execute(statement).all()
