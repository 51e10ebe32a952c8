"""Watches: one per gate rule, each over a series that is published, and what no gate can see."""

from __future__ import annotations

import pytest

from model_health.catalog.loader import catalogue
from model_health.catalog.published import over_prompts
from model_health.errors import ConfigError
from model_health.monitors.watches import FlaggedPrompts, Level, OverPromptsValue, RunValue, watches
from support.monitor_inputs import AWKWARD, made, shipped


@pytest.mark.parametrize("given", [shipped(), made()], ids=["shipped", "awkward"])
def test_every_rule_is_watched_with_its_own_levels(given: object) -> None:
    assert hasattr(given, "gates")
    found = {watch.name: watch for watch in watches(given.gates)}
    for name, rule in given.gates.rules.items():
        wanted = [("critical", rule.fail), ("warning", rule.warn)]
        levels = [(level.severity, level.value) for level in found[name].levels]
        assert levels == [(severity, value) for severity, value in wanted if value is not None]
        assert (found[name].tier, found[name].owner, found[name].runbook) == (rule.tier, rule.owner, rule.runbook)
    assert set(found) - set(given.gates.rules) == {"could-not-judge", "dead-letters", "notifications-failed"}


def test_every_signal_is_a_metric_that_leaves_the_machine() -> None:
    for watch in (*watches(shipped().gates), *watches(made().gates)):
        metric = watch.signal.metric
        assert metric.emitted, watch.name
        if isinstance(watch.signal, OverPromptsValue):
            assert watch.signal.over in over_prompts(metric)


def test_flags_are_counted_without_the_prompts_that_tolerate_them() -> None:
    for watch in watches(shipped().gates):
        if isinstance(watch.signal, FlaggedPrompts):
            assert watch.signal.metric.name == "prompts_flagged_untolerated"


def test_a_run_metric_has_no_aggregate_over_prompts() -> None:
    found = {watch.name: watch for watch in watches(made().gates)}
    assert found["whole-run"].signal == RunValue(catalogue()["peak_memory_bytes"])
    assert found["whole-run"].levels == (Level("critical", 8e9),)


def test_a_rule_over_a_metric_that_cannot_be_judged_is_refused() -> None:
    given = made({"split": {"metric": "stage_duration_seconds", "fail": 1.0}})
    with pytest.raises(ConfigError, match="split by stage"):
        watches(given.gates)


def test_the_clock_judges_what_no_run_can() -> None:
    by_name = {watch.name: watch for watch in watches(made().gates)}
    assert [name for name in AWKWARD if not by_name[name].by_run] == [
        "dead",
        "uncompared",
        "untested",
        "asleep",
        "stuck",
    ]
