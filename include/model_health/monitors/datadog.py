"""Datadog monitors: one per watch and level, multi-alerts by model and suite, as the API's JSON.

Owns names, tags, options and messages. The queries are `datadog_queries`'. Where the newest run decides, both levels
stand in one monitor; where runs are counted, each level is a monitor of its own, because the threshold is a count. The
dead man's switch is one monitor per scheduled model: a multi-alert only knows the groups that it has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from model_health.config.monitors import Severity
from model_health.monitors import datadog_queries as queries
from model_health.monitors.promql import counts_runs, number
from model_health.monitors.target import RenderInput
from model_health.monitors.text import human_duration
from model_health.monitors.watches import Age, Heartbeat, Level, Operation, Overdue, Verdict, Watch
from model_health.sinks.datadog_series import tags_of

Json = dict[str, Any]

MANAGED_BY = "model-health"
KEY_TAG = "model_health_monitor"
INSTALLATION_TAG = "model_health_installation"
TYPE = "query alert"
MAX_NAME = 255

PRIORITIES = {
    ("critical", "critical"): 1,
    ("critical", "warning"): 3,
    ("supporting", "critical"): 2,
    ("supporting", "warning"): 4,
    ("advisory", "critical"): 4,
    ("advisory", "warning"): 5,
}
"""Of (tier, severity): 1 is the most urgent."""


@dataclass(frozen=True)
class _Draft:
    """A monitor before its options: `levels` are those that it tells of, most severe first."""

    key: str
    watch: Watch
    levels: tuple[Level, ...]
    query: str
    thresholds: dict[str, float]
    no_data_minutes: int | None = None
    about: str = ""


def render_monitors(given: RenderInput) -> list[Json]:
    """All monitors, by key. Each has the tag `model_health_monitor:<key>`, by which `apply` finds it again."""
    drafts = [draft for watch in given.watches for draft in _drafts(watch, given)]
    return [_monitor(draft, given) for draft in sorted(drafts, key=lambda draft: draft.key)]


def owner_tags(given: RenderInput) -> tuple[str, ...]:
    """The tags that everything of this installation bears; what lacks one is never touched."""
    tags = {"managed_by": MANAGED_BY, INSTALLATION_TAG: given.monitors.installation}
    return tuple(tags_of(tags))


def _drafts(watch: Watch, given: RenderInput) -> list[_Draft]:
    if isinstance(watch.signal, Age):
        return [
            _silent(watch, level, model, suite, given)
            for model, suite in given.pairs_of(watch)
            for level in watch.levels
        ]
    if isinstance(watch.signal, Heartbeat):
        return [_no_heartbeat(watch, level, given) for level in watch.levels]
    if isinstance(watch.signal, Overdue):
        names = ("critical", "warning")
        found = {"critical": 1.0, "warning": 0.0}  # above which the gate says fail, and warn
        limits = [found[level.severity] for level in watch.levels]
        query = queries.overdue(watch, limits[0], given)
        return [_Draft(watch.name, watch, watch.levels, query, dict(zip(names, limits, strict=False)))]
    if isinstance(watch.signal, Verdict):
        return [_Draft(watch.name, watch, watch.levels, queries.undecided(watch, given), {"critical": 0.0})]
    counted = [
        level for level in watch.levels if counts_runs(watch) and not (watch.at_once and level is watch.levels[0])
    ]
    at_once = tuple(level for level in watch.levels if level not in counted)
    drafts = [_counted(watch, level, given) for level in counted]
    return [_newest(watch, at_once, given), *drafts] if at_once else drafts


def _newest(watch: Watch, levels: tuple[Level, ...], given: RenderInput) -> _Draft:
    # Datadog wants the warning reached first: one that is not says nothing of its own.
    levels = levels[:1] if len({level.value for level in levels}) == 1 else levels
    names = ("critical", "warning")
    thresholds = {name: level.value for name, level in zip(names, levels, strict=False)}
    # Operation metrics come by themselves, so their silence is told; that of runs is the dead man's switch's.
    told = 2 * queries.newest_minutes(given) if isinstance(watch.signal, Operation) else None
    return _Draft(watch.name, watch, levels, queries.newest(watch, levels[0], given), thresholds, told)


def _counted(watch: Watch, level: Level, given: RenderInput) -> _Draft:
    key = f"{watch.name}/{level.severity}"
    query = queries.sick_runs(watch, level, given)
    return _Draft(key, watch, (level,), query, {"critical": float(watch.for_runs)})


def _silent(watch: Watch, level: Level, model: str, suite: str, given: RenderInput) -> _Draft:
    query, told = queries.silent(watch, level, model, suite, given)
    key = f"{watch.name}/{model}/{suite}/{level.severity}"
    return _Draft(key, watch, (level,), query, {"critical": 0.0}, told, f"{model} on {suite}")


def _no_heartbeat(watch: Watch, level: Level, given: RenderInput) -> _Draft:
    query, told = queries.no_heartbeat(watch, level, given)
    return _Draft(f"{watch.name}/{level.severity}", watch, (level,), query, {"critical": 0.0}, told, "installation")


def _monitor(draft: _Draft, given: RenderInput) -> Json:
    watch, severity = draft.watch, draft.levels[0].severity
    labels = {"gate": watch.name, "owner": watch.owner, "tier": watch.tier, "severity": severity, KEY_TAG: draft.key}
    level = f" {severity}" if "/" in draft.key else ""
    about = f" ({draft.about})" if draft.about else ""
    return {
        "name": f"[model-health] {watch.name}{level}{about}"[:MAX_NAME],
        "type": TYPE,
        "query": draft.query,
        "message": _message(draft, given),
        "tags": sorted({*owner_tags(given), *tags_of({**given.datadog_labels, **labels})}),
        "priority": PRIORITIES[watch.tier, severity],
        "options": _options(draft, given),
    }


def _options(draft: _Draft, given: RenderInput) -> Json:
    told = draft.no_data_minutes
    return {
        "thresholds": draft.thresholds,
        # A window that had to be full would never be judged: there is one point per run.
        "require_full_window": False,
        "notify_no_data": told is not None,
        **({"no_data_timeframe": told} if told is not None else {}),
        "renotify_interval": max(round(given.gates.renotify_after_hours * 60), 1),
        "renotify_statuses": ["alert", "no data"],
        # A model's first run is judged like every other one.
        "new_group_delay": 0,
        "include_tags": True,
        "notify_audit": False,
    }


def _message(draft: _Draft, given: RenderInput) -> str:
    watch = draft.watch
    lines = [
        *_told(draft),
        "",
        _plain(watch.reason),
        f"Owner: {_plain(watch.owner)}",
        f"Runbook: {given.runbook(watch)}",
    ]
    if given.dashboard_url:
        lines.append(f"Dashboard: {given.dashboard_url}")
    return "\n".join([*lines, *_handles(draft, given)])


def _told(draft: _Draft) -> list[str]:
    watch = draft.watch
    subject, relation, place = watch.subject, watch.relation, "{{model.name}} on {{suite.name}}"
    if isinstance(watch.signal, Age):
        return [f"No valid run of {draft.about} for {draft.no_data_minutes} minutes."]
    if isinstance(watch.signal, Heartbeat):
        return [f"Nobody has looked at the clock for {draft.no_data_minutes} minutes."]
    if isinstance(watch.signal, Overdue):
        worst = ", ".join(f"{level.severity} {relation} {human_duration(level.value)}" for level in draft.levels)
        return [f"{place}: {subject} is too long ({worst})."]
    if isinstance(watch.signal, Verdict):
        return [f"{place}: gate {{{{gate.name}}}} could not tell for {watch.signal.runs} runs."]
    levels = ", ".join(f"{level.severity} {relation} {number(level.value)}" for level in draft.levels)
    if isinstance(watch.signal, Operation):
        return [f"{{{{target.name}}}}: {subject} is {{{{value}}}} ({levels})."]
    if "/" in draft.key:
        runs = f"in {{{{value}}}} of the last {watch.of_last} runs ({watch.for_runs} are enough)"
        return [f"{place}: {subject}: {levels}, {runs}."]
    return [f"{place}: {subject}: {{{{value}}}} ({levels})."]


def _handles(draft: _Draft, given: RenderInput) -> list[str]:
    """Whom to tell: of a breach and of its end, and of nothing else."""
    states = ("alert", "warning") if len(draft.levels) == 2 else ("no_data",) if draft.about else ("alert",)
    lines = []
    for state, level in zip(states, draft.levels, strict=False):
        handles = _routed(draft.watch, level.severity, given)
        if handles:
            lines += [_block(state, handles), _block(f"{state}_recovery", handles)]
    if draft.no_data_minutes is not None and not draft.about and (handles := _routed(draft.watch, "warning", given)):
        lines.append(_block("no_data", handles))
    return ["", *lines] if lines else []


def _block(state: str, handles: Sequence[str]) -> str:
    return f"{{{{#is_{state}}}}}{' '.join(handles)}{{{{/is_{state}}}}}"


def _routed(watch: Watch, severity: Severity, given: RenderInput) -> list[str]:
    found = [
        handle
        for route in given.monitors.datadog.routes
        if severity in route.severities and watch.tier in route.tiers and fnmatchcase(watch.name, route.gates)
        for handle in route.handles
    ]
    return list(dict.fromkeys(found))


def _plain(text: str) -> str:
    """Text of a person in which nothing is a handle or a placeholder."""
    return text.replace("@", "(at)").replace("{{", "{ {")
