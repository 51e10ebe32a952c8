"""Watches as PromQL. Owns selectors, windows, and how sick runs are counted; knows nothing of rule files.

A gauge that is pushed once per run stays visible until the next run, so "k of the last n runs" cannot be read off it
by sampling: one sick run before a silence would be counted again and again. Runs are told apart by the moment at which
they ended instead. A recording rule keeps that moment while the newest run is sick, and the alert counts the distinct
turns of the schedule among those moments, without one that began before the window (it only still shows at its edge).
A run that is retried within its turn counts once.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from fnmatch import fnmatchcase

from model_health.catalog.loader import catalogue
from model_health.catalog.metric import Metric
from model_health.catalog.published import ALL_PROMPTS, GROUP, NOT_MEASURED, OVER_PROMPTS
from model_health.config.monitors import MonitorsConfig
from model_health.monitors.target import RenderInput
from model_health.monitors.watches import (
    RUN_ENDED,
    Age,
    BaselineVerdict,
    FlaggedPrompts,
    Heartbeat,
    Level,
    Operation,
    Overdue,
    OverPromptsValue,
    ReportInvalid,
    RunValue,
    Verdict,
    Watch,
)

GATE_VALUE = "model_health:gate_value"
"""Recorded: the value that a gate compares, of the newest run, by gate, model and suite."""
SICK_RUN = "model_health:sick_run_ended_seconds"
"""Recorded while the newest run is beyond a gate's level: when that run ended, by gate, level, model and suite."""
GATE_LEVEL = "model_health:gate_level"
"""Recorded: the levels themselves, by gate and level, so that a chart shows a value against them."""

BY_RUN = "by (model, suite)"
NAME_CHARACTERS = f"{string.ascii_lowercase}{string.digits}._-"
"""Of which names of models, suites and gates are made; the hyphen last, as a character class wants it."""


