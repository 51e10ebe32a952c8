"""The report's router fields: numbers of the telemetry, nulls with reasons, and reports that knew no routers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from model_health.errors import ReportError
from model_health.metrics.telemetry import RouterSeries
from model_health.report import router_build
from model_health.report.builder import build_report
from model_health.report.load import load_report
from model_health.report.samples import samples_of_report
from model_health.report.serialise import to_json
from model_health.report.text import router_line
from model_health.report.trace import Trace
from support.telemetry import decode, make_facts, make_findings, make_telemetry

SERIES = RouterSeries(
    stack="decoder",
    layer=1,
    module="mlp.gate",
    experts=4,
    experts_per_token=2,
    entropy_bits=np.array([2.0, 1.0, 0.5], dtype=np.float32),
    recorded=np.ones(3, dtype=bool),
    load=np.array([6, 2, 0, 0]),
    unread=0,
    dropped=2,
    no_load=None,
    no_drops=None,
)


def report(*routers: RouterSeries) -> Trace:
    return build_report(make_telemetry(steps=3, routers=routers), make_findings(), make_facts(), decode)


def test_the_numbers_follow_from_entropies_and_loads() -> None:
    router = report(SERIES).model_health.router
    assert router is not None
    (layer,) = router.layers
    assert layer.entropy_bits == (2.0, 1.0, 0.5)
    assert layer.entropy_bits_mean == 0.75
    assert (layer.assignments, layer.max_load_share, layer.busiest_expert, layer.idle_experts) == (8, 0.75, 0, 2)
    assert layer.load_cv == pytest.approx(np.std([6, 2, 0, 0]) / 2)
    assert layer.load == (6, 2, 0, 0)
    assert router.idle_experts_fraction == 0.5
    assert router.dropped_assignments_fraction == 0.2
    assert "busiest expert 75%, 2 idle experts, 2 assignments dropped" in router_line(router)


def test_without_decode_steps_the_mean_is_the_prefills() -> None:
    series = dataclasses.replace(SERIES, entropy_bits=SERIES.entropy_bits[:1], recorded=np.ones(1, dtype=bool))
    trace = build_report(make_telemetry(steps=1, routers=(series,)), make_findings(), make_facts(), decode)
    assert trace.model_health.router is not None
    assert trace.model_health.router.layers[0].entropy_bits_mean == 2.0


def test_a_step_without_finite_logits_is_null_counted_and_explained() -> None:
    sick = dataclasses.replace(SERIES, entropy_bits=np.array([2.0, np.nan, 0.5], dtype=np.float32), unread=2)
    trace = report(sick)
    assert trace.model_health.router is not None
    layer = trace.model_health.router.layers[0]
    assert layer.entropy_bits == (2.0, None, 0.5)
    assert layer.entropy_bits_mean is None
    assert layer.non_finite_steps == 1
    part = "model_health.router.layers.entropy_bits"
    assert trace.why_null(part, step=1, layer=1) == router_build.NOT_FINITE


def test_a_step_that_was_not_looked_at_is_null_and_not_called_sick() -> None:
    series = dataclasses.replace(
        SERIES,
        entropy_bits=np.array([2.0, np.nan, 0.5], dtype=np.float32),
        recorded=np.array([True, False, True]),
    )
    trace = report(series)
    assert trace.model_health.router is not None
    assert trace.model_health.router.non_finite_steps == 0
    assert trace.model_health.router.layers[0].entropy_bits_mean == 0.5
    part = "model_health.router.layers.entropy_bits"
    assert trace.why_null(part, step=1, layer=1) == "this step was not looked at"


def test_too_many_loads_are_summed_up_and_the_list_says_why_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_build, "MAX_LISTED_LOADS", 3)
    trace = report(SERIES)
    assert trace.model_health.router is not None
    layer = trace.model_health.router.layers[0]
    assert layer.load is None
    assert layer.max_load_share == 0.75
    assert "up to 3 experts" in (trace.why_null("model_health.router.layers.load", layer=1) or "")


def test_a_router_without_capacity_drops_nothing_that_could_be_counted() -> None:
    trace = report(dataclasses.replace(SERIES, dropped=None, no_drops="no capacity"))
    sample = {one.metric: one for one in samples_of_report(trace)}["dropped_assignments_fraction"]
    assert (sample.value, sample.reason) == (None, "no capacity")


def test_a_report_of_extension_1_0_0_is_read_as_one_that_measured_no_router() -> None:
    content = json.loads(to_json(report(SERIES)))
    ours = content["model_health"]
    del ours["router"]
    ours["version"] = "1.0.0"
    trace = load_report(json.dumps(content).encode())
    assert trace.model_health.version == "1.1.0"
    assert trace.model_health.router is None
    assert trace.why_null("model_health.router") == "absent from an extension of version 1.0.0"
    assert load_report(to_json(trace)) == trace


def test_a_report_of_an_unknown_extension_version_is_refused() -> None:
    content = json.loads(to_json(report(SERIES)))
    content["model_health"]["version"] = "9.0.0"
    with pytest.raises(ReportError, match="version"):
        load_report(json.dumps(content).encode())
