"""Makes the outbox items of a run: its samples for every sink, and for those that take them an event and a check.

Owns the keys, which make a repetition harmless: the same content for the same target has the same key. Writes nothing.

An event tells of a change of verdict, which includes that a run is measured again and comes to something else than what
was told of it, a check of the model's present state. Their payloads are plain JSON:

    event  {"title", "text", "at", "verdict", "previous", "labels": {"model", "suite", ...}}
    check  {"status": "ok" | "warning" | "critical" | "unknown", "message", "at", "labels": {...}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from model_health.report.manifest import Manifest, Verdict
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext
from model_health.sinks.payload import encode
from model_health.store.index.outbox import Kind, OutboxItem

EVENT_SINKS = frozenset({"datadog"})
"""The sinks that take events and checks beside samples."""

_STATUS: dict[Verdict, str] = {
    "healthy": "ok",
    "unhealthy": "critical",
    "inconclusive": "warning",
    "could_not_measure": "unknown",
}


def run_items(
    run_key: str,
    sinks: Sequence[str],
    samples: Sequence[Sample],
    context: PublishContext,
    manifest: Manifest,
    previous: Verdict | None,
    told: Mapping[str, Verdict] | None = None,
) -> list[OutboxItem]:
    """Everything that leaves for one run.

    Args:
        run_key: names the run in the index.
        sinks: where to; a repeated name counts once.
        samples: of the run and of its prompts.
        context: what they share.
        manifest: of the run.
        previous: the verdict of the run before it of this model and suite, None if it is the first.
        told: the verdict of an earlier try of this run that a sink was told, by sink. It has to be corrected where it
            is another, and must not be told again where it is the same.

    Raises:
        StoreError: a sample cannot be kept as JSON.
    """
    names = tuple(dict.fromkeys(sinks))
    items = samples_items(run_key, names, samples, context, manifest.ended_at)
    for sink in names:
        if sink in EVENT_SINKS:
            labels = {**context.labels, "model": manifest.model_name, "suite": manifest.suite.name}
            items.append(_check(run_key, sink, manifest, labels))
            earlier_try = (told or {}).get(sink)
            known = earlier_try or previous
            if known is not None and known != manifest.verdict:
                items.append(_event(run_key, sink, manifest, known, labels, corrects=earlier_try is not None))
    return items


def samples_items(
    run_key: str | None, sinks: Sequence[str], samples: Sequence[Sample], context: PublishContext, created_at: datetime
) -> list[OutboxItem]:
    """The samples as one item per sink; none if there are no samples.

    Raises:
        StoreError: a sample cannot be kept as JSON.
    """
    if not samples or not sinks:
        return []
    payload = encode(samples, context)
    # A retry of the run measures anew, and has a key of its own then; its times alone tell it from the first.
    key = f"{run_key or context.run_id}:samples:{_digest(payload)}"
    return [OutboxItem(sink, "samples", key, payload, run_key, created_at) for sink in dict.fromkeys(sinks)]


def _check(run_key: str, sink: str, manifest: Manifest, labels: Mapping[str, str]) -> OutboxItem:
    return _item(
        run_key,
        sink,
        "check",
        manifest,
        {"status": _STATUS[manifest.verdict], "message": _message(manifest), "labels": dict(labels)},
    )


def _event(
    run_key: str, sink: str, manifest: Manifest, previous: Verdict, labels: Mapping[str, str], *, corrects: bool
) -> OutboxItem:
    words, text = manifest.verdict.replace("_", " "), _message(manifest)
    if corrects:
        text = f"The run was measured again, and this replaces what its earlier try said. {text}"
    return _item(
        run_key,
        sink,
        "event",
        manifest,
        {
            "title": f"{manifest.model_name} on {manifest.suite.name}: {words}, was {previous.replace('_', ' ')}",
            "text": text,
            "verdict": manifest.verdict,
            "previous": previous,
            "labels": dict(labels),
        },
    )


def _item(run_key: str, sink: str, kind: Kind, manifest: Manifest, payload: dict[str, Any]) -> OutboxItem:
    payload["at"] = manifest.ended_at.isoformat()
    return OutboxItem(sink, kind, f"{run_key}:{kind}:{_digest(payload)}", payload, run_key, manifest.ended_at)


def _message(manifest: Manifest) -> str:
    """Counts and flags, or the reason; never text of prompts."""
    if manifest.reason:
        return manifest.reason
    sick = sum(bool(prompt.unhealthy_flags) for prompt in manifest.prompts)
    flags = ", ".join(f"{flag} ({count})" for flag, count in sorted(manifest.unhealthy_flags.items()))
    return f"{sick} of {len(manifest.prompts)} prompts unhealthy{': ' + flags if flags else ''}"


def _digest(payload: Mapping[str, Any]) -> str:
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
