"""Watches tiny models generate: prompts, telemetry, findings and the report, in one call each."""

from __future__ import annotations

from typing import Any

import torch

from model_health.capture.routers import NO_ROUTER
from model_health.config.measure import PRESETS, MeasureSwitches
from model_health.config.thresholds import Thresholds
from model_health.metrics.findings import HealthFindings
from model_health.metrics.flags import health_findings
from model_health.metrics.recording import record
from model_health.metrics.telemetry import BatchTelemetry, NotMeasured, PromptTelemetry
from model_health.report.builder import build_report
from model_health.report.trace import Trace
from support.telemetry import decode, make_facts

FULL = PRESETS["full"]


def prompts(*lengths: int, seed: int = 7, left: bool = True, vocabulary: int = 320) -> dict[str, torch.Tensor]:
    """Random prompts of these lengths as one padded batch, the mask always given."""
    width = max(lengths)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(min(5, vocabulary - 1), vocabulary, (len(lengths), width), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate(lengths):
        hidden = slice(0, width - length) if left else slice(length, None)
        mask[row, hidden], ids[row, hidden] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def watch(
    model: Any, inputs: dict[str, torch.Tensor], switches: MeasureSwitches = FULL, **settings: Any
) -> tuple[BatchTelemetry, Any]:
    """Generate greedily (12 tokens unless told otherwise) under capture: telemetry, and what `generate` returned."""
    settings = {"max_new_tokens": 12, "do_sample": False, **settings}
    with torch.inference_mode(), record(model, switches) as recording:
        result = model.generate(**inputs, **settings)
    return recording.telemetry(), result


def unexplained(telemetry: PromptTelemetry) -> list[NotMeasured]:
    """What was not measured, but for the routers that a dense model does not have."""
    return [gap for gap in telemetry.not_measured if gap.reason != NO_ROUTER]


def findings_of(telemetry: PromptTelemetry) -> HealthFindings:
    """The findings of one prompt by the default thresholds."""
    return health_findings(telemetry, "some text", Thresholds())


def report_of(telemetry: PromptTelemetry) -> Trace:
    """The report that a run would write."""
    return build_report(telemetry, findings_of(telemetry), make_facts(), decode)
