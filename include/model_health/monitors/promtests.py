"""Unit tests of the rule file, for `promtool test rules`: every alert fires when it should, not before, and resolves.

Owns the form of the test files, and the stories of what the clock judges; `promstories` has those of runs. Stories that
take days are in a file of their own, which is evaluated once per turn of the schedule: promtool evaluates every rule at
every step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from model_health.monitors import promql
from model_health.monitors.prometheus import RULES_FILE, Alert, Group, groups
from model_health.monitors.promstories import Firing, Story, Values, beside, run_stories, series_name
from model_health.monitors.target import RenderInput
from model_health.monitors.watches import Age, Heartbeat, Operation, Overdue, Verdict
from model_health.monitors.yaml_text import to_yaml

TESTS_FILE = "model-health.rules.test.yml"
SLOW_TESTS_FILE = "model-health.rules.days.test.yml"

Labels = dict[str, str]


def render_tests(given: RenderInput) -> str:
    """The test file. It lies beside the rule file, and outside of the folder that Prometheus reads."""
    step = given.monitors.prometheus.evaluation_seconds
    return _rendered(given, TESTS_FILE, step, [packed for packed in _packed(given) if packed[0].turn is None])


def render_slow_tests(given: RenderInput) -> str:
    """The test file of stories that take days."""
    slow = [packed for packed in _packed(given) if packed[0].turn is not None]
    return _rendered(given, SLOW_TESTS_FILE, given.monitors.schedule_seconds, slow)


def _rendered(given: RenderInput, name: str, step: int, packed: Sequence[Sequence[Story]]) -> str:
    content = {
        "rule_files": [RULES_FILE],
        "evaluation_interval": promql.duration(step),
        "tests": [_test(together, given, step) for together in packed],
    }
    return f"# {given.marker}\n# promtool test rules {name}\n{to_yaml(content)}"


def stories(group: Group, given: RenderInput) -> Iterator[Story]:
    """All stories of one watch."""
    signal = group.watch.signal
    if isinstance(signal, Age):
        yield from _age_stories(group, given)
    elif isinstance(signal, Overdue):
        yield from _overdue_stories(group, given)
    elif isinstance(signal, Heartbeat):
        yield from _heartbeat_stories(group, given)
    elif isinstance(signal, Operation):
        yield _rising(group, given)
    elif isinstance(signal, Verdict):
        yield _undecided(group, signal, given)
    else:
        yield from run_stories(group, given)


def _packed(given: RenderInput) -> list[list[Story]]:
    """As few tests as the stories allow: promtool evaluates every rule in each of them."""
    tests: list[list[Story]] = []
    for group in groups(given):
        for story in stories(group, given):
            for together in tests:
                if story.turn == together[0].turn and not any(
                    story.reads & other.reads or story.series.keys() & other.series for other in together
                ):
                    together.append(story)
                    break
            else:
                tests.append([story])
    return tests


def _test(together: Sequence[Story], given: RenderInput, evaluated: int) -> dict[str, Any]:
    turn = together[0].turn or given.monitors.schedule_seconds
    step = math.gcd(turn, evaluated)
    return {
        "name": "; ".join(f"{story.alert_name}: {story.what}" for story in together),
        "interval": promql.duration(step),
        "input_series": [
            {"series": name, "values": " ".join(_held(value, turn // step) for value in values)}
            for story in together
            for name, values in story.series.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": promql.duration(at),
                "alertname": story.alert_name,
                "exp_alerts": [_expected(firing) for firing in fired],
            }
            for story in together
            for at, fired in story.looks.items()
        ],
    }


def _expected(firing: Firing) -> dict[str, Any]:
    alert = firing.alert
    labels = {**alert.labels, **firing.labels}
    texts = {name: text.filled(labels, firing.value) for name, text in alert.texts.items()}
    newest = {"value": f"{firing.newest:.4g}"} if alert.value_query else {}
    return {"exp_labels": labels, "exp_annotations": {**texts, **newest, **alert.notes}}


def _held(value: float | None, points: int) -> str:
    """A value that a gauge keeps for so many points."""
    return f"_x{points}" if value is None else f"{promql.number(value)}+0x{points - 1}"


def _age_stories(group: Group, given: RenderInput) -> Iterator[Story]:
    """For each scheduled model: its job runs, dies, and runs again; and it never ran, until it does."""
    turn, watch = given.monitors.schedule_seconds, group.watch
    of_age = [alert for alert in group.alerts if "model" not in alert.labels]
    name = group.alerts[0].name
    reads = frozenset({watch.signal.metric.name})
    for never in (alert for alert in group.alerts if "model" in alert.labels):
        labels = {"model": never.labels["model"], "suite": never.labels["suite"]}
        dead = math.ceil(max(level.value for level in watch.levels) / turn) + 2
        died = [0.0, *[float(turn)] * dead, float((dead + 1) * turn)]
        looks = {}
        for at in range(turn // 2, (dead + 2) * turn, turn):
            age = at - died[at // turn]
            looks[at] = [Firing(alert, age, labels) for alert in of_age if age > alert.level.value]
        yield Story(name, f"{labels['model']} died", _beside_others(watch, labels, died, given), looks, reads)
        turns = math.ceil(never.held_seconds / turn) + 2
        waits = {never.held_seconds - turn: [], never.held_seconds + turn: [Firing(never, 1.0)]}
        absent: list[float | None] = [None] * turns + [float(turns * turn)]
        series = _beside_others(watch, labels, absent, given)
        yield Story(name, f"{labels['model']} never ran", series, {**waits, turns * turn + turn // 2: []}, reads)


def _overdue_stories(group: Group, given: RenderInput) -> Iterator[Story]:
    """For each scheduled model: what is expected of it happens, stops for days, and happens again."""
    watch, schedule = group.watch, given.monitors.schedule_seconds
    # Looked at in the middle of each turn, when the rules are evaluated.
    turn = max(min(level.value for level in watch.levels) // 2 // (2 * schedule), 1) * 2 * schedule
    turn, name = int(turn), watch.signal.metric.name
    for model, suite in given.pairs_of(watch):
        labels = {"model": model, "suite": suite}
        stopped = math.ceil(max(level.value for level in watch.levels) / turn) + 2
        moments: list[float | None] = [0.0, *[float(turn)] * stopped, float((stopped + 1) * turn)]
        looks = _ages(group.alerts, moments, turn, labels)
        series: Values = {series_name(name, given, labels): moments}
        yield Story(group.alerts[0].name, f"{model} stopped", series, looks, frozenset({name}), turn)


def _heartbeat_stories(group: Group, given: RenderInput) -> Iterator[Story]:
    """Somebody looks, stops, and looks again; and nobody ever looked, until somebody does."""
    watch, turn, name = group.watch, given.monitors.schedule_seconds, group.watch.signal.metric.name
    never = group.alerts[-1]
    key, alert, reads = series_name(name, given, {}), group.alerts[0].name, frozenset({name})
    stopped = math.ceil(max(level.value for level in watch.levels) / turn) + 2
    moments: list[float | None] = [0.0, *[float(turn)] * stopped, float((stopped + 1) * turn)]
    yield Story(alert, "stopped", {key: moments}, _ages(group.alerts[:-1], moments, turn, {}), reads)
    turns = math.ceil(never.held_seconds / turn) + 2
    absent: list[float | None] = [None] * turns + [float(turns * turn)]
    waits = {never.held_seconds - turn // 2: [], never.held_seconds + turn: [Firing(never, 1.0)]}
    yield Story(alert, "never", {key: absent}, {**waits, turns * turn + 60: []}, reads)


def _ages(
    alerts: Sequence[Alert], moments: Sequence[float | None], turn: int, labels: Labels
) -> dict[int, list[Firing]]:
    """Which alerts fire in the middle of each turn, by the age of the moment that is seen then."""
    looks = {}
    for place, moment in enumerate(moments):
        at = place * turn + turn // 2
        age = at - (moment or 0.0)
        looks[at] = [Firing(alert, age, labels) for alert in alerts if age > alert.level.value]
    return looks


def _beside_others(watch: Any, labels: Labels, values: Sequence[float | None], given: RenderInput) -> Values:
    """The moments of one model; all others run in every turn."""
    turn, name = given.monitors.schedule_seconds, watch.signal.metric.name
    others: Values = {
        series_name(name, given, {"model": model, "suite": suite}): [float(i * turn) for i in range(len(values))]
        for model, suite in given.pairs_of(watch)
    }
    return {**others, series_name(name, given, labels): list(values)}


def _rising(group: Group, given: RenderInput) -> Story:
    """A gauge that rises beyond one level after the other, and falls again."""
    watch, turn = group.watch, given.monitors.schedule_seconds
    labels = {"target": "prometheus"}
    values = [0.0, *(float(math.ceil(beside(watch, level))) for level in reversed(watch.levels)), 0.0]
    looks = {
        place * turn + turn // 2: [Firing(alert, value, labels) for alert in group.alerts if value > alert.level.value]
        for place, value in enumerate(values)
    }
    metric = watch.signal.metric.name
    series: Values = {series_name(metric, given, labels): list(values)}
    return Story(group.alerts[0].name, "rises, and falls again", series, looks, frozenset({metric}))


def _undecided(group: Group, signal: Verdict, given: RenderInput) -> Story:
    """A gate that cannot tell for long, and then can."""
    alert: Alert = group.alerts[0]
    turn = given.monitors.schedule_seconds
    labels = {"gate": "some-gate", "model": "some-model", "suite": "some-suite"}
    values: list[float | None] = [0.0, *[signal.equals] * (signal.runs + 1), 0.0]
    margin = 2 * given.monitors.prometheus.evaluation_seconds
    looks = {
        turn + alert.held_seconds - margin: [],
        turn + alert.held_seconds + margin: [Firing(alert, signal.equals, labels)],
        (signal.runs + 2) * turn + turn // 2: [],
    }
    series: Values = {series_name(signal.metric.name, given, labels): values}
    return Story(alert.name, "cannot tell for long", series, looks, frozenset({signal.metric.name}))
