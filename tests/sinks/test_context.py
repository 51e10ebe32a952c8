"""What a run's identity adds to the labels of its samples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from model_health.report.extension import SuiteIdentity
from model_health.report.identity import DeviceIdentity, ModelIdentity
from model_health.report.manifest import Manifest
from model_health.sinks.context import context_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_manifest(revision: str | None = "abc", *, measured: bool = True) -> Manifest:
    identity = ModelIdentity(
        source="m",
        revision=revision,
        architecture="LlamaForCausalLM",
        model_type="llama",
        dtype="float32",
        device=DeviceIdentity(kind="cpu"),
    )
    return Manifest(
        run_id="r1",
        model_name="m",
        suite=SuiteIdentity(name="s", version="1", digest="d"),
        status="measured" if measured else "could_not_measure",
        verdict="inconclusive" if measured else "could_not_measure",
        reason="too few prompts",
        started_at=NOON,
        ended_at=NOON + timedelta(minutes=1),
        model=identity if measured else None,
    )


def test_the_identity_of_a_run_becomes_labels_and_its_id_does_not() -> None:
    context = context_of(a_manifest())
    assert context.run_id == "r1"
    assert context.labels == {"revision": "abc", "dtype": "float32", "device_class": "cpu"}


def test_only_what_is_known_of_the_model_becomes_a_label() -> None:
    assert context_of(a_manifest(None)).labels == {"dtype": "float32", "device_class": "cpu"}
    assert context_of(a_manifest(measured=False)).labels == {}
