"""Stories that a rule file is tested with: what is pushed turn by turn, and which alerts fire when.

Owns the stories and a small model of what the rules mean: how many sick runs ended in the window, how long an alert
waits and stays. Nothing is read off the expressions, so a wrong expression cannot agree with itself.

    recovers   healthy runs, as many sick ones as it takes, then health: fires, stays, resolves
    silent     one sick run less, then nothing runs any more: never fires
    apart      one sick run less, and the last one just outside of the window: never fires
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from model_health.catalog.loader import catalogue
from model_health.catalog.published import ALL_PROMPTS, GROUP, OVER_PROMPTS
from model_health.monitors import promql
from model_health.monitors.prometheus import Alert, Group
from model_health.monitors.target import RenderInput
from model_health.monitors.watches import (
    RUN_ENDED,
    BaselineVerdict,
    FlaggedPrompts,
    Level,
    OverPromptsValue,
    ReportInvalid,
    RunValue,
    Watch,
)

PROMPTS = 24
"""Prompts of the suite that the stories run."""
HEALTHY_RUNS = 2
SUITE = "some-suite"

Values = dict[str, list[float | None]]
"""Series by name, with one value per turn of the schedule; None where there is none."""


@dataclass(frozen=True)
class Firing:
    """An alert that fires: its value, the labels that its series gives it, and the newest run's value."""

    alert: Alert
    value: float
    labels: dict[str, str] = field(default_factory=dict)
    newest: float = 0.0


@dataclass(frozen=True)
class Story:
    """What is pushed, and which alerts of one name fire at which second.

    `reads` names the series that the rules of the watch read: two stories that share one cannot be told together.
    `turn` is the seconds between two values, where that is not the schedule's: a story of days.
    """

    alert_name: str
    what: str
    series: Values
    looks: dict[int, list[Firing]]
    reads: frozenset[str]
    turn: int | None = None


@dataclass(frozen=True)
class _Turn:
    """What is visible in one turn of the schedule: when its run ended (a turn), and the value that the gate sees."""

    ended: int
    value: float
    series: dict[str, float]


def run_stories(group: Group, given: RenderInput) -> Iterator[Story]:
    """The stories of a watch that runs judge."""
    watch = group.watch
    healthy = _example(watch, None)
    for level in watch.levels:
        sick = _example(watch, level)
        worse = [other for other in watch.levels if _beyond(watch, sick[1], other)]
        if worse[0] is level or watch.levels[0] is level:
            runs = [healthy] * HEALTHY_RUNS + [sick] * watch.for_runs
            after = [healthy] * (watch.of_last + watch.recover_after + 1)
            yield _told(group, f"{level.severity}, recovers", _all_run([*runs, *after]), given)
    if watch.for_runs > 1:
        sick = _example(watch, watch.levels[0])
        few = [healthy] * HEALTHY_RUNS + [sick] * (watch.for_runs - 1)
        turns = _all_run(few)
        yield _told(group, "silent", turns + [turns[-1]] * (watch.of_last + 3), given)
        if not isinstance(watch.signal, ReportInvalid):
            apart = few + [healthy] * (watch.of_last - watch.for_runs + 1) + [sick] + [healthy] * 2
            yield _told(group, "apart", _all_run(apart), given)


def _all_run(runs: Sequence[tuple[dict[str, float], float]]) -> list[_Turn]:
    return [_Turn(place, value, series) for place, (series, value) in enumerate(runs)]


