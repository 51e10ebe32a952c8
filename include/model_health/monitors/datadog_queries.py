"""Watches as Datadog metric queries. Owns scopes, windows, and how sick runs are counted; knows no monitor.

A run gives one point, so a window must be long enough to hold some: at least two turns of the schedule. One sick run is
seen as the largest value of the window, at once; health is seen when the sick point has left it, at most a turn after
the next run. Of several runs the sick ones are counted: each point becomes 1 or 0, in buckets of half a turn, so that
neither a missing run nor a repeated delivery counts. `fill(null)` keeps Datadog from drawing lines between points.

What PromQL can leave out ("less than half of the prompts have a value") has no words here: a mean is over the prompts
that were measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from model_health.catalog.loader import catalogue
from model_health.catalog.metric import Metric
from model_health.catalog.published import ALL_PROMPTS, GROUP, OVER_PROMPTS, datadog_name
from model_health.monitors.promql import number
from model_health.monitors.target import RenderInput
from model_health.monitors.watches import (
    BaselineVerdict,
    FlaggedPrompts,
    Level,
    Overdue,
    OverPromptsValue,
    ReportInvalid,
    RunValue,
    Verdict,
    Watch,
)
from model_health.sinks.datadog_series import tags_of

BY_RUN = ("model", "suite")
MIN_MINUTES = 5
STEEP = 1_000_000_000
"""Turns any excess over a level into at least 1, down to a billionth."""


def minutes(seconds: float) -> int:
    """Whole minutes that hold so many seconds, and no fewer than Datadog looks at."""
    return max(math.ceil(seconds / 60), MIN_MINUTES)


def newest_minutes(given: RenderInput) -> int:
    """How far back the newest run is looked for."""
    return minutes(2 * given.monitors.schedule_seconds)


def counting_minutes(watch: Watch, given: RenderInput) -> int:
    """How far back the last n runs reach, the oldest of them late."""
    turn, late = given.monitors.schedule_seconds, given.monitors.late_seconds
    return minutes(max(2 * turn, watch.of_last * turn + late))


def newest(watch: Watch, level: Level, given: RenderInput) -> str:
    """The newest run, or a metric of the operation, beyond the level."""
    how, sign = ("min", "<") if watch.below else ("max", ">")
    return f"{how}(last_{newest_minutes(given)}m):{_value(watch, given, '')} {sign} {number(level.value)}"


def sick_runs(watch: Watch, level: Level, given: RenderInput) -> str:
    """At least k of the last n runs beyond the level."""
    bucket = max(given.monitors.schedule_seconds // 2, 60)
    value = _value(watch, given, f".rollup({'min' if watch.below else 'max'}, {bucket}).fill(null)")
    excess = f"{number(level.value)} - ({value})" if watch.below else f"({value}) - {number(level.value)}"
    sick = f"clamp_max(clamp_min({excess}, 0) * {STEEP}, 1)"
    return f"sum(last_{counting_minutes(watch, given)}m):{sick} >= {watch.for_runs}"


def silent(watch: Watch, level: Level, model: str, suite: str, given: RenderInput) -> tuple[str, int]:
    """A query that is never true, about one model's last success, and after how many minutes no data is told."""
    told = minutes(max(level.value, 2 * given.monitors.schedule_seconds))
    # Datadog wants a time without data of at least twice the window.
    window = max(min(minutes(given.monitors.schedule_seconds), told // 2), MIN_MINUTES)
    scope = _scope(watch.signal.metric, given, {"model": model, "suite": suite})
    return f"max(last_{window}m):max:{scope} < 0", told


def no_heartbeat(watch: Watch, level: Level, given: RenderInput) -> tuple[str, int]:
    """A query that is never true, about the installation's moment, and after how many minutes no data is told."""
    told = max(minutes(level.value), 2 * MIN_MINUTES)
    return f"max(last_{MIN_MINUTES}m):max:{_scope(watch.signal.metric, given, {})} < 0", told


def overdue(watch: Watch, limit: float, given: RenderInput) -> str:
    """The gate's own answer beyond `limit`: Datadog cannot tell how old a moment is."""
    if not isinstance(watch.signal, Overdue):
        raise TypeError(f"{watch.name} is not overdue")
    scope = _scope(watch.signal.verdict, given, {**by_run_scope(watch, given), "gate": watch.signal.gate})
    return f"max(last_{newest_minutes(given)}m):max:{scope} by {{{','.join(BY_RUN)}}} > {number(limit)}"


def undecided(watch: Watch, given: RenderInput) -> str:
    """A gate that gave one answer alone for all of the window."""
    if not isinstance(watch.signal, Verdict):
        raise TypeError(f"{watch.name} is no verdict")
    scope = _scope(watch.signal.metric, given, {})
    window = minutes(max(watch.signal.runs, 2) * given.monitors.schedule_seconds)
    return f"max(last_{window}m):max:{scope} by {{gate,model,suite}} < 0"


def by_run_scope(watch: Watch, given: RenderInput) -> dict[str, str | tuple[str, ...]]:
    """The model and suite of a scope: a name, a pattern with `*`, or the names that a shell pattern takes."""
    scope: dict[str, str | tuple[str, ...]] = {}
    pairs = given.pairs_of(watch)
    for name, glob, place in (("model", watch.models, 0), ("suite", watch.suites, 1)):
        if glob == "*":
            continue
        if re.search(r"[?\[]", glob):
            # Datadog's patterns know `*` alone: what the shell pattern takes of what is scheduled is named.
            scope[name] = tuple(sorted({pair[place] for pair in pairs})) or ("none",)
        else:
            scope[name] = glob
    return scope


def _value(watch: Watch, given: RenderInput, suffix: str) -> str:
    signal = watch.signal
    where = by_run_scope(watch, given) if watch.by_run else {}
    how, keys = ("min" if watch.below else "max"), BY_RUN if watch.by_run else ("target",)

    def series(metric: Metric, *, how: str = how, more: Mapping[str, str | tuple[str, ...]] | None = None) -> str:
        return f"{how}:{_scope(metric, given, {**where, **(more or {})})} by {{{','.join(keys)}}}{suffix}"

    if isinstance(signal, FlaggedPrompts):
        raised = series(signal.metric, how="max", more={"flag": signal.flags})
        return f"{raised} / {series(catalogue()['prompts_total'], how='max')}" if signal.fraction else raised
    if isinstance(signal, OverPromptsValue):
        return series(signal.metric, more={GROUP: ALL_PROMPTS, OVER_PROMPTS: signal.over})
    if isinstance(signal, RunValue) and signal.inverted:
        return f"1 - {series(signal.metric, how='min')}"
    if isinstance(signal, ReportInvalid):
        return series(signal.metric, how="max")
    if isinstance(signal, BaselineVerdict):
        return series(signal.metric, how="max", more={"gate": signal.gate})
    return series(signal.metric)


def _scope(metric: Metric, given: RenderInput, where: Mapping[str, str | tuple[str, ...]]) -> str:
    """`model_health.x{model:a AND flag IN (b,c)}`, this installation's own tags first."""
    merged: dict[str, str | tuple[str, ...]] = {**given.datadog_labels, **where}
    parts = []
    for name, value in merged.items():
        values = (value,) if isinstance(value, str) else value
        tags = [_tag(name, one) for one in values]
        parts.append(tags[0] if len(tags) == 1 else f"{name} IN ({','.join(tag.partition(':')[2] for tag in tags)})")
    # A comma and the word AND mean the same, but only the word goes with IN.
    joined = (" AND " if any(" IN (" in part for part in parts) else ",").join(parts)
    return f"{datadog_name(metric.prometheus_name)}{{{joined or '*'}}}"


def _tag(name: str, value: str) -> str:
    """As the sink writes it, but with the `*` of a pattern."""
    return "*".join(
        tags_of({name: part})[0] if place == 0 else tags_of({"x": part})[0][2:]
        for place, part in enumerate(value.split("*"))
    )
