"""The rule file of Prometheus: a group per watch, recording rules first, then an alert per level.

Owns names, labels and annotations of the rules. The expressions are `promql`'s. Both levels of a gate share one alert
name; Alertmanager lets the critical one silence the warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_health.monitors import promql
from model_health.monitors.target import RenderInput
from model_health.monitors.text import Text, escaped, human_duration
from model_health.monitors.watches import (
    Age,
    Heartbeat,
    Level,
    Operation,
    Overdue,
    OverPromptsValue,
    Verdict,
    Watch,
)
from model_health.monitors.yaml_text import to_yaml

RULES_FILE = "model-health.rules.yml"
SOURCE = "prometheus"
"""Tells these alerts from those that Model Health sends to Alertmanager by itself."""


@dataclass(frozen=True)
class Alert:
    """One alert rule.

    Args:
        held_seconds: how long the expression must be true before the alert fires.
        kept_seconds: how long it fires on when the expression is no longer true: an alert that flaps stays raised.
        texts: annotations with places that a series fills.
        notes: annotations that are the same for every series.
        value_query: a template that asks for the newest run's value.
    """

    watch: Watch
    level: Level
    expr: str
    held_seconds: int
    labels: Mapping[str, str]
    texts: Mapping[str, Text]
    notes: Mapping[str, str] = field(default_factory=dict)
    value_query: str = ""
    kept_seconds: int = 0

    @property
    def name(self) -> str:
        """The alert's name: `ModelHealthRepetitionLoop`."""
        return alert_name(self.watch.name)

    def rule(self) -> dict[str, Any]:
        """The rule as the rule file holds it."""
        annotations = {name: text.go_template() for name, text in self.texts.items()}
        if self.value_query:
            annotations["value"] = self.value_query
        annotations |= {name: escaped(note) for name, note in self.notes.items()}
        held = {"for": promql.duration(self.held_seconds)} if self.held_seconds else {}
        if self.kept_seconds:
            held["keep_firing_for"] = promql.duration(self.kept_seconds)
        labels = {name: escaped(label) for name, label in self.labels.items()}
        return {"alert": self.name, "expr": self.expr, **held, "labels": labels, "annotations": annotations}


@dataclass(frozen=True)
class Group:
    """The rules of one watch, in the order in which they need each other."""

    watch: Watch
    records: tuple[dict[str, Any], ...]
    alerts: tuple[Alert, ...]


def alert_name(slug: str) -> str:
    """`repetition-loop` -> `ModelHealthRepetitionLoop`."""
    words = slug.replace("_", "-").replace(".", "-").split("-")
    return "ModelHealth" + "".join(word.capitalize() for word in words)


def groups(given: RenderInput) -> tuple[Group, ...]:
    """All groups. A watch over scheduled models has none where it covers no model."""
    return tuple(group for watch in given.watches if (group := _group(watch, given)).alerts)


def render_rules(given: RenderInput) -> str:
    """The rule file."""
    content = {
        "groups": [
            {
                "name": f"model-health/{group.watch.name}",
                "interval": promql.duration(given.monitors.prometheus.evaluation_seconds),
                "rules": [*group.records, *(alert.rule() for alert in group.alerts)],
            }
            for group in groups(given)
        ]
    }
    return (
        f"# {given.marker}\n# from configs/gates.yaml by `model-health monitors render`: edit that\n{to_yaml(content)}"
    )


def _group(watch: Watch, given: RenderInput) -> Group:
    records = _records(watch, given) if watch.by_run else ()
    alerts = [alert for level in watch.levels if (alert := _alert(watch, level, given)) is not None]
    if isinstance(watch.signal, Age):
        alerts += [_never(watch, model, suite, given) for model, suite in given.pairs_of(watch)]
    if isinstance(watch.signal, Heartbeat):
        alerts.append(_no_heartbeat(watch, given))
    return Group(watch, records, tuple(alerts))


def _records(watch: Watch, given: RenderInput) -> tuple[dict[str, Any], ...]:
    labels = {"gate": watch.name}
    value = {"record": promql.GATE_VALUE, "expr": promql.value(watch, given), "labels": labels}
    levels, sick = [], []
    for level in watch.levels:
        both = {**labels, "level": level.severity}
        levels.append({"record": promql.GATE_LEVEL, "expr": f"vector({promql.number(level.value)})", "labels": both})
        if promql.counts_runs(watch):
            sick.append({"record": promql.SICK_RUN, "expr": promql.sick_run(watch, level, given), "labels": both})
    return (value, *levels, *sick)


