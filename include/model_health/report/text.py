"""A report as a readable page in the terminal: what it is, its flags, every step, the layers, what is missing.

Renders with rich and decides nothing: thresholds and verdicts are other modules' business. Text of prompts and tokens
is shown as text, never read as markup or control codes.
"""

from __future__ import annotations

from statistics import fmean

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from model_health.report.extension import Loop
from model_health.report.router import RouterHealth
from model_health.report.samples import samples_of_report
from model_health.report.steps import TimelineStep
from model_health.report.trace import Trace

MISSING = Text("–", style="dim")
MAX_ENTRIES = 20


def render_report(trace: Trace, console: Console) -> None:
    """Print the page.

    Args:
        trace: the report.
        console: where to; its width decides the wrapping.
    """
    parts = [_head(trace), _flags(trace), _steps(trace), _layers(trace)]
    if trace.model_health.router is not None:
        parts.append(Text(router_line(trace.model_health.router)))
    console.print(Group(*parts, _missing(trace)))


def visible(text: str) -> str:
    """The text with control characters written out, so that no token can drive the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _head(trace: Trace) -> RenderableType:
    ours, grid = trace.model_health, Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    suite = f"{ours.suite.name} {ours.suite.version}" if ours.suite else None
    stopped = {"eos": "the model ended", "length": "the token limit", "other": "a stop string or criterion"}
    rows = {
        "model": ours.model_name or trace.model.hf_id,
        "suite, prompt": ", ".join(part for part in (suite, ours.prompt_id, ours.group) if part),
        "run": ours.run_id,
        "made": trace.created_at_utc.isoformat(timespec="seconds"),
        "converted from": f"v{ours.converted_from.schema_version}" if ours.converted_from else None,
        "prompt": f"{visible(trace.prompt.text)}  ({trace.prompt.num_tokens} tokens)",
        "output": f"{visible(trace.generated.output_text)}  ({trace.generated.num_tokens} tokens)",
        "stopped by": stopped.get(ours.stopped_by or ""),
    }
    for name, value in rows.items():
        if value:
            grid.add_row(name, Text(value))
    for sample in samples_of_report(trace):
        if sample.metric in ("time_to_first_token_seconds", "time_per_output_token_seconds", "sequence_perplexity"):
            grid.add_row(sample.metric.replace("_", " "), _number(sample.value))
    return Panel(grid, title=f"report {trace.trace_id}", title_align="left")


def _flags(trace: Trace) -> RenderableType:
    ours = trace.model_health
    lines = []
    for flag in ours.flags:
        tolerated, failing = flag in ours.tolerated, flag in (ours.failing or ())
        note = "tolerated by this prompt" if tolerated else "unhealthy" if failing else "informs only"
        lines.append(Text.assemble((flag, "red" if failing and not tolerated else "yellow"), f"  {note}"))
    lines += [
        Text(f"loop of period {loop.period} from step {loop.start_step}, {loop.length} tokens, by {loop.witness}")
        for loop in ours.loops or ()
    ]
    for seen in ours.non_finite:
        where = "".join(f", {name} {at}" for name, at in (("step", seen.step), ("layer", seen.layer)) if at is not None)
        lines.append(Text(f"first {seen.kind} in {seen.where}{where}", style="red"))
    return Panel(Group(*lines) if lines else Text("no flag was raised"), title="flags", title_align="left")


def _steps(trace: Trace) -> RenderableType:
    table = Table(title="steps", title_justify="left")
    for name in ("step", "token", "entropy, bits", "top-2 margin", "surprisal, bits", "notes"):
        table.add_column(name, justify="left" if name in ("token", "notes") else "right", overflow="fold")
    for step, item in enumerate(trace.timeline):
        logits = item.logits_summary
        table.add_row(
            str(step),
            Text(visible(item.token.token_text)),
            _number(logits.entropy),
            _number(logits.top1_top2_margin),
            _number(logits.surprisal),
            Text("; ".join(_notes(trace, step, item))),
        )
    return table


def _notes(trace: Trace, step: int, item: TimelineStep) -> list[str]:
    notes = ["prefill"] if step == 0 else []
    limits = trace.model_health.thresholds
    entropy = item.logits_summary.entropy
    if entropy is None:
        notes.append(trace.why_null("timeline.logits_summary.entropy", step=step) or "")
    elif limits is not None and entropy > limits.high_entropy_bits:
        notes.append("high entropy")
    bad = [
        layer.layer_index
        for layer in item.layers
        if layer.anomalies is not None and (layer.anomalies.has_nan or layer.anomalies.has_inf)
    ]
    if bad:
        notes.append(f"not finite in layer {bad[0]}" + (f" and {len(bad) - 1} more" if len(bad) > 1 else ""))
    return notes + [f"loop {loop.period}" for loop in trace.model_health.loops or () if _within(loop, step)]


def _within(loop: Loop, step: int) -> bool:
    return loop.start_step <= step < loop.start_step + loop.length


def _layers(trace: Trace) -> RenderableType:
    table = Table(title="layers, means over steps", title_justify="left")
    for name in ("layer", "L2 norm", "max |x|", "attention entropy, bits", "largest weight", "collapsed heads"):
        table.add_column(name, justify="right")
    rows: dict[int, list[list[float | None]]] = {}
    for step in trace.timeline:
        for layer in step.layers:
            hidden, attention = layer.hidden_summary, layer.attention_summary
            rows.setdefault(layer.layer_index, []).append(
                [hidden.l2_norm_mean, hidden.max_abs, attention.concentration_max, attention.collapsed_head_count]
            )
    bits = trace.model_health.attention_entropy_bits
    for index, values in sorted(rows.items()):
        norm, peak, weight, collapsed = (_mean(column) for column in zip(*values, strict=True))
        entropy = bits[index] if index < len(bits) else None
        table.add_row(str(index), _number(norm), _number(peak), _number(entropy), _number(weight), _number(collapsed))
    return table


def router_line(router: RouterHealth) -> str:
    """The routers in one line: how many, how undecided, how evenly they use their experts, what they dropped."""
    layers = (*router.layers, *router.encoder_layers)
    entropies = [layer.entropy_bits_mean for layer in layers if layer.entropy_bits_mean is not None]
    shares = [layer.max_load_share for layer in layers if layer.max_load_share is not None]
    idle = [layer.idle_experts for layer in layers if layer.idle_experts is not None]
    dropped = [layer.dropped_assignments for layer in layers if layer.dropped_assignments is not None]
    said = [f"{len(layers)} with {max((layer.experts for layer in layers), default=0)} experts"]
    said += [f"entropy {min(entropies):.3g} to {max(entropies):.3g} bits"] if entropies else []
    said += [f"busiest expert {max(shares):.0%}", f"{sum(idle)} idle experts"] if shares else []
    said += [f"{sum(dropped)} assignments dropped"] if dropped else []
    bad = max((layer.non_finite_steps for layer in layers), default=0)
    said += [f"logits not finite at {bad} steps"] if bad else []
    return f"routers: {', '.join(said)}"


def _missing(trace: Trace) -> RenderableType:
    entries = trace.model_health.not_measured
    if not entries:
        return Text("everything was measured", style="dim")
    table = Table(title="not measured", title_justify="left")
    for name in ("part", "step", "layer", "reason"):
        table.add_column(name, overflow="fold")
    for entry in entries[:MAX_ENTRIES]:
        step, layer = ("all" if at is None else str(at) for at in (entry.step, entry.layer))
        table.add_row(Text(entry.part), step, layer, Text(entry.reason))
    if len(entries) > MAX_ENTRIES:
        table.add_row(f"and {len(entries) - MAX_ENTRIES} more", "", "", "")
    return table


def _mean(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _number(value: float | None) -> Text:
    return MISSING if value is None else Text(f"{value:.4g}")
