"""Makes a baseline of healthy runs and replays: checks that they belong together, and writes it.

Owns which runs may stand behind a baseline: measured, healthy, valid as far as anybody looked, of this suite, these
weights and this tokenizer. Runs and replays happen elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from model_health.baseline.artefact import pack
from model_health.baseline.document import HealthyRun, Provenance
from model_health.baseline.key import ReplayKey, comparable
from model_health.baseline.observations import ReplayObservation, bit_equal
from model_health.baseline.store import BaselineStore
from model_health.errors import BadInput, CouldNotMeasure
from model_health.report.load import load_manifest, load_report
from model_health.report.manifest import Manifest
from model_health.report.serialise import digest
from model_health.store.names import VALIDATION, RunFolder
from model_health.store.reports import ReportStore, StoredRun


@dataclass(frozen=True)
class AcceptedRun:
    """A run that may stand behind a baseline, and the tokens that it generated, by prompt."""

    manifest: Manifest
    record: HealthyRun
    tokens: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Created:
    """What became of it."""

    model: str
    suite: str
    baseline_id: str
    uri: str
    size_bytes: int
    reproducible: bool | None


def choose_runs(
    store: ReportStore, model: str, suite: str, suite_digest: str, *, count: int = 1, run_ids: Sequence[str] = ()
) -> tuple[AcceptedRun, ...]:
    """The runs behind a new baseline, newest first, reports checked against their digests.

    Args:
        store: where runs lie.
        model: whose runs.
        suite: on which suite.
        suite_digest: of the suite as it is now; runs of an older one are passed over.
        count: how many of the newest healthy runs.
        run_ids: these runs instead; each must be fit.

    Raises:
        BadInput: a named run is not fit, or there are fewer than `count`.
        StoreError, ReportError: a run cannot be read, or was changed.
    """
    found: list[tuple[Manifest, str, str]] = []
    reasons: list[str] = []
    for run in _candidates(store, model, suite, run_ids):
        manifest = load_manifest(store.read_manifest(run.folder), name=run.manifest_uri)
        why = _unfit(manifest, suite_digest) or _invalid(store, run)
        if why is not None and run_ids:
            raise BadInput(f"cannot stand behind a baseline: {why}", subject=f"run {manifest.run_id!r}")
        if why is not None:
            reasons.append(f"{manifest.run_id} {why}")
        else:
            found.append((manifest, run.manifest_uri, digest(store.read_stored(run.manifest_uri))))
    found.sort(key=lambda one: one[0].started_at, reverse=True)
    wanted = found if run_ids else found[:count]
    if len(wanted) < (len(set(run_ids)) or count):
        hint = f"for instance {reasons[-1]}" if reasons else f"model-health run --model {model} --suite {suite}"
        raise BadInput(
            f"{len(found)} healthy runs of this suite as it is now, needed: {len(run_ids) or count}",
            subject=f"{model}/{suite}",
            hint=hint,
        )
    return tuple(_accepted(store, *one) for one in wanted)


def check_identity(runs: Sequence[AcceptedRun], key: ReplayKey) -> None:
    """Refuse runs of other weights or another tokenizer than those that are replayed.

    Raises:
        BadInput: which run, and what differs.
    """
    for run in runs:
        identity = run.manifest.model
        if identity is None:
            raise BadInput("does not say what it measured", subject=f"run {run.manifest.run_id!r}")
        pairs = {
            "other weights": (identity.weights_digest, key.weights_digest),
            "another tokenizer": (identity.tokenizer_digest, key.tokenizer_digest),
            "another chat template": (identity.chat_template_digest, key.chat_template_digest),
        }
        for what, (then, now) in pairs.items():
            if then != now:
                raise BadInput(
                    f"had {what} than the model has now",
                    subject=f"run {run.manifest.run_id!r}",
                    hint="run the suite again, then make the baseline of that run",
                )


def write_baseline(
    store: BaselineStore,
    replays: Sequence[ReplayObservation],
    runs: Sequence[AcceptedRun],
    *,
    provenance: Provenance,
    now: datetime,
    tolerances: JsonValue = None,
) -> Created:
    """Write a baseline; nothing is promoted.

    Args:
        store: where baselines lie.
        replays: of one configuration; the first is the reference.
        runs: as `choose_runs` returned them.
        provenance: who makes it, and why.
        now: the time.
        tolerances: what was learned from other configurations, as JSON.

    Raises:
        CouldNotMeasure: the replays are not of one model and suite, or not finite: such a model is not accepted.
    """
    reference = replays[0]
    if not reference.is_finite:
        worst = next(item for item in reference.items if not item.is_finite)
        raise CouldNotMeasure(
            "the replay is not finite, so it cannot be a baseline", subject=f"{worst.item_id} of {reference.key.suite}"
        )
    if any(other.key != reference.key or not comparable(reference.key, other.key) for other in replays[1:]):
        raise CouldNotMeasure("the replays were made under different keys", subject=reference.key.suite)
    name = runs[0].manifest.model_name
    packed = pack(
        reference,
        {
            "model_name": name,
            "suite": reference.key.suite,
            "created_at": now,
            "provenance": provenance,
            "replays": len(replays),
            "reproducible": all(bit_equal(reference, one) for one in replays[1:]) if len(replays) > 1 else None,
            "runs": tuple(run.record for run in runs),
            "agreeing": _agreeing(runs),
            "tolerances": tolerances,
        },
    )
    uri = store.write(name, reference.key.suite, packed)
    document = store.read_document(name, reference.key.suite, packed.baseline_id)
    return Created(
        model=name,
        suite=reference.key.suite,
        baseline_id=packed.baseline_id,
        uri=uri,
        size_bytes=len(packed.document) + len(packed.arrays),
        reproducible=document.reproducible,
    )


def _candidates(store: ReportStore, model: str, suite: str, run_ids: Sequence[str]) -> list[StoredRun]:
    runs = list(store.list_runs(model, suite))
    if not run_ids:
        return runs
    by_folder = {run.folder: run for run in runs}
    chosen = []
    for run_id in dict.fromkeys(run_ids):
        run = by_folder.get(RunFolder.of(model, suite, run_id))
        if run is None:
            raise BadInput("there is no such finished run", subject=f"run {run_id!r} of {model}/{suite}")
        chosen.append(run)
    return chosen


def _unfit(manifest: Manifest, suite_digest: str) -> str | None:
    if manifest.verdict != "healthy":
        return f"is {manifest.verdict.replace('_', ' ')}"
    if manifest.suite.digest.removeprefix("sha256:") != suite_digest:
        return "is of another version of the suite"
    return None


def _invalid(store: ReportStore, run: StoredRun) -> str | None:
    """Whether validation found the run's reports invalid; a run that nobody validated yet may be used."""
    if not store.is_validated(run.folder):
        return None
    content = json.loads(store.read_bytes(f"{run.uri}/{VALIDATION}"))
    return None if content.get("valid") is not False else "has invalid reports"


def _accepted(store: ReportStore, manifest: Manifest, uri: str, manifest_digest: str) -> AcceptedRun:
    tokens = {}
    for entry in manifest.prompts:
        report = load_report(store.read_bytes(entry.report_uri, digest=entry.digest), name=entry.report_uri)
        tokens[entry.prompt_id] = tuple(report.generated.token_ids)
    return AcceptedRun(manifest, HealthyRun.of(manifest, uri, manifest_digest), tokens)


def _agreeing(runs: Sequence[AcceptedRun]) -> dict[str, int]:
    newest = runs[0].tokens
    return {prompt: sum(run.tokens.get(prompt) == tokens for run in runs) for prompt, tokens in sorted(newest.items())}
