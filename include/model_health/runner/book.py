"""Writes a run down while it happens: its row and its folder first, then reports, last the manifest and the numbers.

Owns the order of writes, which makes a retry overwrite its own and nothing else, and a crash leave an unfinished run
and not half of one. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from model_health.delivery.enqueue import run_items
from model_health.errors import StoreError
from model_health.report.identity import HostIdentity, ModelIdentity
from model_health.report.manifest import MANIFEST_VERSION, AirflowIds, Manifest, PromptEntry
from model_health.report.samples import Sample, samples_of_manifest
from model_health.report.serialise import to_gzip, to_json
from model_health.report.trace import SCHEMA_VERSION, Trace
from model_health.sinks.context import context_of
from model_health.store.index.index import Index
from model_health.store.index.outbox import OutboxItem
from model_health.store.index.outbox_status import told_events
from model_health.store.index.records import (
    Attempt,
    Identity,
    Point,
    RunFilter,
    RunRecord,
    RunResult,
    RunStart,
    SampleRecord,
)
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore, StoredFile

_LOOK_BACK = 20
"""How many runs back a verdict is looked for, past those that are under way or died without a word."""


class RunBook:
    """One try of one run in the store and the index.

    Args:
        store, index: open.
        start: the run, before the model loads.
        sinks: where its samples shall go: the outbox gets them along with the index.
    """

    def __init__(self, store: ReportStore, index: Index, start: RunStart, sinks: Sequence[str] = ()) -> None:
        self.store = store
        self.index = index
        self.start = start
        self.sinks = tuple(sinks)
        self._attempt: Attempt | None = None

    @property
    def folder(self) -> RunFolder:
        """Where the run lies in the store."""
        return self.start.folder

    def begin(self) -> str:
        """Record that the run starts and clear what an earlier try left; the folder's URI."""
        self._attempt = self.index.start_run(self.start)
        return self.store.begin_run(self.folder)

    def alive(self) -> None:
        """Record a heartbeat.

        Raises:
            StoreError: the run was given up, or a newer try took over: nothing more may be written.
        """
        if self._attempt is not None and not self.index.heartbeat(self._attempt):
            raise StoreError("a newer try of this run took over", subject=self.start.run_id)

    def beat(self) -> bool:
        """Record a heartbeat if the run has begun; False where nobody waits for it any more."""
        return self._attempt is None or self.index.heartbeat(self._attempt)

    def keep(self, trace: Trace, prompt_id: str) -> StoredFile:
        """Store one report."""
        return self.store.write_report(self.folder, prompt_id, to_gzip(trace))

    def finish(self, manifest: Manifest, records: Sequence[SampleRecord], samples: Sequence[Sample]) -> StoredFile:
        """Store the manifest; record the run with its numbers, and what its sinks shall get, in one transaction."""
        assert self._attempt is not None, "begin comes first"
        self.alive()  # else this manifest would replace that of a newer try, or of whoever gave this one up
        stored = self.store.write_manifest(self.folder, to_json(manifest, indent=2))
        points = [point_of(sample) for sample in samples]
        self.index.finish_run(
            self._attempt, result_of(manifest, stored), records, points, self._outbox(manifest, samples)
        )
        return stored

    def give_up(self, manifest: Manifest) -> StoredFile | None:
        """Record a run that could not be measured, in the index and then in the store.

        Returns the manifest, or None where a newer try took over. One of the two places may fail: the other is written
        all the same, and the failure is raised at the end.
        """
        lost: StoreError | None = None
        try:
            reason, tail = manifest.reason or "", manifest.log_tail or ""
            outbox = self._outbox(manifest, samples_of_manifest(manifest))
            if self._attempt is None:
                mine = self.index.record_failure(self.start, reason, tail, outbox)
            else:
                mine = self.index.fail_run(self._attempt, reason, tail, outbox)
            if not mine:
                return None
        except StoreError as error:
            lost = error
        self.store.begin_run(self.folder)  # reports of a run that did not end belong to no run
        stored = self.store.write_manifest(self.folder, to_json(manifest, indent=2))
        if lost is not None:
            raise lost
        return stored

    def _outbox(self, manifest: Manifest, samples: Sequence[Sample]) -> list[OutboxItem]:
        return _items(self.index, self.folder, self.start.started_at, manifest, samples, self.sinks)


