"""What a self-test is asked to do. Free of torch, so that a command line can make one before anything heavy loads."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_ITEMS = 12
"""Measured on SmolLM2: 12 texts (630 tokens) show 72 of 73 faults under the same configuration. What they swallow is
looked for in the rest of the suite, fault by fault, so that only those pay for more."""
DEFAULT_HEALTHY = 200
"""Without a false alarm among so many, their rate is at most 1.5 % (exact, one-sided 95 %)."""


@dataclass(frozen=True)
class SelfTestRequest:
    """One self-test.

    Args:
        model, suite: by name; the model's first suite if None.
        items: texts that are replayed, most of them golden ones of different prompts.
        healthy: replays under random harmless ways to run.
        reduced: fewer layers per fault, and no new process: for CI.
        dtype: instead of the model's own.
        seed: of every choice.
        faults: only those whose kind or name contains one of these; all if empty.
    """

    model: str
    suite: str | None = None
    items: int = DEFAULT_ITEMS
    healthy: int = DEFAULT_HEALTHY
    reduced: bool = False
    dtype: str | None = None
    seed: int = 0
    faults: tuple[str, ...] = ()
