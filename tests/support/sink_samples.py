"""A run's samples, as reports and manifest give them: every emitted metric of the catalogue."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from model_health.catalog.loader import catalogue
from model_health.report.samples import Sample, samples_of_manifest
from model_health.sinks.base import PublishContext
from model_health.sinks.context import context_of
from support.manifests import make_manifest

GROUPS = ("facts", "code")


def run_samples(
    at: datetime | None = None,
    *,
    run_id: str = "manual__1",
    model: str = "tiny",
    suite: str = "small",
    prompts: int = 4,
    level: float = 1.0,
    unmeasured: Collection[str] = (),
    measured: bool = True,
) -> tuple[list[Sample], PublishContext]:
    """Samples and context of one run.

    Args:
        at: when it ended; now if None.
        run_id: of the run; prompt ids hold it too, as if each run had prompts of its own.
        model: its name.
        suite: its name.
        prompts: how many; their groups take turns.
        level: value of every metric of the first prompt; the next ones have `level + 1`, `level + 2` ...
        unmeasured: prompt metrics that no prompt has.
        measured: False for a run that could not measure.
    """
    at = at or datetime.now(UTC)
    manifest = make_manifest(run_id=run_id, model_name=model, ended_at=at, started_at=at)
    manifest = manifest.model_copy(update={"suite": manifest.suite.model_copy(update={"name": suite})})
    if not measured:
        lost = {"status": "could_not_measure", "verdict": "could_not_measure", "reason": "out of memory"}
        manifest = manifest.model_copy(update={**lost, "prompts": (), "performance": None})
        return samples_of_manifest(manifest), context_of(manifest)
    samples = samples_of_manifest(manifest)
    for number in range(prompts):
        labels = {"model": model, "suite": suite, "group": GROUPS[number % len(GROUPS)]}
        for metric in catalogue().of_scope("prompt"):
            value = (float(number % 2) if metric.kind == "flag" else level + number) if measured else None
            reason = None
            if metric.name in unmeasured:
                value, reason = None, "attention is not measured on this architecture"
            samples.append(Sample(metric.name, value, reason, at, dict(labels), f"{run_id}-prompt-{number}"))
    return samples, context_of(manifest)
