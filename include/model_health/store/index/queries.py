"""The statements that read the index. Aggregation happens in SQL: a chart never pulls the points it is made of.

Each function builds a `Select`; running it and turning rows into records is `index`'s part.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select

from model_health.store.index.records import Identity, RunFilter, RunRecord, RunStatus, TrendFilter, label_text
from model_health.store.index.tables import metric_points, reasons, runs, samples, series
from model_health.store.index.types import bucket_of
from model_health.store.names import RunFolder


def select_runs(where: RunFilter, limit: int, offset: int) -> Select[Any]:
    """Runs, newest first."""
    conditions: list[ColumnElement[bool]] = []
    for name in ("model", "suite", "status", "verdict", "run_id", "identity_digest", "weights_digest"):
        value = getattr(where, name)
        if value is not None:
            conditions.append(runs.c[name] == str(value))
    if where.since is not None:
        conditions.append(runs.c.started_at >= where.since)
    if where.until is not None:
        conditions.append(runs.c.started_at < where.until)
    if where.heartbeat_before is not None:
        conditions.append(runs.c.heartbeat_at < where.heartbeat_before)
    if where.heartbeat_after is not None:
        conditions.append(runs.c.heartbeat_at > where.heartbeat_after)
    newest = (runs.c.started_at.desc(), runs.c.id.desc())
    return select(runs).where(*conditions).order_by(*newest).limit(limit).offset(offset)


def select_run(run_key: str) -> Select[Any]:
    """The run of a key."""
    return select(runs).where(runs.c.run_key == run_key)


def select_samples(run_key: str) -> Select[Any]:
    """The samples of a run, by prompt."""
    return (
        select(samples)
        .join(runs, runs.c.id == samples.c.run_id)
        .where(runs.c.run_key == run_key)
        .order_by(samples.c.prompt_id)
    )


def select_points(run_key: str, prompt_id: str | None) -> Select[Any]:
    """The points of a run, or of one prompt in it; `prompt_id=""` takes those of the run as a whole."""
    query = (
        select(metric_points.c.at, metric_points.c.value, reasons.c.text.label("reason"), series)
        .select_from(metric_points)
        .join(runs, runs.c.id == metric_points.c.run_id)
        .join(series, series.c.id == metric_points.c.series_id)
        .outerjoin(reasons, reasons.c.id == metric_points.c.reason_id)
        .where(runs.c.run_key == run_key)
        .order_by(series.c.metric, series.c.prompt_id, series.c.labels)
    )
    return query if prompt_id is None else query.where(series.c.prompt_id == prompt_id)


def select_trend(where: TrendFilter, bucket: timedelta | None, limit: int) -> Select[Any]:
    """The newest `limit` steps of a trend, newest first: one per run, or one per `bucket`."""
    conditions: list[ColumnElement[bool]] = [
        series.c.model == where.model,
        series.c.suite == where.suite,
        series.c.metric == where.metric,
    ]
    if where.prompt_id is not None:
        conditions.append(series.c.prompt_id == where.prompt_id)
    elif where.scope != "all":
        conditions.append(series.c.prompt_id == "" if where.scope == "run" else series.c.prompt_id != "")
    if where.prompt_group is not None:
        conditions.append(series.c.prompt_group == where.prompt_group)
    if where.labels is not None:
        conditions.append(series.c.labels == label_text(where.labels))
    if where.since is not None:
        conditions.append(metric_points.c.at >= where.since)
    if where.until is not None:
        conditions.append(metric_points.c.at < where.until)
    value = metric_points.c.value
    step = metric_points.c.run_id if bucket is None else bucket_of(metric_points.c.at, bucket)
    source = metric_points.join(series, series.c.id == metric_points.c.series_id)
    if where.suite_digest is not None or where.identity_digest is not None:
        source = source.join(runs, runs.c.id == metric_points.c.run_id)
        wanted = {"suite_digest": where.suite_digest, "identity_digest": where.identity_digest}
        conditions.extend(runs.c[name] == value for name, value in wanted.items() if value is not None)
    steps = (
        select(
            step.label("step"),
            func.min(metric_points.c.at).label("at"),
            func.count(metric_points.c.run_id.distinct()).label("runs"),
            func.count(value).label("count_"),
            (func.count() - func.count(value)).label("not_measured"),
            func.avg(value).label("mean"),
            func.min(value).label("minimum"),
            func.max(value).label("maximum"),
        )
        .select_from(source)
        .where(*conditions)
        .group_by(step)
        .order_by(func.min(metric_points.c.at).desc())
        .limit(limit)
        .subquery("steps")
    )
    if bucket is not None:
        return select(steps).order_by(steps.c.at.desc())
    return select(steps, runs.c.run_key).join(runs, runs.c.id == steps.c.step).order_by(steps.c.at.desc())


def select_metrics(model: str, suite: str) -> Select[Any]:
    """The names of the metrics that a model has on a suite."""
    return (
        select(series.c.metric)
        .where(series.c.model == model, series.c.suite == suite)
        .distinct()
        .order_by(series.c.metric)
    )


def run_record(row: Row[Any]) -> RunRecord:
    """A row of `runs` as a record."""
    values = row._mapping
    identity = None
    if values["identity_digest"] is not None:
        names = ("weights_digest", "revision", "dtype", "quantization", "attention_backend", "device_class")
        identity = Identity(
            digest=values["identity_digest"],
            libraries=values["libraries"] or {},
            **{name: values[name] for name in names},
        )
    same = set(RunRecord.__dataclass_fields__) & set(values) - {"status", "flags", "unhealthy_flags"}
    return RunRecord(
        folder=RunFolder(*values["run_key"].split("/")),
        status=RunStatus(values["status"]),
        identity=identity,
        flags=values["flags"] or {},
        unhealthy_flags=values["unhealthy_flags"] or {},
        **{name: values[name] for name in same},
    )
