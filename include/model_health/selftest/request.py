"""What a self-test is asked to do. Free of torch, so that a command line can make one before anything heavy loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from model_health.errors import BadInput

DTYPES: Final = ("float32", "bfloat16", "float16")
DEFAULT_ITEMS = 12
"""Measured on SmolLM2: 12 texts (630 tokens) show 72 of 73 faults under the same configuration. What they swallow is
looked for in the rest of the suite, fault by fault, so that only those pay for more."""
DEFAULT_LONGEST = 96
"""Tokens of a text that is still replayed for each fault, unless there are too few such texts."""
DEFAULT_HEALTHY = 200
"""Without a false alarm among so many, their rate is at most 1.5 % (exact, one-sided 95 %)."""


@dataclass(frozen=True)
class SelfTestRequest:
    """One self-test.

    Args:
        model, suite: by name; the model's first suite if None.
        items: texts that are replayed, most of them golden ones of different prompts.
        longest: tokens that such a text may have.
        healthy: replays under random harmless ways to run.
        reduced: fewer layers per fault, and no new process: for CI.
        dtype: instead of the model's own.
        seed: of every choice.
        faults: only those whose kind or name contains one of these; all if empty.
    """

    model: str
    suite: str | None = None
    items: int = DEFAULT_ITEMS
    longest: int = DEFAULT_LONGEST
    healthy: int = DEFAULT_HEALTHY
    reduced: bool = False
    dtype: str | None = None
    seed: int = 0
    faults: tuple[str, ...] = ()


def in_dtype(request: SelfTestRequest, text: str) -> SelfTestRequest:
    """The request for one dtype, of which less may be asked where it is slow.

    Args:
        request: what is asked of all.
        text: a dtype, and after colons what is other for it: `bfloat16:items=4:longest=40:healthy=12:reduced`.

    Raises:
        BadInput: no such dtype or word, or a number that is too small.
    """
    name, *words = text.split(":")
    if name not in DTYPES:
        raise BadInput(f"is none of {', '.join(DTYPES)}", subject=f"--dtype {text}")
    found = replace(request, dtype=name)
    for word in words:
        what, _, number = word.partition("=")
        if word == "reduced":
            found = replace(found, reduced=True)
        elif what == "items" and number.isdecimal() and int(number) >= 1:
            found = replace(found, items=int(number))
        elif what == "longest" and number.isdecimal() and int(number) >= 1:
            found = replace(found, longest=int(number))
        elif what == "healthy" and number.isdecimal():
            found = replace(found, healthy=int(number))
        else:
            hint = "after the dtype: items=N or longest=N (1 or more), healthy=N, reduced"
            raise BadInput(f"says {word!r}", subject=f"--dtype {text}", hint=hint)
    return found
