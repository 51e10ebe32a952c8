"""Validates one run, writes down what was found, and lets the run's numbers out or keeps them in.

The one call behind the operator and the command line. An invalid report is a result, never an exception; what is raised
is that nothing could be found out. Knows no sink: what shall be told about the validation is the caller's to add.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from model_health.config.load import load_project
from model_health.config.settings import Settings
from model_health.config.thresholds import Thresholds
from model_health.errors import StoreError
from model_health.report.manifest import Manifest
from model_health.report.serialise import to_json
from model_health.store.index import outbox
from model_health.store.index.index import Index, utc_now
from model_health.store.index.outbox import OutboxItem
from model_health.store.index.records import RunStatus
from model_health.store.index.validation import (
    FailureRecord,
    RunState,
    ValidationRecord,
    run_state,
    write_validation,
)
from model_health.store.reports import StoredFile
from model_health.validate.collect import reports_of, run_facts
from model_health.validate.docs import DataDocs
from model_health.validate.examine import Examination, examine
from model_health.validate.places import Place, find_run
from model_health.validate.places import docs_folder as own_docs
from model_health.validate.result import ValidationResult

_log = logging.getLogger(__name__)

Announce = Callable[[Connection, RunState, ValidationResult], Sequence[OutboxItem]]
"""Makes the items that tell about a validation, in the transaction that writes it down."""


def validate_run(
    reference: str,
    settings: Settings,
    *,
    write: bool = True,
    announce: Announce | None = None,
    docs_folder: Path | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> ValidationResult:
    """Validate a run's reports and its manifest.

    Args:
        reference: the run: its key (`model/suite/folder`), its folder, or its manifest, as a path or a URI.
        settings: where things are.
        write: whether to store the result beside the reports, in the index and as a page, and to release or withhold
            what the run has in the outbox. False only looks, and does not ask the index.
        announce: adds items about the validation itself.
        docs_folder: of the pages; the installation's own by default.
        clock: the present, in UTC.

    Raises:
        BadInput: the reference names no run, or the configuration is wrong.
        StoreError: the store or the index cannot be read or written, or a newer try of the run took over.
        CouldNotMeasure: an expectation failed to answer.
    """
    place = find_run(reference, settings)
    if not write:
        return _examined(place, settings, clock(), None).result
    with Index.open(settings.index_url) as index:
        with index.reading("read the run") as connection:
            state = run_state(connection, place.folder.key)
        if state is not None and state.status == RunStatus.STARTED:
            raise StoreError("the run is being measured", subject=place.folder.key, hint="validate it when it ended")
        found = _examined(place, settings, clock(), state.manifest_digest if state else None)
        stored = place.store.write_validation(place.folder, to_json(found.result, indent=2))
        if state is not None:
            _settle(index, place.folder.key, state, found.result, stored, announce)
    docs = DataDocs(docs_folder or own_docs(settings))
    try:
        docs.write(found)
    except OSError as error:  # a page is a convenience: the result is on record, and stays
        _log.error("%s: the page of this validation could not be written: %s", docs.folder, error)
    return found.result


def _examined(place: Place, settings: Settings, now: datetime, index_digest: str | None) -> Examination:
    facts = run_facts(place.store, place.folder, index_digest)
    return examine(
        reports_of(place.store, place.folder, facts.manifest),
        _thresholds(settings, place.folder.model, facts.manifest),
        now,
        facts=facts,
        run_key=place.folder.key,
        manifest_uri=place.store.manifest_uri(place.folder),
    )


def _thresholds(settings: Settings, model: str, manifest: Manifest | None) -> Thresholds:
    project = load_project(settings)
    config = project.models.get(model)
    family = config.family if config is not None else None
    identity = manifest.model if manifest is not None else None
    return project.thresholds_for(model, family or (identity.model_type if identity is not None else None))


def _settle(
    index: Index,
    run_key: str,
    state: RunState,
    result: ValidationResult,
    stored: StoredFile,
    announce: Announce | None,
) -> None:
    """Write the rows, and release or withhold what the run has in the outbox: all of it or nothing."""
    with index.transaction("record a validation") as connection:
        if not write_validation(connection, state, record_of(result, stored)):
            raise StoreError("a newer try of this run took over", subject=run_key, hint="validate it again")
        if result.valid:
            outbox.release(connection, run_key)
        else:
            outbox.withhold(connection, run_key, f"the reports are invalid: {result.reason}")
        if announce is not None:
            outbox.enqueue(connection, announce(connection, state, result))


def record_of(result: ValidationResult, stored: StoredFile | None = None) -> ValidationRecord:
    """A result as the index keeps it."""
    return ValidationRecord(
        valid=result.valid,
        validated_at=result.validated_at,
        reports=result.reports,
        invalid_reports=result.invalid_reports_count,
        expectations=result.expectations,
        wall_seconds=result.wall_seconds,
        reason=result.reason,
        result_uri=stored.uri if stored else None,
        result_digest=stored.digest if stored else None,
        failures=tuple(
            FailureRecord(
                expectation=failure.expectation,
                severity=failure.severity,
                metric=failure.metric,
                says=failure.says,
                checked=failure.checked,
                failed=failure.failed,
                reports=failure.reports,
                examples=tuple(example.model_dump(mode="json") for example in failure.examples),
            )
            for failure in result.failures
        ),
    )
