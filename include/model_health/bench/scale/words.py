"""How numbers, tables and paragraphs of SCALE.md look. Knows no result."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from model_health.bench.scale.records import Made

WIDTH = 118


def prose(*parts: str) -> Iterator[str]:
    """A paragraph, wrapped, with an empty line after it."""
    yield from textwrap.wrap(" ".join(parts), WIDTH, break_long_words=False, break_on_hyphens=False)
    yield ""


def bullets(*items: str) -> Iterator[str]:
    """A list, wrapped, with an empty line after it."""
    for item in items:
        yield from textwrap.wrap(
            item, WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
    yield ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1, last: int = 0) -> Iterator[str]:
    """A table whose first `left` and last columns are words, with an empty line after it."""
    yield "| " + " | ".join(head) + " |"
    right = len(head) - left - last
    yield "|" + "---|" * left + "---:|" * right + "---|" * last
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"
    yield ""


def load(made: Made) -> str:
    """The load averages, with the day."""
    return f"load {made.load[0]:g} to {made.load[1]:g}, {made.made_at[:10]}"


def quantity(value: float, unit: str = "") -> str:
    """A number that a person reads: bytes in powers of 1,000, seconds and counts with commas."""
    if unit == "B":
        for name in ("B", "kB", "MB", "GB", "TB"):
            if value < 1000 or name == "TB":
                return f"{value:,.0f} B" if name == "B" else f"{value:,.1f} {name}"
            value /= 1000
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def rough(value: float) -> str:
    """Two digits: an order of magnitude."""
    return f"{float(f'{value:.2g}'):,.0f}"