def duration(seconds: int) -> str:
    """A duration as Prometheus writes it: `3h45m`."""
    parts = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
    text = ""
    for size, unit in parts:
        count, seconds = divmod(seconds, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def number(value: float) -> str:
    """A number as PromQL and people read it: no trailing `.0`."""
    return f"{value:.12g}"


def quoted(text: str) -> str:
    """A PromQL string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def glob_to_regex(glob: str) -> str:
    """The anchored regular expression (RE2) that takes the names which the shell pattern takes."""
    parts, rest = [], glob
    while rest:
        char, rest = rest[0], rest[1:]
        closed = re.match(r"!?\]?[^]]*\]", rest) if char == "[" else None
        if closed is not None:
            # What the brackets take is asked of `fnmatch` itself: ranges that run backwards take nothing there.
            taken = "".join(one for one in NAME_CHARACTERS if fnmatchcase(one, f"[{closed.group()}"))
            parts.append(f"[{taken}]" if taken else f"[^{NAME_CHARACTERS}]")
            rest = rest[closed.end() :]
        else:
            parts.append({"*": ".*", "?": "."}.get(char) or ("[.]" if char == "." else re.escape(char)))
    return "".join(parts).replace("\\-", "-")


def selector(name: str, *matchers: str) -> str:
    """`name{matchers}`, or the bare name."""
    known = [matcher for matcher in matchers if matcher]
    return f"{name}{{{','.join(known)}}}" if known else name


def equal(label: str, value: str) -> str:
    """`label="value"`."""
    return f"{label}={quoted(value)}"


def one_of(label: str, values: tuple[str, ...]) -> str:
    """`label="value"` or `label=~"a|b"`."""
    if len(values) == 1:
        return equal(label, values[0])
    return f"{label}=~{quoted('|'.join(value.replace('.', '[.]') for value in values))}"


def matching(label: str, glob: str) -> str:
    """A matcher for a shell pattern; empty for one that takes everything."""
    if glob == "*":
        return ""
    return f"{label}=~{quoted(glob_to_regex(glob))}" if re.search(r"[*?\[]", glob) else equal(label, glob)


def own(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Matchers for this installation's series."""
    return tuple(equal(name, value) for name, value in sorted(labels.items()))


def value(watch: Watch, given: RenderInput) -> str:
    """The value of the newest run, as an instant vector by model and suite. For watches that runs judge."""
    signal = watch.signal
    scope = (*own(given.prometheus_labels), matching("model", watch.models), matching("suite", watch.suites))
    how = "min" if watch.below else "max"

    def series(name: str, *matchers: str) -> str:
        return selector(name, *scope, *matchers)

    if isinstance(signal, FlaggedPrompts):
        raised = f"max {BY_RUN} ({series(signal.metric.prometheus_name, one_of('flag', signal.flags))})"
        return f"{raised}\n/\nmax {BY_RUN} ({series(_name('prompts_total'))})" if signal.fraction else raised
    if isinstance(signal, RunValue):
        if signal.inverted:
            return f"1 - min {BY_RUN} ({series(signal.metric.prometheus_name)})"
        return f"{how} {BY_RUN} ({series(signal.metric.prometheus_name)})"
    if isinstance(signal, ReportInvalid):
        return f"max {BY_RUN} ({series(signal.metric.prometheus_name)})"
    if isinstance(signal, BaselineVerdict):
        return f"max {BY_RUN} ({series(signal.metric.prometheus_name, equal('gate', signal.gate))})"
    if isinstance(signal, OverPromptsValue):
        matchers = equal(GROUP, ALL_PROMPTS), equal(OVER_PROMPTS, signal.over)
        measured = f"{how} {BY_RUN} ({series(signal.metric.prometheus_name, *matchers)})"
        if (signal.over, watch.relation) in (("max", "above"), ("min", "below")):
            return measured  # what was not measured cannot bring such a value back within the level
        missing = f"max {BY_RUN} ({series(NOT_MEASURED, equal('metric', signal.metric.name))})"
        allowed = f"{number(1 - signal.min_measured)} * max {BY_RUN} ({series(_name('prompts_total'))})"
        return f"{measured}\nunless on (model, suite)\n({missing} > {allowed})"
    raise TypeError(f"{watch.name} is not judged by runs")


def beyond(watch: Watch, level: Level) -> str:
    """The recorded value, where it lies beyond the level."""
    return f"{selector(GATE_VALUE, equal('gate', watch.name))} {'<' if watch.below else '>'} {number(level.value)}"


def sick_run(watch: Watch, level: Level, given: RenderInput) -> str:
    """When the newest run ended, while it is beyond the level."""
    scope = (*own(given.prometheus_labels), matching("model", watch.models), matching("suite", watch.suites))
    ended = f"max {BY_RUN} ({selector(_name(RUN_ENDED), *scope)})"
    return f"{ended}\nand on (model, suite)\n({beyond(watch, level)})"


def counts_runs(watch: Watch) -> bool:
    """Whether the watch needs more than the newest run."""
    return watch.by_run and watch.of_last > 1


def window(watch: Watch, monitors: MonitorsConfig) -> int:
    """Seconds in which the last n runs ended, the oldest of them late."""
    return watch.of_last * monitors.schedule_seconds + monitors.late_seconds


def sick_runs(watch: Watch, level: Level, monitors: MonitorsConfig) -> str:
    """How many of the last n runs were beyond the level, where at least k were, by model and suite."""
    turn, length = monitors.schedule_seconds, duration(window(watch, monitors))
    if isinstance(watch.signal, ReportInvalid):
        # An invalid run publishes no end: the gauge is looked at once in each turn instead.
        sampled = f"count_over_time(({beyond(watch, level)})[{duration(watch.of_last * turn)}:{duration(turn)}])"
        counted = f"max {BY_RUN} ({sampled}) >= {watch.for_runs}"
    else:
        sick = selector(SICK_RUN, equal("gate", watch.name), equal("level", level.severity))
        step = duration(min(monitors.prometheus.evaluation_seconds, turn))
        turns = f"changes(floor({sick} / {turn})[{length}:{step}])"
        oldest = f"(min_over_time({sick}[{length}]) >= bool (time() - {window(watch, monitors)}))"
        counted = f"max {BY_RUN} (\n  {turns}\n  +\n  {oldest}\n) >= {watch.for_runs}"
    if watch.at_once and level is watch.levels[0]:
        return f"{counted}\nor on (model, suite)\nmax {BY_RUN} (0 * ({beyond(watch, level)}) + 1)"
    return counted


def age(watch: Watch, level: Level, given: RenderInput) -> str:
    """Seconds since the moment that the metric holds, where they are beyond the level; scheduled runs only.

    A suite that somebody ran once by hand leaves a moment that ages for ever: it is not waited for.
    """
    name = _signal_name(watch)
    by_suite: dict[str, list[str]] = {}
    for model, suite in given.pairs_of(watch):
        by_suite.setdefault(suite, []).append(model)
    moments = [
        selector(name, *own(given.prometheus_labels), one_of("model", tuple(models)), equal("suite", suite))
        for suite, models in sorted(by_suite.items())
    ]
    inner = "\n  or\n  ".join(moments)
    return f"time() - max {BY_RUN} (\n  {inner}\n) {'<' if watch.below else '>'} {number(level.value)}"


def heartbeat(watch: Watch, level: Level, given: RenderInput) -> str:
    """Seconds since the installation's moment, where they are beyond the level."""
    series = selector(_signal_name(watch), *own(given.prometheus_labels))
    return f"time() - max ({series}) > {number(level.value)}"


def no_heartbeat(watch: Watch, given: RenderInput) -> str:
    """1 where the installation has no such moment at all."""
    return f"absent({selector(_signal_name(watch), *own(given.prometheus_labels))})"


def missing(watch: Watch, model: str, suite: str, given: RenderInput) -> str:
    """1 where a scheduled model has no moment at all: it never ran, or its series is gone."""
    matchers = (*own(given.prometheus_labels), equal("model", model), equal("suite", suite))
    return f"absent({selector(_signal_name(watch), *matchers)})"


def operation(watch: Watch, level: Level, given: RenderInput) -> str:
    """A metric of the operation beyond the level, by target."""
    series = selector(_signal_name(watch), *own(given.prometheus_labels))
    return f"max by (target) ({series}) {'<' if watch.below else '>'} {number(level.value)}"


def verdict(watch: Watch, given: RenderInput) -> str:
    """A gate that gives one answer, by gate, model and suite."""
    if not isinstance(watch.signal, Verdict):
        raise TypeError(f"{watch.name} is no verdict")
    series = selector(_signal_name(watch), *own(given.prometheus_labels))
    return f"max by (gate, model, suite) ({series}) == {number(watch.signal.equals)}"


def _signal_name(watch: Watch) -> str:
    metric: Metric = watch.signal.metric
    if not isinstance(watch.signal, Age | Overdue | Heartbeat | Operation | Verdict):
        raise TypeError(f"{watch.name} is judged by runs")
    return metric.prometheus_name


def _name(metric: str) -> str:
    return catalogue()[metric].prometheus_name
