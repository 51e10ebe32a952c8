"""What goes into the index and what comes out: frozen records that hold the rules a row must keep.

A value that was not measured is None with a reason, in every record. Times are UTC-aware. Knows no SQL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from model_health.errors import StoreError
from model_health.report.manifest import Verdict as Verdict
from model_health.store.index.types import require_utc
from model_health.store.names import RunFolder

Scope = Literal["all", "prompts", "run"]
"""Which series a trend takes: every one, those of single prompts, or those of the run as a whole."""


class RunStatus(StrEnum):
    """How far a run came. A run that stays `started` after its last heartbeat died without a word."""

    STARTED = "started"
    MEASURED = "measured"
    COULD_NOT_MEASURE = "could_not_measure"


@dataclass(frozen=True)
class RunStart:
    """What is known before the model loads. `dag_*` and `try_number` are None outside Airflow."""

    folder: RunFolder
    run_id: str
    started_at: datetime
    suite_version: str | None = None
    suite_digest: str | None = None
    dag_id: str | None = None
    dag_run_id: str | None = None
    try_number: int | None = None


@dataclass(frozen=True)
class Attempt:
    """One try of a run. Only the newest attempt of a run key may write to its row."""

    run_key: str
    token: str


@dataclass(frozen=True)
class Identity:
    """Which model was measured, on what: the fields that people filter runs by. `digest` covers the whole identity."""

    digest: str
    weights_digest: str | None = None
    revision: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    attention_backend: str | None = None
    device_class: str | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """What the manifest of a measured run says. `flags` and `unhealthy_flags` count prompts by flag."""

    ended_at: datetime
    identity: Identity | None
    manifest_uri: str
    manifest_digest: str
    report_schema_version: str
    manifest_schema_version: str
    verdict: Verdict
    reason: str | None = None
    flags: Mapping[str, int] = field(default_factory=dict)
    unhealthy_flags: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleRecord:
    """One prompt of one run. `not_measured`: why a measured field is None, by field name.

    `flags` were raised; `unhealthy_flags` are those of them that the prompt does not tolerate. `loop_period` is
    in tokens, None where there is no loop. `tolerated` are the flags that the prompt may raise; None where an older
    version did not record them.
    """

    prompt_id: str
    prompt_group: str | None
    report_uri: str | None
    report_digest: str | None
    prompt_tokens: int | None
    generated_tokens: int | None
    stopped_by: str | None
    time_to_first_token_seconds: float | None
    time_per_output_token_seconds: float | None
    loop_period: int | None = None
    flags: tuple[str, ...] = ()
    unhealthy_flags: tuple[str, ...] = ()
    not_measured: Mapping[str, str] = field(default_factory=dict)
    tolerated: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in _MEASURED:
            value = getattr(self, name)
            if value is None and not self.not_measured.get(name):
                raise StoreError(f"{name} is null without a reason", subject=f"prompt {self.prompt_id}")
            if isinstance(value, float) and not math.isfinite(value):
                raise StoreError(f"{name} is {value}, not a number", subject=f"prompt {self.prompt_id}")


_MEASURED = (
    "report_uri",
    "report_digest",
    "prompt_tokens",
    "generated_tokens",
    "time_to_first_token_seconds",
    "time_per_output_token_seconds",
)


@dataclass(frozen=True)
class Point:
    """One value of one metric, or why there is none. `prompt_id` is None for a metric of the run as a whole.

    `labels` tell apart what else a metric is split by (`flag`, `stage`, `layer_band`): few names, few values each.
    """

    metric: str
    value: float | None
    at: datetime
    reason: str | None = None
    prompt_id: str | None = None
    prompt_group: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.metric:
            raise StoreError("a metric point has no metric name")
        if self.value is None and not (self.reason or "").strip():
            raise StoreError("the value is null without a reason", subject=self.metric)
        if self.value is not None and self.reason is not None:
            raise StoreError(f"a measured value cannot have a reason ({self.reason})", subject=self.metric)
        if self.value is not None and not math.isfinite(self.value):
            raise StoreError(f"{self.value} is not a number", subject=self.metric, hint="store null and the reason")
        require_utc(self.at, f"{self.metric}: the time")


def label_text(labels: Mapping[str, str]) -> str:
    """Labels in the one form that the index keeps: `name=value`, sorted, parted by commas. Raises `StoreError`."""
    for part in (*labels, *labels.values()):
        if not part or set(part) & set("=,"):
            raise StoreError("a label is empty or holds '=' or ','", subject=repr(dict(labels)))
    return ",".join(f"{name}={labels[name]}" for name in sorted(labels))


def label_mapping(text: str) -> dict[str, str]:
    """The inverse of `label_text`."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {name: value for name, _, value in pairs}


@dataclass(frozen=True)
class RunRecord:
    """A row of `runs`."""

    folder: RunFolder
    run_id: str
    status: RunStatus
    verdict: Verdict | None
    reason: str | None
    log_tail: str | None
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    suite_version: str | None
    suite_digest: str | None
    dag_id: str | None
    dag_run_id: str | None
    try_number: int | None
    manifest_uri: str | None
    manifest_digest: str | None
    report_schema_version: str | None
    manifest_schema_version: str | None
    identity: Identity | None
    flags: Mapping[str, int]
    unhealthy_flags: Mapping[str, int]

    @property
    def run_key(self) -> str:
        """Names the run: `<model>/<suite>/<run folder>`."""
        return self.folder.key


@dataclass(frozen=True)
class RunFilter:
    """Which runs to list; None does not filter. `since` is inclusive, `until` and the two of heartbeats are not."""

    model: str | None = None
    suite: str | None = None
    status: RunStatus | None = None
    verdict: Verdict | None = None
    run_id: str | None = None
    identity_digest: str | None = None
    weights_digest: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    heartbeat_before: datetime | None = None
    heartbeat_after: datetime | None = None


@dataclass(frozen=True)
class TrendFilter:
    """Which points a trend takes. `since` is inclusive, `until` is not; None does not filter.

    `labels`, if given, must be all the labels of a point: `{"flag": "nan_detected"}`, or `{}` for points without any.
    """

    model: str
    suite: str
    metric: str
    since: datetime | None = None
    until: datetime | None = None
    scope: Scope = "all"
    prompt_id: str | None = None
    prompt_group: str | None = None
    labels: Mapping[str, str] | None = None
    suite_digest: str | None = None
    identity_digest: str | None = None


@dataclass(frozen=True)
class TrendPoint:
    """One step of a trend: a run, or all runs of a stretch of time (`run_key` is None then).

    `mean`, `minimum`, `maximum` are over the `count` measured values, and None when there are none; `not_measured`
    counts the nulls. `at` is the run's earliest point, or the start of the stretch.
    """

    at: datetime
    run_key: str | None
    runs: int
    count: int
    not_measured: int
    mean: float | None
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class ModelRecord:
    """A model on a suite: how many runs it has, and the newest of them."""

    model: str
    suite: str
    runs: int
    last: RunRecord
