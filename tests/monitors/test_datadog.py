"""Datadog monitors and dashboard: what the API takes, windows that hold a run, and whom they tell."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.monitor import Monitor

from model_health.monitors.datadog import KEY_TAG, owner_tags, render_monitors
from model_health.monitors.datadog_dashboard import render_dashboard
from model_health.monitors.target import RenderInput
from support.datadog_parse import parse_content
from support.datadog_resources import _check_monitor
from support.monitor_inputs import made, shipped

HANDLES = {
    "datadog": {
        "routes": [
            {"handles": ["@pagerduty-models"], "severities": ["critical"], "tiers": ["critical"]},
            {"handles": ["@slack-models", "@pagerduty-models"], "gates": "time-*"},
        ]
    }
}
INPUTS = pytest.mark.parametrize(
    "given",
    [
        shipped(),
        made(),
        made(datadog_labels={"env": "prod", "team": "nlp"}, dashboard_url="https://health.example.org"),
    ],
    ids=["shipped", "awkward", "tagged"],
)


def by_key(given: RenderInput) -> dict[str, dict[str, Any]]:
    found = {}
    for monitor in render_monitors(given):
        keys = [tag.partition(":")[2] for tag in monitor["tags"] if tag.startswith(f"{KEY_TAG}:")]
        assert len(keys) == 1
        found[keys[0]] = monitor
    return found


@INPUTS
def test_every_monitor_and_the_dashboard_are_what_the_api_takes(given: RenderInput) -> None:
    for monitor in render_monitors(given):
        parse_content(json.loads(json.dumps(monitor)), Monitor)
        _check_monitor(monitor)
    parse_content(json.loads(json.dumps(render_dashboard(given))), Dashboard)


@INPUTS
def test_every_watch_has_a_monitor_and_keys_are_unique(given: RenderInput) -> None:
    monitors = render_monitors(given)
    assert len(by_key(given)) == len(monitors)
    gates = {tag for monitor in monitors for tag in monitor["tags"] if tag.startswith("gate:")}
    assert gates == {f"gate:{watch.name}" for watch in given.watches}


@INPUTS
def test_a_window_holds_at_least_two_runs_and_need_not_be_full(given: RenderInput) -> None:
    turn = given.monitors.schedule_seconds / 60
    for monitor in render_monitors(given):
        options = monitor["options"]
        window = int(re.match(r"\w+\(last_(\d+)m\):", monitor["query"])[1])
        assert options["require_full_window"] is False
        if "_timestamp_seconds" in monitor["query"]:
            assert options["no_data_timeframe"] >= (2 * turn if "run_completed" in monitor["query"] else 0)
            assert options["no_data_timeframe"] >= 2 * window
        else:
            assert window >= 2 * turn
        assert options.get("no_data_timeframe", 2 * window) >= 2 * window
        assert options["notify_no_data"] is ("no_data_timeframe" in options)


def test_only_the_dead_man_s_switch_and_the_operation_tell_of_no_data() -> None:
    telling = {key.split("/")[0] for key, one in by_key(shipped()).items() if one["options"]["notify_no_data"]}
    assert telling == {"no-report", "no-check", "outbox-stuck", "dead-letters", "notifications-failed"}


def test_a_scheduled_model_that_never_ran_has_a_switch_of_its_own() -> None:
    keys = [key for key in by_key(made()) if key.startswith("dead/")]
    assert keys == ["dead/a-1/core/critical", "dead/a-2.5/core/critical", "dead/a-2.5/smoke/critical"]


def test_what_only_some_models_have_is_told_by_the_gate_s_own_answer() -> None:
    found = by_key(shipped())
    for gate in ("no-comparison", "no-self-test"):
        assert f"{{gate:{gate}}} by {{model,suite}} > 1" in found[gate]["query"]
        assert found[gate]["options"]["thresholds"] == {"critical": 1.0, "warning": 0.0}
    assert by_key(made())["uncompared"]["options"]["thresholds"] == {"critical": 0.0}
    assert "model:a-*" in by_key(made())["uncompared"]["query"]


def test_a_clock_that_nobody_looks_at_is_told_by_its_silence() -> None:
    found = by_key(shipped())
    told = {key: found[key]["options"]["no_data_timeframe"] for key in found if key.startswith("no-check/")}
    assert told == {"no-check/critical": 120, "no-check/warning": 45}
    assert "freshness_checked_timestamp_seconds" in found["no-check/critical"]["query"]


def test_where_the_newest_run_decides_one_monitor_has_both_levels() -> None:
    monitor = by_key(made())["below"]
    assert monitor["options"]["thresholds"] == {"critical": 0.1, "warning": 0.2}
    assert re.match(r"min\(last_120m\):min:.* < 0\.1$", monitor["query"])


def test_a_warning_at_the_same_level_says_nothing_of_its_own() -> None:
    assert by_key(made())["same-level"]["options"]["thresholds"] == {"critical": 3.0}


def test_where_runs_are_counted_the_threshold_is_the_count() -> None:
    found = by_key(shipped())
    for severity, level in (("critical", 60), ("warning", 30)):
        monitor = found[f"time-to-first-token/{severity}"]
        assert monitor["options"]["thresholds"] == {"critical": 3.0}
        assert monitor["query"].startswith("sum(last_315m):clamp_max(clamp_min((")
        assert f"- {level}, 0)" in monitor["query"]
        assert ".fill(null)" in monitor["query"]
        assert monitor["query"].endswith(">= 3")


def test_what_pages_at_once_is_not_counted() -> None:
    found = by_key(made())
    assert found["at-once"]["query"].startswith("max(last_120m):")
    assert found["at-once/warning"]["query"].endswith(">= 2")
    assert "at-once/critical" not in found


def test_a_pattern_that_datadog_does_not_know_is_spelled_out() -> None:
    rules = {
        "star": {"metric": "peak_memory_bytes", "fail": 1.0, "models": "a-*"},
        "set": {"metric": "peak_memory_bytes", "fail": 1.0, "models": "[ab]*", "suites": "core"},
        "nothing": {"metric": "peak_memory_bytes", "fail": 1.0, "models": "z?"},
    }
    found = by_key(made(rules))
    assert "{model:a-*}" in found["star"]["query"]
    assert "{model IN (a-1,a-2.5,b) AND suite:core}" in found["set"]["query"]
    assert "{model:none}" in found["nothing"]["query"]


def test_a_monitor_reads_this_installation_only_and_says_whose_it_is() -> None:
    given = made(datadog_labels={"env": "prod"}, monitors={"installation": "eu-1"})
    assert owner_tags(given) == ("managed_by:model-health", "model_health_installation:eu-1")
    for monitor in render_monitors(given):
        assert set(owner_tags(given)) <= set(monitor["tags"])
        assert "env:prod" in monitor["tags"]
        assert "env:prod" in monitor["query"]


def test_each_severity_is_told_to_those_whom_its_routes_name() -> None:
    found = by_key(made(shipped_rules(), monitors=HANDLES))
    latency = found["time-to-first-token/critical"]["message"]
    assert "{{#is_alert}}@slack-models @pagerduty-models{{/is_alert}}" in latency
    assert "{{#is_alert_recovery}}@slack-models @pagerduty-models{{/is_alert_recovery}}" in latency
    assert "{{#is_no_data}}@pagerduty-models{{/is_no_data}}" in found["no-report/b/core/critical"]["message"]
    assert "@" not in found["repetition-loop/warning"]["message"]
    assert "@pagerduty-models" in found["repetition-loop/critical"]["message"]


def shipped_rules() -> dict[str, dict[str, Any]]:
    return {name: rule.model_dump() for name, rule in shipped().gates.rules.items()}


def test_an_at_sign_in_a_reason_tells_nobody_and_braces_are_no_placeholder() -> None:
    message = by_key(made())["texts"]["message"]
    assert "@" not in message
    assert "{{ .bad" not in message
    assert "(at)someone" in message


@INPUTS
def test_a_message_says_what_why_whose_and_where_to_read_on(given: RenderInput) -> None:
    reasons = {watch.name: watch.reason.split()[0] for watch in given.watches}
    for monitor in render_monitors(given):
        gate = next(tag.partition(":")[2] for tag in monitor["tags"] if tag.startswith("gate:"))
        assert reasons[gate] in monitor["message"]
        assert "Runbook: " in monitor["message"]
        assert ("Dashboard: " in monitor["message"]) is (given.dashboard_url is not None)


def test_what_the_render_gives_does_not_depend_on_when() -> None:
    assert json.dumps(render_monitors(made())) == json.dumps(render_monitors(made()))


def test_the_dashboard_can_be_narrowed_to_a_model_and_a_suite() -> None:
    content = json.dumps(render_dashboard(shipped()))
    assert content.count("$model,$suite") > 10
    assert "managed by model-health, installation default" in content
