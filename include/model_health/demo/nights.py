"""Writes one made-up run as a real one is written: row, reports, manifest, samples, points, validation.

Where the reports of a night are not kept, its numbers are those of a night that was built in full, varied a little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection

from model_health.catalog.loader import catalogue
from model_health.demo.occasion import Occasion
from model_health.demo.plan import Effect
from model_health.demo.reports import SUITE_IDENTITY, MadePrompt, build, entry_of, manifest_of
from model_health.demo.telemetry import NOISE
from model_health.demo.texts import PROMPTS
from model_health.report.manifest import Manifest
from model_health.report.samples import Sample, samples_of_manifest
from model_health.report.serialise import digest, to_gzip, to_json
from model_health.runner.book import point_of, record_of, result_of, run_start
from model_health.store.files import LocalFiles
from model_health.store.index import write
from model_health.store.index.records import Attempt, SampleRecord
from model_health.store.index.validation import FailureRecord, ValidationRecord, run_state, write_validation
from model_health.store.reports import ReportStore
from model_health.store.uri import parse_location

NOT_KEPT: Final = "the demonstration keeps the reports of some nights only"
EXPECTATIONS: Final = 171
_ENTROPY_STEP: Final = 0.05


class QuickFiles(LocalFiles):
    """Files that need not outlive a loss of power: what is made up can be made up again."""

    def write(self, path: str, data: bytes) -> None:
        """See `Files.write`; not flushed to the disk."""
        target = self._inside(path, "write")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def quick_store(root: Path) -> ReportStore:
    """The report store at a folder, written without waiting for the disk."""
    return ReportStore(parse_location(root), QuickFiles(root))


@dataclass
class NightWriter:
    """Writes runs into a store and, on connections that the caller owns, the index."""

    store: ReportStore
    _built: dict[tuple[str, Effect], list[MadePrompt]] = field(default_factory=dict)

    def start(self, connection: Connection, night: Occasion) -> Attempt:
        """Write that a run began; alone, it is one that died."""
        start = run_start(
            night.model.name,
            SUITE_IDENTITY.name,
            night.run_id,
            night.started,
            suite_version=SUITE_IDENTITY.version,
            suite_digest=SUITE_IDENTITY.digest,
            airflow=night.airflow,
        )
        return write.start_run(connection, start)

    def write(self, connection: Connection, night: Occasion) -> tuple[Manifest, list[Sample]]:
        """Write one run; its manifest, and every sample of it."""
        attempt = self.start(connection, night)
        made, samples = ([], []) if night.reason else self._prompts(night)
        records: list[SampleRecord] = []
        entries = []
        for one, mine in zip(made, samples, strict=True):
            content = to_gzip(one.trace) if night.keeps_reports else None
            uri = self.store.report_uri(night.folder, one.prompt.id)
            if content is not None:
                uri = self.store.write_report(night.folder, one.prompt.id, content).uri
            entry = entry_of(one, uri, digest(content or b""), mine)
            records.append(_record(one, entry, kept=content is not None))
            entries.append(entry)
        manifest = manifest_of(night, entries)
        stored = self.store.write_manifest(night.folder, to_json(manifest, indent=2))
        everything = [*(sample for mine in samples for sample in mine), *samples_of_manifest(manifest)]
        if night.reason is not None:
            write.fail_run(connection, attempt, night.reason, f"{night.reason}\n", manifest.ended_at)
            return manifest, everything
        points = [point_of(sample) for sample in everything]
        write.finish_run(connection, attempt, result_of(manifest, stored), records, points)
        self._validate(connection, night, manifest, attempt.run_key)
        return manifest, everything

    def _prompts(self, night: Occasion) -> tuple[list[MadePrompt], list[tuple[Sample, ...]]]:
        if night.keeps_reports:
            made = build(night, night.effect)
            return made, [one.samples for one in made]
        # What flags are raised follows from the entropy, so a night is varied from one of about the same.
        near = round(night.effect.entropy / _ENTROPY_STEP) * _ENTROPY_STEP
        key = (night.model.name, Effect(entropy=near))
        if key not in self._built:
            self._built[key] = build(replace(night, day=0), Effect(entropy=near))
        made = self._built[key]
        rest = replace(night.effect, entropy=night.effect.entropy / near)
        rng = night.random(2)
        return made, [_varied(one.samples, night, rest, rng) for one in made]

    def _validate(self, connection: Connection, night: Occasion, manifest: Manifest, run_key: str) -> None:
        state = run_state(connection, run_key)
        assert state is not None
        at = manifest.ended_at + timedelta(seconds=20)
        found = ValidationRecord(True, at, len(PROMPTS), 0, EXPECTATIONS, 0.9)
        if night.invalid:
            spoilt = {"report": PROMPTS[0].id, "observed": "digest of another report"}
            failure = FailureRecord(
                "reports.digest", "critical", None, "The stored bytes have the digest of the manifest.",
                len(PROMPTS), 1, 1, (spoilt,),
            )  # fmt: skip
            why = f"1 of {len(PROMPTS)} reports is not the one that the manifest names"
            found = replace(found, valid=False, invalid_reports=1, reason=why, failures=(failure,))
        write_validation(connection, state, found)


def _record(made: MadePrompt, entry: Any, *, kept: bool) -> SampleRecord:
    record = record_of(entry, made.trace.model_health.stopped_by, {})
    if kept:
        return record
    return replace(
        record,
        report_uri=None,
        report_digest=None,
        not_measured={"report_uri": NOT_KEPT, "report_digest": NOT_KEPT},
    )


def _varied(samples: Sequence[Sample], night: Occasion, effect: Effect, rng: np.random.Generator) -> tuple[Sample, ...]:
    """The samples of another night: the same counts and flags, numbers a little off, levels as the effect says."""
    own = {
        "time_to_first_token_seconds": night.seconds_first,
        "time_per_output_token_seconds": night.seconds_each,
    }
    at = night.started + timedelta(seconds=30)
    return tuple(
        replace(sample, timestamp=at, value=own.get(sample.metric, _vary(sample.metric, sample.value, effect, rng)))
        for sample in samples
    )


def _vary(name: str, value: float | None, effect: Effect, rng: np.random.Generator) -> float | None:
    metric = catalogue()[name]
    if value is None or metric.kind != "gauge" or metric.unit in ("tokens", "count"):
        return value
    factor = 1.0
    if name.startswith(("entropy_bits", "surprisal_bits")):
        factor = effect.entropy
    elif name.startswith("attention_entropy"):
        factor = effect.attention
    elif "hidden" in name:
        factor = effect.norm
    varied = value * factor * (1.0 + NOISE * float(rng.normal()))
    low = metric.minimum if isinstance(metric.minimum, int | float) else None
    high = metric.maximum if isinstance(metric.maximum, int | float) else None
    varied = varied if high is None else min(varied, float(high))
    return varied if low is None else max(varied, float(low))
