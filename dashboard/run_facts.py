"""What the page of a run says in words and tables: identity, changes, validation, gates, where the time went. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

import palette
from chart_parts import drawn, titled
from model_health.gates.result import GateResult, GateVerdict
from model_health.report.manifest import Manifest
from model_health.report.performance import PerformanceRecord
from model_health.store.index.records import RunRecord
from model_health.store.index.validation import ValidationRecord

VERDICTS = {
    GateVerdict.PASS: "✔ pass",
    GateVerdict.WARN: "▲ warn",
    GateVerdict.FAIL: "✖ fail",
    GateVerdict.INCONCLUSIVE: "? inconclusive",
}
_DIGEST = 19
"""Characters of a digest that tables show: `sha256:` and twelve digits."""


def identity(record: RunRecord, manifest: Manifest | None = None) -> dict[str, str | None]:
    """Who was measured on what, by name, as far as index and manifest tell. None is *not recorded*."""
    known = record.identity
    facts: dict[str, str | None] = {
        "Suite": f"{record.folder.suite} {record.suite_version or ''}".strip(),
        "Suite digest": record.suite_digest,
        "Revision": known.revision if known else None,
        "Weights digest": known.weights_digest if known else None,
        "Precision": known.dtype if known else None,
        "Quantisation": known.quantization if known else None,
        "Attention backend": known.attention_backend if known else None,
        "Device": known.device_class if known else None,
    }
    model = manifest.model if manifest else None
    if model is not None:
        facts |= {
            "Source": model.source,
            "Architecture": model.architecture,
            "Parameters": None if model.parameters is None else f"{model.parameters:,}",
            "Layers": None if model.layers is None else str(model.layers),
            "Configuration digest": model.config_digest,
            "Tokenizer digest": model.tokenizer_digest,
            "Chat template digest": model.chat_template_digest,
            "Device name": model.device.name,
            "CUDA": model.device.cuda,
            "Driver": model.device.driver,
            "Platform": model.host.platform,
            "Python": model.host.python,
            "Threads": None if model.host.threads is None else str(model.host.threads),
        }
    libraries = model.libraries if model else known.libraries if known else {}
    return facts | {f"Library {name}": version for name, version in sorted(libraries.items())}


def run_facts(record: RunRecord) -> dict[str, str | None]:
    """What a run was, beside its identity."""
    return {
        "Run": record.run_id,
        "Dag": record.dag_id,
        "Dag run": record.dag_run_id,
        "Try": None if record.try_number is None else str(record.try_number),
        "Manifest": record.manifest_uri,
        "Report format": record.report_schema_version,
    }


def fact_rows(facts: Mapping[str, str | None]) -> list[dict[str, str]]:
    """Facts as a table; what was not recorded says so."""
    return [{"Fact": name, "Value": value or "not recorded"} for name, value in facts.items()]


def changes(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[dict[str, str]]:
    """What differs between two runs' identities: one row per fact that either of them has."""
    names = list(dict.fromkeys((*before, *now)))
    return [
        {"Changed": name, "Before": _short(before.get(name)), "Now": _short(now.get(name))}
        for name in names
        if before.get(name) != now.get(name)
    ]


def validation_line(record: ValidationRecord) -> str:
    """The validation in a sentence."""
    critical = sum(failure.severity == "critical" for failure in record.failures)
    warnings = len(record.failures) - critical
    found = "none failed"
    if record.failures:
        found = f"{critical} failed critically, {warnings} as a warning"
    return f"{record.expectations} expectations on {record.reports} reports: {found}."


def failure_rows(record: ValidationRecord) -> list[dict[str, Any]]:
    """One row per expectation that failed, critical ones first."""
    return [
        {
            "Severity": "✖ critical" if failure.severity == "critical" else "▲ warning",
            "Expected": failure.says,
            "Failed": f"{failure.failed} of {failure.checked}",
            "Reports": failure.reports,
            "First place": _example(failure.examples[0]) if failure.examples else None,
            "Expectation": failure.expectation,
        }
        for failure in sorted(record.failures, key=lambda one: one.severity != "critical")
    ]


