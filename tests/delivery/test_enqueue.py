"""What leaves for a run, and under which key."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from model_health.delivery.enqueue import run_items, samples_items
from model_health.errors import StoreError
from model_health.report.manifest import Manifest, Verdict
from model_health.report.samples import Sample, samples_of_manifest
from model_health.sinks.base import PublishContext
from model_health.sinks.context import context_of
from model_health.sinks.payload import decode
from model_health.store.index.outbox import OutboxItem
from support.manifests import make_manifest, make_prompt_entry
from support.outbox import NOON

KEY = "tiny/small/run-1"


def items(manifest: Manifest | None = None, *, sinks: Any = ("datadog",), previous: Verdict | None = None) -> Any:
    manifest = manifest or make_manifest()
    return run_items(KEY, sinks, samples_of_manifest(manifest), context_of(manifest), manifest, previous)


def only(found: list[OutboxItem], kind: str) -> OutboxItem:
    [item] = [item for item in found if item.kind == kind]
    return item


def sick() -> Manifest:
    entry = make_prompt_entry(flags=("loop_detected",), unhealthy_flags=("loop_detected",))
    return make_manifest(verdict="unhealthy", prompts=(entry, make_prompt_entry(prompt_id="two")))


def test_each_sink_gets_the_samples_once() -> None:
    found = items(sinks=("local", "prometheus", "local"))
    assert [(item.target, item.kind) for item in found] == [("local", "samples"), ("prometheus", "samples")]
    manifest = make_manifest()
    assert decode(found[0].payload) == (samples_of_manifest(manifest), context_of(manifest))
    assert {item.run_key for item in found} == {KEY}
    assert {item.created_at for item in found} == {manifest.ended_at}


def test_no_sink_and_no_samples_are_no_items() -> None:
    assert items(sinks=()) == []
    assert samples_items(KEY, ("local",), [], PublishContext("r"), NOON) == []


def test_the_same_content_has_the_same_key_and_other_content_another() -> None:
    assert [item.key for item in items()] == [item.key for item in items()]
    later = make_manifest(ended_at=make_manifest().ended_at + timedelta(seconds=1))
    assert {item.key for item in items()}.isdisjoint(item.key for item in items(later))


def test_an_event_is_a_change_of_verdict() -> None:
    assert [item.kind for item in items(previous="healthy")] == ["samples", "check"]
    assert [item.kind for item in items(previous=None)] == ["samples", "check"]
    event = only(items(sick(), previous="healthy"), "event")
    assert event.payload["title"] == "tiny on small: unhealthy, was healthy"
    assert (event.payload["verdict"], event.payload["previous"]) == ("unhealthy", "healthy")
    assert event.payload["text"] == "1 of 2 prompts unhealthy: loop_detected (1)"
    assert event.payload["labels"] == {"model": "tiny", "suite": "small", "device_class": "cpu"}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "ok"),
        ({"verdict": "inconclusive", "reason": "too few prompts"}, "warning"),
        (
            {"status": "could_not_measure", "verdict": "could_not_measure", "reason": "killed", "prompts": ()},
            "unknown",
        ),
    ],
)
def test_a_check_tells_the_state_and_why(changes: dict[str, Any], status: str) -> None:
    check = only(items(make_manifest(**changes)), "check")
    assert check.payload["status"] == status
    assert changes.get("reason", "0 of 1 prompts unhealthy") == check.payload["message"]
    assert check.payload["at"] == make_manifest().ended_at.isoformat()


def test_an_unhealthy_run_is_critical() -> None:
    assert only(items(sick()), "check").payload["status"] == "critical"


@pytest.mark.parametrize(
    ("before", "first_try", "now", "says"),
    [
        ("healthy", "unhealthy", "healthy", "tiny on small: healthy, was unhealthy"),
        ("unhealthy", "healthy", "unhealthy", "tiny on small: unhealthy, was healthy"),
        ("healthy", "unhealthy", "unhealthy", None),  # it was told: a second time is no change
        ("healthy", None, "unhealthy", "tiny on small: unhealthy, was healthy"),
        (None, "unhealthy", "healthy", "tiny on small: healthy, was unhealthy"),
    ],
)
def test_a_run_that_is_measured_again_corrects_what_its_first_try_told(
    before: Any, first_try: Any, now: str, says: str | None
) -> None:
    manifest = sick() if now == "unhealthy" else make_manifest()
    told = {} if first_try is None else {"datadog": first_try}
    samples = samples_of_manifest(manifest)
    found = run_items(KEY, ["datadog"], samples, context_of(manifest), manifest, before, told)
    events = [item.payload for item in found if item.kind == "event"]
    assert [event["title"] for event in events] == ([] if says is None else [says])
    assert all(event["text"].startswith("The run was measured again") is (first_try is not None) for event in events)


@pytest.mark.parametrize("sink", ["local", "prometheus", "textfile"])
def test_sinks_that_take_no_events_get_none(sink: str) -> None:
    assert [item.kind for item in items(sick(), sinks=(sink,), previous="healthy")] == ["samples"]


def test_payloads_are_json_and_hold_no_text_of_prompts() -> None:
    for item in items(sick(), previous="healthy"):
        assert json.loads(json.dumps(item.payload, allow_nan=False)) == item.payload


def test_a_label_that_may_not_leave_is_refused_before_anything_is_written() -> None:
    sample = Sample("prompts_total", 1.0, None, NOON, {"run_id": "x"})
    with pytest.raises(StoreError, match="run_id"):
        samples_items(KEY, ("local",), [sample], PublishContext("r"), NOON)