def orphan_items(index: Index, run: RunRecord, manifest: Manifest, sinks: Sequence[str]) -> list[OutboxItem]:
    """What sinks shall hear of a run that nobody holds any more."""
    return _items(index, run.folder, run.started_at, manifest, samples_of_manifest(manifest), sinks)


def _items(
    index: Index,
    folder: RunFolder,
    started_at: datetime,
    manifest: Manifest,
    samples: Sequence[Sample],
    sinks: Sequence[str],
) -> list[OutboxItem]:
    with index.reading("read what was told of an earlier try") as connection:
        told = {target: event["verdict"] for target, event in told_events(connection, folder.key).items()}
    # What the run before this one said, of the same model and suite.
    before = RunFilter(model=folder.model, suite=folder.suite, until=started_at)
    earlier = (run for run in index.runs(before, limit=_LOOK_BACK) if run.run_key != folder.key)
    previous = next((run.verdict for run in earlier if run.verdict is not None), None)
    return run_items(folder.key, sinks, samples, context_of(manifest), manifest, previous, told)


def run_start(
    model: str,
    suite: str,
    run_id: str,
    started_at: datetime,
    *,
    suite_version: str,
    suite_digest: str,
    airflow: AirflowIds | None,
) -> RunStart:
    """What the index is told before the model loads."""
    return RunStart(
        folder=RunFolder.of(model, suite, run_id),
        run_id=run_id,
        started_at=started_at,
        suite_version=suite_version,
        suite_digest=suite_digest,
        dag_id=airflow.dag_id if airflow else None,
        dag_run_id=airflow.run_id if airflow else None,
        try_number=airflow.try_number if airflow else None,
    )


def result_of(manifest: Manifest, stored: StoredFile) -> RunResult:
    """What the index notes of a run that has ended: its manifest, and where that is stored."""
    return RunResult(
        ended_at=manifest.ended_at,
        identity=identity_row(manifest.model),
        manifest_uri=stored.uri,
        manifest_digest=stored.digest,
        report_schema_version=SCHEMA_VERSION,
        manifest_schema_version=MANIFEST_VERSION,
        verdict=manifest.verdict,
        reason=manifest.reason,
        flags=manifest.flags,
        unhealthy_flags=manifest.unhealthy_flags,
    )


def identity_row(model: ModelIdentity | None) -> Identity | None:
    """The fields of an identity that people filter runs by, and a digest over what makes runs comparable.

    The digest leaves out the host and which card of its kind it was: one model on two equal workers has one digest.
    """
    if model is None:
        return None
    comparable = model.model_copy(
        update={"host": HostIdentity(), "device": model.device.model_copy(update={"uuid": None})}
    )
    return Identity(
        digest=f"sha256:{hashlib.sha256(to_json(comparable)).hexdigest()}",
        weights_digest=model.weights_digest,
        revision=model.revision,
        dtype=model.dtype,
        quantization=model.quantization.method if model.quantization.enabled else "none",
        attention_backend=model.attention_backend,
        device_class=model.device.kind,
        libraries=model.libraries,
    )


def record_of(entry: PromptEntry, stopped_by: str | None, why: dict[str, str]) -> SampleRecord:
    """One prompt's row. `why` explains the entry's nulls, by field name."""
    return SampleRecord(
        prompt_id=entry.prompt_id,
        prompt_group=entry.group,
        report_uri=entry.report_uri,
        report_digest=entry.digest,
        prompt_tokens=entry.prompt_tokens,
        generated_tokens=entry.generated_tokens,
        stopped_by=stopped_by,
        time_to_first_token_seconds=entry.time_to_first_token_seconds,
        time_per_output_token_seconds=entry.time_per_output_token_seconds,
        loop_period=entry.loop_period,
        flags=entry.flags,
        unhealthy_flags=entry.unhealthy_flags,
        not_measured=why,
        tolerated=entry.tolerated,
    )


_OWN_COLUMNS = ("model", "suite", "group")


def point_of(sample: Sample) -> Point:
    """A sample as the index keeps it: model, suite and group have columns of their own."""
    return Point(
        metric=sample.metric,
        value=sample.value,
        at=sample.timestamp,
        reason=sample.reason,
        prompt_id=sample.prompt_id,
        prompt_group=sample.labels.get("group"),
        labels={name: value for name, value in sample.labels.items() if name not in _OWN_COLUMNS},
    )