def gate_rows(gates: Sequence[GateResult]) -> list[dict[str, Any]]:
    """One row per gate, the worst answer first."""
    return [
        {
            "Verdict": VERDICTS[gate.verdict],
            "Gate": gate.gate,
            "Tier": gate.tier,
            "Value": gate.value,
            "Level": gate.level,
            "Because": gate.reason,
            "Prompts": list(gate.prompts),
            "Place": place_of(gate),
        }
        for gate in gates
    ]


def place_of(gate: GateResult) -> str | None:
    """Where the fault first shows, in words."""
    place = gate.place
    if place is None:
        return None
    parts = [place.prompt_id]
    parts += [f"step {place.step}"] if place.step is not None else []
    parts += [f"layer {place.layer}"] if place.layer is not None else []
    return ", ".join(parts)


def evidence_rows(gate: GateResult) -> list[dict[str, Any]]:
    """What each run said to a gate, newest first."""
    marks = {"none": "✔ within", "warn": "▲ warns", "fail": "✖ fails", "unknown": "? unknown"}
    return [
        {"Run": run.run_key, "Says": marks.get(run.breach, run.breach), "Value": run.value, "Why no value": run.reason}
        for run in gate.runs
    ]


def operation_rows(record: PerformanceRecord) -> list[dict[str, Any]]:
    """One row per operation; a nested one stands under the one that it is part of."""
    return [
        {
            "Operation": operation.name,
            "Time (s)": operation.wall_seconds,
            "Share (%)": None if operation.share is None else 100 * operation.share,
            "Times": operation.count,
            "Peak memory (MB)": None if operation.peak_memory_bytes is None else operation.peak_memory_bytes / 1e6,
            "Failed": operation.failed,
        }
        for operation in record.operations
    ]


def operation_chart(record: PerformanceRecord) -> alt.Chart:
    """Where the time went: a bar per top-level operation, in the order in which they began, and what is left."""
    top = [operation for operation in record.operations if "/" not in operation.name]
    rest = record.total_seconds - sum(operation.wall_seconds for operation in top)
    rows = [{"operation": one.name, "seconds": one.wall_seconds, "kind": "timed"} for one in top]
    if rest > 0.01 * record.total_seconds:
        rows.append({"operation": "everything else", "seconds": rest, "kind": "not timed"})
    total = record.total_seconds or 1.0
    rows = [{**row, "share": f"{100 * float(str(row['seconds'])) / total:.0f} %"} for row in rows]
    colour = alt.Scale(domain=["timed", "not timed"], range=[palette.BLUE, palette.QUIET])
    chart: alt.Chart = (
        drawn(rows)
        .mark_bar()
        .encode(
            y=alt.Y("operation:N", sort=None, title=None, axis=alt.Axis(labelLimit=180)),
            x=alt.X("seconds:Q", title="Wall time (s)"),
            color=alt.Color("kind:N", scale=colour, legend=None),
            tooltip=[
                alt.Tooltip("operation:N", title="Operation"),
                alt.Tooltip("seconds:Q", title="Seconds", format=".2f"),
                alt.Tooltip("share:N", title="Share"),
            ],
        )
        .properties(height=290, title=titled("Wall time by stage"))
    )
    return chart


def _short(value: str | None) -> str:
    if value is None:
        return "not recorded"
    return f"{value[:_DIGEST]}…" if value.startswith("sha256:") else value


def _example(example: Mapping[str, Any]) -> str:
    parts = [str(example["report"])] if example.get("report") else []
    parts += [f"{name} {example[name]}" for name in ("step", "layer") if example.get(name) is not None]
    return ": ".join(part for part in (", ".join(parts), str(example.get("observed", ""))) if part)
