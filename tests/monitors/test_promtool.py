"""The rule file and its unit tests, held to Prometheus's own programs."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from model_health.monitors.prometheus import RULES_FILE, groups, render_rules
from model_health.monitors.promtests import SLOW_TESTS_FILE, TESTS_FILE, render_slow_tests, render_tests, stories
from model_health.monitors.scrape import EXAMPLE_FILE, render_example
from model_health.monitors.target import RenderInput
from support.monitor_inputs import made, shipped
from support.prometheus_servers import program

pytestmark = [pytest.mark.services, pytest.mark.slow]

SELDOM = {"prometheus": {"evaluation_seconds": 300}}
"""promtool evaluates every rule at every step of every story: a fifth of the steps is a fifth of the time."""

AWKWARD = made(
    gates={"recover_after_runs": 3, "inconclusive_runs": 1, "runbook_url": "https://git.example.org/RUNBOOK.md"},
    monitors={"installation": "staging", "schedule_seconds": 1800, "late_seconds": 600, **SELDOM},
    prometheus_labels={"env": "staging"},
    dashboard_url="https://health.example.org",
)


def seldom(given: RenderInput) -> RenderInput:
    """The same rules, evaluated as seldom as the others here."""
    prometheus = given.monitors.prometheus.model_copy(update=SELDOM["prometheus"])
    return replace(given, monitors=given.monitors.model_copy(update={"prometheus": prometheus}))


def write(folder: Path, given: RenderInput) -> None:
    (folder / RULES_FILE).write_text(render_rules(given))
    (folder / TESTS_FILE).write_text(render_tests(given))
    (folder / SLOW_TESTS_FILE).write_text(render_slow_tests(given))


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("given", [seldom(shipped()), AWKWARD], ids=["shipped", "awkward"])
def test_every_alert_fires_waits_and_resolves_as_its_gate_says(given: RenderInput, tmp_path: Path) -> None:
    write(tmp_path, given)
    checked = promtool(tmp_path, "check", "rules", RULES_FILE)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool(tmp_path, "test", "rules", TESTS_FILE, SLOW_TESTS_FILE)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.fixture(scope="module")
def anomaly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one rule, whose tests pass."""
    folder = tmp_path_factory.mktemp("anomaly")
    write(folder, made({"mid-layer-anomaly": shipped().gates.rules["mid-layer-anomaly"].model_dump()}, monitors=SELDOM))
    assert promtool(folder, "test", "rules", TESTS_FILE).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("what", "pattern", "replacement"),
    [
        ("one run more is needed", r"\) >= 2$", ") >= 3"),
        ("one run less is needed", r"\) >= 2$", ") >= 1"),
        ("runs are not told apart", r"changes\(floor\(", "count_over_time(floor("),
        ("a run at the window's edge counts", r">= bool \(time\(\) - \d+\)", ">= bool 0"),
        ("the level is another one", r"(gate_value\{gate=\"mid-layer-anomaly\"\}) > 0", r"\1 > 1"),
        ("the alert does not wait", r"    for: 15m\n", ""),
        ("the alert does not stay", r"    keep_firing_for: 1h\n", ""),
        ("it watches another flag", r'flag="mid_layer_anomaly_detected"', 'flag="empty_output"'),
        ("nobody knows whose it is", r"      owner: model-health\n", ""),
    ],
)
def test_the_rendered_tests_notice_that(
    what: str, pattern: str, replacement: str, anomaly: Path, tmp_path: Path
) -> None:
    text = (anomaly / RULES_FILE).read_text()
    broken = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    assert broken != text
    shutil.copy(anomaly / TESTS_FILE, tmp_path)
    (tmp_path / RULES_FILE).write_text(broken)
    found = promtool(tmp_path, "test", "rules", TESTS_FILE)
    assert found.returncode != 0, what
    assert "FAILED" in found.stdout + found.stderr


@pytest.mark.parametrize(
    ("what", "pattern", "replacement"),
    [
        ("a night later is early enough", r"> 216000", "> 302400"),
        ("another moment is looked at", r"model_health_comparison_completed", "model_health_self_test_completed"),
        ("nobody misses the heartbeat", r"expr: absent\(model_health_freshness.*\)", "expr: vector(0) > 1"),
        ("a heartbeat may be older", r"(freshness_checked_timestamp_seconds\) >) 7200", r"\1 10800"),
    ],
)
def test_the_rendered_tests_of_what_is_overdue_notice_that(
    what: str, pattern: str, replacement: str, tmp_path: Path
) -> None:
    names = ("no-comparison", "no-self-test", "no-check")
    write(tmp_path, made({name: shipped().gates.rules[name].model_dump() for name in names}, monitors=SELDOM))
    text = (tmp_path / RULES_FILE).read_text()
    broken = re.sub(pattern, replacement, text)
    assert broken != text
    (tmp_path / RULES_FILE).write_text(broken)
    assert promtool(tmp_path, "test", "rules", TESTS_FILE, SLOW_TESTS_FILE).returncode != 0, what


def test_the_example_is_a_configuration_that_finds_the_rules(tmp_path: Path) -> None:
    write(tmp_path, AWKWARD)
    (tmp_path / EXAMPLE_FILE).write_text(render_example(AWKWARD))
    checked = promtool(tmp_path, "check", "config", EXAMPLE_FILE)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 rule files found" in checked.stdout


@pytest.mark.parametrize("given", [shipped(), AWKWARD], ids=["shipped", "awkward"])
def test_every_alert_fires_in_a_story_and_is_quiet_in_one(given: RenderInput) -> None:
    for group in groups(given):
        told = list(stories(group, given))
        fired = [firing.alert for story in told for looks in story.looks.values() for firing in looks]
        for alert in group.alerts:
            assert alert in fired, f"{alert.name} {alert.level.severity}"
        assert any(not looks for story in told for looks in story.looks.values())
