"""The flip report as Markdown. Owns the page's words and the escaping: a model's text must not become markup."""

from __future__ import annotations

import re
from typing import Final

from model_health.baseline.flips import FlipReport, ItemFlips

LONGEST: Final = 120
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>&$:@/=^])")
_VISIBLE: Final = {"\n": "⏎", "\r": "␍", "\t": "⇥"}


def flips_markdown(report: FlipReport, *, title: str = "Tokens that changed") -> str:
    """A page with one table per item that changed, most flips first; ends with a newline."""
    head = f"# {escape(title)}\n\n{report.flipped} of {report.tokens} tokens flipped, in {len(report.changed)} of "
    lines = [f"{head}{report.items} items."]
    if not report.flipped:
        lines.append("\nNo token flipped. That excludes neither a change nor harm: see the surprisal of golden text.")
    for item in report.changed:
        lines.extend(_section(item))
    return "\n".join(lines) + "\n"


def _section(item: ItemFlips) -> list[str]:
    lines = [
        f"\n## {escape(item.item_id)}\n",
        f"{item.kind}, {item.flipped} of {item.tokens} tokens, surprisal {item.surprisal_bits:+.4f} bits per token\n",
        "| token | after | baseline | now | swing (nats) |",
        "|--:|---|---|---|--:|",
    ]
    for flip in item.flips:
        cells = (shown(flip.before, tail=True), shown(flip.old_text), shown(flip.new_text))
        lines.append(f"| {flip.row} | {' | '.join(cells)} | {flip.swing:.4g} |")
    if item.flipped > len(item.flips):
        lines.append(f"\n{item.flipped - len(item.flips)} more are left out.")
    return lines


def shown(text: str, *, tail: bool = False) -> str:
    """A piece of text for a table's cell: one line, at most `LONGEST` characters, escaped, never empty.

    `tail` keeps the end of a long one. Control characters are named, since an unseen one may be all that changed.
    """
    if len(text) > LONGEST:
        text = "…" + text[-LONGEST:] if tail else text[:LONGEST] + "…"
    visible = "".join(_VISIBLE.get(c, c if c.isprintable() else f"<U+{ord(c):04X}>") for c in text)
    if not visible:
        return "(empty)"
    # Blanks at an end would vanish, and they are what tokens differ in.
    visible = re.sub(r"^ +| +$", lambda blanks: "␣" * len(blanks.group()), visible)
    return escape(visible)


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is."""
    parts = " ".join(text.splitlines()).split("<")
    return "&lt;".join(_MARKUP.sub(r"\\\1", part) for part in parts)