def _alert(watch: Watch, level: Level, given: RenderInput) -> Alert | None:
    labels, notes = _labels(watch, level, given), _notes(watch, level, given)
    limit = f"{watch.relation} {level.value:g}"
    if isinstance(watch.signal, Age):
        if not given.pairs_of(watch):
            return None
        words = "{model} on {suite}: no valid run for {value}"
        summary = Text(f"{words} (level: {human_duration(level.value)})", "duration")
        return Alert(watch, level, promql.age(watch, level, given), 0, labels, {"summary": summary}, notes)
    if isinstance(watch.signal, Overdue):
        if not given.pairs_of(watch):
            return None
        words = f"{{model}} on {{suite}}: {watch.subject} is {{value}}"
        summary = Text(f"{words} (level: {human_duration(level.value)})", "duration")
        return Alert(watch, level, promql.age(watch, level, given), 0, labels, {"summary": summary}, notes)
    if isinstance(watch.signal, Heartbeat):
        summary = Text(f"{watch.subject} is {{value}} (level: {human_duration(level.value)})", "duration")
        return Alert(watch, level, promql.heartbeat(watch, level, given), 0, labels, {"summary": summary}, notes)
    if isinstance(watch.signal, Operation):
        seconds = watch.signal.metric.unit == "seconds"
        summary = Text(f"{{target}}: {watch.subject}: {{value}} (level: {limit})", "duration" if seconds else "number")
        return Alert(watch, level, promql.operation(watch, level, given), 0, labels, {"summary": summary}, notes)
    if isinstance(watch.signal, Verdict):
        held = (watch.signal.runs - 1) * given.monitors.schedule_seconds + given.monitors.late_seconds
        summary = Text(f"{{model}} on {{suite}}: gate {{gate}} could not tell for {promql.duration(held)}")
        return Alert(watch, level, promql.verdict(watch, given), held, labels, {"summary": summary}, notes)
    kept = (watch.recover_after - 1) * given.monitors.schedule_seconds
    if promql.counts_runs(watch):
        words = f"{{model}} on {{suite}}: {watch.subject}: {limit}"
        summary = Text(f"{words} in {{value}} of the last {watch.of_last} runs")
        expr = promql.sick_runs(watch, level, given.monitors)
        # Within `late_seconds` of a run its window still shows one run too many: an alert waits until that is over.
        held = 0 if watch.at_once and level is watch.levels[0] else given.monitors.late_seconds
        return Alert(watch, level, expr, held, labels, {"summary": summary}, notes, _newest(watch), kept)
    summary = Text(f"{{model}} on {{suite}}: {watch.subject}: {{value}} (level: {limit})")
    expr = promql.beyond(watch, level)
    return Alert(watch, level, expr, 0, labels, {"summary": summary}, notes, _newest(watch), kept)


def _never(watch: Watch, model: str, suite: str, given: RenderInput) -> Alert:
    """A scheduled model without any last success: it never ran, or its series is gone."""
    level = watch.levels[0]
    labels = {**_labels(watch, level, given), "model": model, "suite": suite}
    held = max(int(level.value), 2 * given.monitors.schedule_seconds)
    summary = Text(f"{model} on {suite}: no valid run is known at all, for {promql.duration(held)}")
    expr = promql.missing(watch, model, suite, given)
    return Alert(watch, level, expr, held, labels, {"summary": summary}, _notes(watch, level, given))


def _no_heartbeat(watch: Watch, given: RenderInput) -> Alert:
    """Nobody ever looked, or the series is gone: then nothing that is overdue would be told either."""
    level = watch.levels[0]
    held = int(level.value)
    summary = Text(f"{watch.subject} is not known at all, for {promql.duration(held)}")
    expr = promql.no_heartbeat(watch, given)
    labels, notes = _labels(watch, level, given), _notes(watch, level, given)
    return Alert(watch, level, expr, held, labels, {"summary": summary}, notes)


def _labels(watch: Watch, level: Level, given: RenderInput) -> dict[str, str]:
    # The verdict of a gate names the gate by itself.
    gate = {} if isinstance(watch.signal, Verdict) else {"gate": watch.name}
    fixed = {"severity": level.severity, "tier": watch.tier, "owner": watch.owner, "source": SOURCE}
    return {**given.prometheus_labels, **gate, **fixed}


def _notes(watch: Watch, level: Level, given: RenderInput) -> dict[str, str]:
    notes = {"description": watch.reason, "level": f"{watch.relation} {level.value:g}"}
    if isinstance(watch.signal, Verdict):
        notes["level"] = "inconclusive"
    elif isinstance(watch.signal, OverPromptsValue) and watch.signal.metric.unit not in ("none", "count"):
        notes["unit"] = watch.signal.metric.unit.replace("_", " ")
    links = {"runbook_url": given.runbook(watch)}
    return {**notes, **links, **({"dashboard_url": given.dashboard_url} if given.dashboard_url else {})}


def _newest(watch: Watch) -> str:
    """A template that asks for the newest run's value; a count of runs does not tell it."""
    series = f"{promql.GATE_VALUE}{{gate={promql.quoted(watch.name)},model=%q,suite=%q}}"
    asked = f"with printf {promql.quoted(series)} $labels.model $labels.suite | query"
    shown = '. | first | value | printf "%.4g"'
    return f"{{{{ {asked} }}}}{{{{ {shown} }}}}{{{{ else }}}}not measured{{{{ end }}}}"
