"""Prints how a run ended, for people at a terminal: a table of prompts, a line for the model, where things lie.

Reads a manifest only, so it serves a run that just ended and one that ended in another process. Loads no torch.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from model_health.report.manifest import Manifest, PromptEntry

NAME = "model-health"
_COLOURS = {"healthy": "green", "unhealthy": "red", "could_not_measure": "magenta", "inconclusive": "yellow"}


def _number(value: float | None, digits: int = 2, scale: float = 1.0) -> str:
    return "n/m" if value is None else f"{value * scale:.{digits}f}"


def _non_finite(entry: PromptEntry) -> str:
    kinds = [name for name in ("nan", "inf") if f"{name}_detected" in entry.flags]
    return ", ".join(kinds) or "no"


def _flags(entry: PromptEntry) -> str:
    """Flags in words: those that fail first and red with a mark, tolerated ones in brackets, informative ones dim."""
    failing, tolerated, informative = [], [], []
    for flag in entry.flags:
        word = escape(flag.removesuffix("_detected").removesuffix("_output").replace("_", " "))
        if flag in entry.unhealthy_flags:
            failing.append(f"[bold red]! {word}[/]")
        elif flag in entry.tolerated:
            tolerated.append(f"[yellow]({word})[/]")
        else:
            informative.append(f"[dim]{word}[/]")
    return ", ".join([*failing, *tolerated, *informative]) or "none"


def prompt_table(manifest: Manifest) -> Table:
    """One row per prompt."""
    table = Table(
        title=f"{manifest.model_name} x {manifest.suite.name} {manifest.suite.version}",
        caption="flags: ! makes the run unhealthy, (tolerated by this prompt), others inform; n/m: not measured",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("prompt", no_wrap=True)
    for name in ("tokens", "entropy\nbits", "loop\nperiod", "non-\nfinite", "first\ntoken s", "per\ntoken ms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("flags", overflow="fold")
    for entry in manifest.prompts:
        table.add_row(
            escape(entry.prompt_id),
            f"{entry.prompt_tokens}+{entry.generated_tokens}",
            _number(entry.entropy_bits_mean),
            "no" if entry.loop_period is None else str(entry.loop_period),
            _non_finite(entry),
            _number(entry.time_to_first_token_seconds),
            _number(entry.time_per_output_token_seconds, 1, 1000.0),
            _flags(entry),
        )
    return table


def model_lines(manifest: Manifest) -> list[str]:
    """What there is to say of the model as a whole."""
    colour = _COLOURS[manifest.verdict]
    unhealthy = sum(bool(entry.unhealthy_flags) for entry in manifest.prompts)
    lines = [f"verdict: [bold {colour}]{manifest.verdict.replace('_', ' ')}[/]"]
    if manifest.reason:
        lines.append(f"reason: {escape(manifest.reason)}")
    lines += [f"warning: {escape(warning.message)}" for warning in manifest.warnings or ()]
    if manifest.prompts:
        counts = ", ".join(f"{escape(flag)} {count}" for flag, count in manifest.flags.items()) or "none"
        lines.append(f"prompts: {len(manifest.prompts)}, of which unhealthy: {unhealthy}; flags raised: {counts}")
    if manifest.overhead is not None:
        overhead = manifest.overhead
        lines.append(
            f"overhead of the probes: {100 * (overhead.ratio - 1):+.1f} % over plain generate "
            f"({overhead.instrumented_seconds:.2f} s against {overhead.plain_seconds:.2f} s, "
            f"batch of {overhead.batch_size})"
        )
        plain, measured = overhead.plain_peak_memory_bytes, overhead.instrumented_peak_memory_bytes
        if plain and measured:
            lines.append(f"peak memory of that batch: {100 * (measured / plain - 1):+.1f} % over plain generate")
    elif manifest.prompts:
        lines.append("overhead of the probes: not measured (--perf strict measures it)")
    memory = manifest.peak_memory_bytes
    if manifest.prompts:
        lines.append(f"peak memory: {'not measured' if memory is None else f'{memory / 2**20:.0f} MiB'}")
    if manifest.performance is not None:
        shown = [
            op
            for op in manifest.performance.operations
            if "/" not in op.name or manifest.performance.level != "summary"
        ]
        stages = ", ".join(f"{op.name} {op.wall_seconds:.1f}" for op in shown)
        lines.append(f"seconds: total {manifest.performance.total_seconds:.1f} ({escape(stages)})")
    return lines


_PIPE_WIDTH = 120
"""Columns where the output is no terminal: 80, rich's own choice, would fold the flags letter by letter."""


def people_console() -> Console:
    """A console on standard output, wide enough for the table when it is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def command_name() -> str:
    """How to call `model-health` from here: by name if the shell would find this installation's, else by its path."""
    script = Path(sys.executable).with_name(NAME)
    found = shutil.which(NAME)
    if not script.exists() or (found is not None and Path(found).samefile(script)):
        return NAME
    here = Path.cwd()
    return str(script.relative_to(here)) if script.is_relative_to(here) else str(script)


def print_manifest(manifest: Manifest, manifest_uri: str | None, console: Console) -> None:
    """Print the table, the model's lines, where the reports lie and what to type next."""
    if manifest.prompts:
        console.print(prompt_table(manifest))
    for line in model_lines(manifest):
        console.print(line, highlight=False, soft_wrap=True)
    if manifest_uri is not None:
        folder = manifest_uri.rsplit("/", 1)[0]
        console.print(f"reports: {escape(folder)}", highlight=False, soft_wrap=True)
    if manifest.prompts:
        worst = next((entry for entry in manifest.prompts if entry.unhealthy_flags), manifest.prompts[0])
        console.print(
            f"next: {escape(command_name())} show {escape(worst.report_uri)}", highlight=False, soft_wrap=True
        )