def _told(group: Group, what: str, turns: Sequence[_Turn], given: RenderInput) -> Story:
    watch, turn = group.watch, given.monitors.schedule_seconds
    labels = {"model": example_of(watch.models, f"model-{watch.name}"), "suite": example_of(watch.suites, SUITE)}
    series: Values = {series_name(RUN_ENDED, given, labels): [float(one.ended * turn) for one in turns]}
    for name in turns[0].series:
        metric, _, rest = name.partition("{")
        more = dict(pair.split("=") for pair in rest.rstrip("}").split(",")) if rest else {}
        series[series_name(metric, given, labels | more)] = [one.series[name] for one in turns]
    states = [_states(alert, turns, given) for alert in group.alerts]
    looks: dict[int, list[Firing]] = {}
    step = given.monitors.prometheus.evaluation_seconds
    late = given.monitors.late_seconds
    for place in range(len(turns)):
        # While the newest run may still be late, and when it may not be any more.
        for second in (late // 2, (late + turn) // 2):
            at = place * turn + second
            firing = [(alert, state[at // step]) for alert, state in zip(group.alerts, states, strict=True)]
            looks[at] = [Firing(alert, found[0], labels, found[1]) for alert, found in firing if found is not None]
    name = group.alerts[0].name
    reads = frozenset(turns[0].series) - {"prompts_total"}
    return Story(name, what, series, _telling(looks), reads)


def _telling(looks: dict[int, list[Firing]]) -> dict[int, list[Firing]]:
    """The first and last look, and the two around each change: the others say the same again."""

    def shape(at: int) -> list[tuple[str, float, float]]:
        return [(firing.alert.level.severity, firing.value, firing.newest) for firing in looks[at]]

    times = list(looks)
    kept = {times[0], times[-1]}
    for before, after in itertools.pairwise(times):
        if shape(before) != shape(after):
            kept |= {before, after}
    return {at: looks[at] for at in times if at in kept}


def _states(alert: Alert, turns: Sequence[_Turn], given: RenderInput) -> list[tuple[float, float] | None]:
    """At each evaluation, (the alert's value, the newest run's value) if it fires, else None."""
    turn, step = given.monitors.schedule_seconds, given.monitors.prometheus.evaluation_seconds
    states: list[tuple[float, float] | None] = []
    active_since = kept_since = None
    firing: tuple[float, float] | None = None
    for now in range(0, len(turns) * turn, step):
        value = _value(alert, turns[: now // turn + 1], now, given)
        if value is not None:
            active_since = now if active_since is None else active_since
            kept_since = None
            if firing is not None or now - active_since >= alert.held_seconds:
                firing = value, turns[now // turn].value
        else:
            active_since = None
            if firing is not None:
                kept_since = now if kept_since is None else kept_since
                if now - kept_since >= alert.kept_seconds:
                    firing = kept_since = None
        states.append(firing)
    return states


def _value(alert: Alert, turns: Sequence[_Turn], now: int, given: RenderInput) -> float | None:
    """The value of the alert's expression: by the rule's meaning, with the turns that are over and the present one."""
    watch, turn = alert.watch, given.monitors.schedule_seconds
    newest = turns[-1]
    is_sick = _beyond(watch, newest.value, alert.level)
    if not promql.counts_runs(watch):
        return newest.value if is_sick else None
    if isinstance(watch.signal, ReportInvalid):
        # Looked at once in each turn, as it begins.
        looked = turns[-watch.of_last :]
        count = sum(_beyond(watch, one.value, alert.level) for one in looked)
    else:
        since = now - promql.window(watch, given.monitors)
        sick = {one.ended for one in turns if _beyond(watch, one.value, alert.level)}
        count = sum(ended * turn >= since for ended in sick)
    if count >= watch.for_runs:
        return float(count)
    return 1.0 if is_sick and watch.at_once and alert.level is watch.levels[0] else None


def _beyond(watch: Watch, value: float, level: Level) -> bool:
    return value < level.value if watch.below else value > level.value


def _example(watch: Watch, level: Level | None) -> tuple[dict[str, float], float]:
    """The series of one run that is healthy, or just beyond the level, and the value that the gate sees."""
    signal = watch.signal
    if isinstance(signal, FlaggedPrompts):
        return _flagged(signal, level)
    if isinstance(signal, RunValue | ReportInvalid) and signal.metric.kind == "flag":
        sick = float(level is not None)
        return {signal.metric.name: 1 - sick if isinstance(signal, RunValue) and signal.inverted else sick}, sick
    seen = beside(watch, level)
    if isinstance(signal, BaselineVerdict):
        return {f"{signal.metric.name}{{gate={signal.gate}}}": seen}, seen
    if isinstance(signal, OverPromptsValue):
        return {f"{signal.metric.name}{{{GROUP}={ALL_PROMPTS},{OVER_PROMPTS}={signal.over}}}": seen}, seen
    return {signal.metric.name: seen}, seen


def _flagged(signal: FlaggedPrompts, level: Level | None) -> tuple[dict[str, float], float]:
    prompts = PROMPTS if signal.fraction else 1
    count = 0 if level is None else math.floor(level.value * prompts) + 1
    series = {f"{signal.metric.name}{{flag={flag}}}": 0.0 for flag in signal.flags}
    series[next(iter(series))] = float(count)
    return (series | {"prompts_total": float(PROMPTS)} if signal.fraction else series), count / prompts


def beside(watch: Watch, level: Level | None) -> float:
    """A value within every level, or beyond the given one and, where there is room, within the next."""
    margin = max(1.0, abs(watch.levels[0].value)) / 8 * (-1 if watch.below else 1)
    if level is None:
        return watch.levels[-1].value - margin
    further = watch.levels[0].value
    return (level.value + further) / 2 if further != level.value else level.value + margin


def series_name(metric: str, given: RenderInput, labels: dict[str, str]) -> str:
    """A series of this installation, as promtool takes it."""
    inner = ",".join(promql.equal(name, value) for name, value in {**given.prometheus_labels, **labels}.items())
    return f"{catalogue()[metric].prometheus_name}{{{inner}}}"


def example_of(glob: str, otherwise: str) -> str:
    """A name that a shell pattern takes; `otherwise` for one that takes everything."""
    if glob == "*":
        return otherwise
    parts, rest = [], glob
    while rest:
        char, rest = rest[0], rest[1:]
        if char == "[" and "]" in rest[1:]:
            inner, rest = rest.split("]", 1)
            parts.append("q" if inner.startswith("!") else inner[0])
        else:
            parts.append({"*": "x", "?": "x"}.get(char, char))
    return "".join(parts)
