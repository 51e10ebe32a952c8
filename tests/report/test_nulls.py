"""Every null needs a reason, and a reason covers what its part, step and layer say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import BaseModel, ValidationError

from model_health.metrics.findings import HealthFindings
from model_health.metrics.telemetry import PromptTelemetry
from model_health.report.base import Axis, Measured
from model_health.report.builder import build_report
from model_health.report.extension import NotMeasured
from model_health.report.nulls import Gap, Reasons
from model_health.report.trace import FoundGaps, Trace
from support.telemetry import decode, findings, make_facts, make_findings, make_telemetry, telemetries


def report() -> dict[str, Any]:
    return build_report(make_telemetry(), make_findings(), make_facts(), decode).model_dump(mode="json")


def hollow(content: dict[str, Any]) -> dict[str, Any]:
    content["timeline"][2]["layers"][1]["hidden_summary"]["mean"] = None
    return content


def test_a_null_without_a_reason_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"timeline\.layers\.hidden_summary\.mean step=2 layer=1"):
        Trace.model_validate(hollow(report()))


@pytest.mark.parametrize("missing", ["prompt_analysis", "health_flags"])
def test_a_missing_part_without_a_reason_is_refused(missing: str) -> None:
    content = report()
    del content[missing]
    with pytest.raises(ValidationError, match=missing):
        Trace.model_validate(content)


@pytest.mark.parametrize(
    ("part", "step", "layer", "covers"),
    [
        ("timeline.layers.hidden_summary.mean", 2, 1, True),
        ("timeline.layers.hidden_summary", None, 1, True),
        ("timeline.layers", 2, None, True),
        ("timeline", None, None, True),
        ("timeline.layers.hidden_summary.std", None, None, False),
        ("timeline.layers.hidden_summary", 1, None, False),
        ("timeline.layers.hidden_summary", None, 2, False),
        ("timeline.lay", None, None, False),
    ],
)
def test_an_entry_covers_its_part_step_and_layer_only(
    part: str, step: int | None, layer: int | None, covers: bool
) -> None:
    content = hollow(report())
    content["model_health"]["not_measured"] = [{"part": part, "reason": "so", "step": step, "layer": layer}]
    if covers:
        trace = Trace.model_validate(content)
        assert trace.why_null("timeline.layers.hidden_summary.mean", step=2, layer=1) == "so"
    else:
        with pytest.raises(ValidationError, match="null without a reason"):
            Trace.model_validate(content)


def test_the_narrowest_reason_wins() -> None:
    reasons = Reasons(
        [NotMeasured(part="timeline", reason="wide"), NotMeasured(part="timeline.layers", reason="narrow", layer=1)]
    )
    assert reasons.find(Gap("timeline.layers.anomalies", 0, 1)) == "narrow"
    assert reasons.find(Gap("timeline.layers.anomalies", 0, 0)) == "wide"
    assert reasons.find(Gap("summary.elapsed_ms")) is None


def test_a_null_item_of_a_series_needs_a_reason_at_its_place() -> None:
    content = report()
    content["model_health"]["final_hidden_l2_norm"][3] = None
    content["model_health"]["attention_entropy_bits"][1] = None
    with pytest.raises(ValidationError, match=r"final_hidden_l2_norm step=3 layer=None; .*bits step=None layer=1"):
        Trace.model_validate(content)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_number_is_refused(value: float) -> None:
    content = report()
    content["timeline"][0]["logits_summary"]["entropy"] = value
    with pytest.raises(ValidationError, match="finite"):
        Trace.model_validate(content)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Trace.model_validate({**report(), "colour": "red"})


@pytest.mark.parametrize("field", ["part", "reason"])
def test_an_empty_part_or_reason_is_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        NotMeasured(**{"part": "a", "reason": "b", field: ""})


def nulls_in(model: type[BaseModel], values: dict[str, Any]) -> int:
    """Nulls of measured fields, counted the slow way."""
    count = 0
    for name, info in model.model_fields.items():
        value = values[name]
        items = value if isinstance(value, tuple) else (value,)
        count += value is None and any(isinstance(mark, Measured) for mark in info.metadata)
        count += sum(item is None for item in items) if any(isinstance(mark, Axis) for mark in info.metadata) else 0
        count += sum(nulls_in(type(item), item.__dict__) for item in items if isinstance(item, BaseModel))
    return count


@settings(max_examples=40, deadline=None)
@given(telemetries(), findings())
def test_no_null_is_overlooked(telemetry: PromptTelemetry, found: HealthFindings) -> None:
    trace = build_report(telemetry, found, make_facts(), decode)
    assert len(trace.gaps()) == nulls_in(Trace, trace.__dict__)


def test_a_null_among_thousands_is_found() -> None:
    trace = build_report(make_telemetry(), make_findings(), make_facts(), decode)
    assert trace.gaps() == []
    content = hollow(trace.model_dump(mode="json"))
    content["model_health"]["not_measured"] = [{"part": "timeline", "reason": "so"}]
    where = Gap("timeline.layers.hidden_summary.mean", 2, 1)
    assert Trace.model_validate(content).gaps() == [where]


def test_gaps_that_were_found_before_need_a_reason_as_well() -> None:
    content = report()
    with pytest.raises(ValidationError, match=r"timeline\.logits_summary step=1"):
        Trace.model_validate(content, context=FoundGaps((Gap("timeline.logits_summary", 1),)))
