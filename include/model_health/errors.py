"""The one error tree, and the exit code that each branch ends a process with.

    ModelHealthError
    |- BadInput                 exit 2: the user's file, key, name or argument is wrong
    |  |- ConfigError           a YAML file, key or environment variable
    |  |- SuiteError            a canary suite or one of its prompts
    |  |- ModelSourceError      a model that cannot be found, or whose files are damaged
    |  |- ReportError           a report that cannot be read, or has an unknown version
    |  `- UnsupportedGeneration a way to generate that the probes cannot follow
    `- CouldNotMeasure          exit 3: the input was right, the measurement did not happen
       |- CaptureError          a probe met something it cannot reduce
       |- GenerationError       the model raised while it generated
       |- StoreError            a report or an index row could not be written or read
       |- DeliveryFailed        a sink or a notifier did not take what was sent
       `- ChildFailed           the capture child died, hung or was told to stop

Every error carries its data (`subject`, `hint`), not only text, and prints as one line:
what is at fault, why, and what to do. This module knows nothing of any other.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `model-health`, the same for every command."""

    HEALTHY = 0
    UNHEALTHY = 1
    BAD_INPUT = 2
    COULD_NOT_MEASURE = 3
    INCONCLUSIVE = 4


def one_line(text: str) -> str:
    """A text that may come from a file or an argument, as a line that no terminal obeys and every log can hold."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


class ModelHealthError(Exception):
    """An error that a person can act on.

    Args:
        reason: what is wrong, one clause, no trailing full stop.
        subject: the file, key, model or prompt at fault.
        hint: what to do about it.
    """

    exit_code: ExitCode = ExitCode.COULD_NOT_MEASURE

    def __init__(self, reason: str, *, subject: str = "", hint: str = "") -> None:
        super().__init__(reason, subject, hint)
        self.reason = reason
        self.subject = subject
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.subject}: {self.reason}" if self.subject else self.reason
        return one_line(f"{head} ({self.hint})" if self.hint else head)


class BadInput(ModelHealthError):
    """The user's file, key, name or argument is wrong."""

    exit_code = ExitCode.BAD_INPUT


class ConfigError(BadInput):
    """A YAML file, a key in it or an environment variable is wrong."""


class SuiteError(BadInput):
    """A canary suite or one of its prompts is wrong."""


class ModelSourceError(BadInput):
    """A model cannot be found, or its files are damaged."""


class ReportError(BadInput):
    """A report cannot be read, or its schema version is unknown."""


class UnsupportedGeneration(BadInput):
    """The requested way to generate cannot be followed by the probes."""


class CouldNotMeasure(ModelHealthError):
    """The input was right, but the measurement did not happen."""

    exit_code = ExitCode.COULD_NOT_MEASURE


class CaptureError(CouldNotMeasure):
    """A probe met something that it cannot reduce to a true number."""


class GenerationError(CouldNotMeasure):
    """The model raised while it generated."""


class StoreError(CouldNotMeasure):
    """A report or an index row could not be written or read."""


class DeliveryFailed(CouldNotMeasure):
    """A sink or a notifier did not take what was sent.

    Args:
        permanent: the same payload will never be taken (it is malformed, too large, or the key is wrong).
        retry_after_seconds: how long the other side asked to be left alone, None if it did not say.
    """

    def __init__(
        self,
        reason: str,
        *,
        subject: str = "",
        hint: str = "",
        permanent: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(reason, subject=subject, hint=hint)
        self.permanent = permanent
        self.retry_after_seconds = retry_after_seconds


class ChildFailed(CouldNotMeasure):
    """The capture child died, hung or was told to stop.

    Args:
        log_tail: the last lines that the child wrote.
    """

    def __init__(self, reason: str, *, subject: str = "", hint: str = "", log_tail: str = "") -> None:
        super().__init__(reason, subject=subject, hint=hint)
        self.log_tail = log_tail
