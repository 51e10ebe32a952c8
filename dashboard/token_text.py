"""The generated text, token by token, as HTML: coloured by a number, with loops and faults marked. Pure.

Whatever a token holds is text: everything is escaped, controls are written out. A mark never is colour alone: tokens of
high entropy are underlined with waves, loops with a double line and a sign where a repetition begins, faults are framed
and bear a cross.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_health.report.extension import Loop
from model_health.report.text import visible
from views import Floats, PromptView, faulty_steps, high_entropy

HIDDEN = "▪▪▪"
"""Stands for a token whose text is not to be shown: of one length, because a length tells something too."""
MAX_TEXT = 60
_MOST = 0.55
"""Opacity of the strongest colour: text stays readable on it in both themes."""

STYLE = """<style>
.mh-text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 0.95rem;
  line-height: 2.05; overflow-wrap: anywhere; white-space: pre-wrap; }
.mh-text span.t { border-radius: 3px; padding: 0.15em 0; }
.mh-text span.t:hover { outline: 2px solid currentColor; }
.mh-text .t::after { display: none; }
.mh-text .t:hover::after { background: #1b2430; border-top: 2px solid #6fb3ec; bottom: 0; color: #fff;
  content: attr(aria-label); display: block; font-size: 0.85rem; left: 0; line-height: 1.5; padding: 0.5rem 1rem;
  position: fixed; right: 0; text-decoration: none; white-space: pre-wrap; z-index: 1000000; }
.mh-text .high { text-decoration: underline wavy #c77a00 2px; text-underline-offset: 0.3em; }
.mh-text .loop { border-bottom: 4px double #bc76ca; }
.mh-text .loops { color: #bc76ca; font-size: 0.75rem; font-weight: 600; padding: 0 0.2em; white-space: nowrap; }
.mh-text .bad { outline: 2px solid #cd3339; }
.mh-text .cross { color: #cd3339; font-weight: 700; }
.mh-text .none { outline: 1px dashed #84848c; }
.mh-text .here { outline: 3px solid #187ff9; outline-offset: 1px; }
.mh-scale { display: inline-block; height: 0.8em; vertical-align: middle; width: 8rem; border: 1px solid #84848c;
  background: linear-gradient(to right, rgba(199, 122, 0, 0), rgba(199, 122, 0, 0.55)); }
.mh-key { font-size: 0.85rem; line-height: 2; } .mh-key > span { margin-right: 1.4rem; white-space: nowrap; }
</style>"""


@dataclass(frozen=True)
class Colouring:
    """What the colour tells: a title, and a value per step in bits."""

    title: str
    values: Floats

    @property
    def top(self) -> float:
        """The value of the strongest colour: the largest there is, and at least one bit."""
        known = self.values[np.isfinite(self.values)]
        return max(float(known.max()), 1.0) if known.size else 1.0


def colouring(view: PromptView, name: str) -> Colouring:
    """By `surprisal` or `entropy`."""
    if name == "entropy":
        return Colouring("Entropy", view.steps.entropy)
    return Colouring("Surprisal", view.steps.surprisal)


def text_html(view: PromptView, by: Colouring, *, chosen: int | None = None, hidden: bool = False) -> str:
    """The generated text.

    Args:
        view: the report.
        by: what colours it.
        chosen: the step that the page shows, framed.
        hidden: replace the text of every token.
    """
    high = high_entropy(view)
    faulty = faulty_steps(view)
    begins = {loop.start_step: loop for loop in view.ours.loops or ()}
    parts = []
    for step, raw in enumerate(view.steps.texts):
        value = by.values[step]
        classes = ["t"]
        if high[step]:
            classes.append("high")
        if looping(view.ours.loops or (), step):
            classes.append("loop")
        if not np.isfinite(value):
            classes.append("none")
        if faulty[step]:
            classes.append("bad")
        if step == chosen:
            classes.append("here")
        strength = 0.0 if not np.isfinite(value) else _MOST * min(max(float(value), 0.0) / by.top, 1.0)
        if step in begins:
            loop = begins[step]
            parts.append(f'<span class="loops">⟲ every {loop.period}, {loop.length} tokens </span>')
        if faulty[step]:
            parts.append('<span class="cross">✖</span>')
        shown = HIDDEN + " " if hidden else _written(raw)
        parts.append(
            f'<span class="{" ".join(classes)}" style="background-color: rgba(199, 122, 0, {strength:.3f})" '
            f'aria-label="{_attribute(says(view, step, hidden=hidden))}">{html.escape(shown)}</span>'
        )
        if not hidden and raw.endswith("\n"):
            parts.append("<br>")
    return f'{STYLE}{_key(view, by)}<div class="mh-text">{"".join(parts)}</div>'


def says(view: PromptView, step: int, *, hidden: bool = False) -> str:
    """Everything about one token in two lines of plain text."""
    steps = view.steps
    numbers = (
        ("surprisal", steps.surprisal[step], " bits", 2),
        ("entropy", steps.entropy[step], " bits", 2),
        ("margin", steps.margin[step], "", 3),
        ("mass", steps.mass[step], "", 3),
    )
    known = [
        f"{name} {value:.{digits}f}{unit}" if np.isfinite(value) else f"{name} not measured"
        for name, value, unit, digits in numbers
    ]
    token = "" if hidden else f" · {short(steps.texts[step])}"
    first = f"step {step}{' (prefill)' if step == 0 else ''}{token} · " + " · ".join(known)
    if hidden or not steps.candidates[step]:
        return first
    likely = ", ".join(f"{short(text)} {100 * prob:.1f} %" for text, prob in steps.candidates[step][:5])
    return f"{first}\nmost likely: {likely}"


def short(text: str) -> str:
    """A token's text in quotes, controls written out, cut where it is very long."""
    written = visible(text)
    return f"“{written if len(written) <= MAX_TEXT else written[:MAX_TEXT] + '…'}”"


def looping(loops: Sequence[Loop], step: int) -> bool:
    """Whether a step lies in a loop."""
    return any(loop.start_step <= step < loop.start_step + loop.length for loop in loops)


def _written(text: str) -> str:
    """The text as it is read: line breaks become a sign, other controls are written out."""
    return "".join("↵" if char == "\n" else char if char.isprintable() else repr(char)[1:-1] for char in text) or "∅"


def _attribute(text: str) -> str:
    """Text for an attribute, with invisible joiners beside angle brackets.

    The browser's sanitiser drops an attribute that holds `</script>` or `-->`, however it is escaped.
    """
    return html.escape(text.replace("<", "<\u2060").replace(">", "\u2060>"), quote=True)


def _key(view: PromptView, by: Colouring) -> str:
    """What colours and marks mean; only those that the text bears."""
    parts = [f'<span>{by.title}: 0 <span class="mh-scale"></span> {by.top:.1f} bits</span>']
    limits = view.ours.thresholds
    if limits is not None and high_entropy(view).any():
        parts.append(f'<span><span class="high">word</span> entropy above {limits.high_entropy_bits:g} bits</span>')
    if view.ours.loops:
        parts.append('<span><span class="loop">word</span> in a loop</span>')
    if view.bad.any():
        parts.append('<span><span class="cross">✖</span><span class="bad">word</span> a layer is not finite</span>')
    if not np.isfinite(by.values).all():
        parts.append('<span><span class="none">word</span> not measured</span>')
    return f'<div class="mh-text mh-key" style="font-family: inherit">{"".join(parts)}</div>'
