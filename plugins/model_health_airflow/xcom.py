"""Owns what a canary run leaves in XCom: names, counts, a verdict and where the manifest lies, never text.

Airflow keeps XComs in its metadata database and hangs on large ones, so the size is bounded here.
"""

from __future__ import annotations

import json
from typing import Any

from model_health.errors import BadInput, ModelHealthError
from model_health.runner.supervise_result import ChildOutcome

MAX_BYTES = 4096
KEY = "return_value"
"""The key of what a task returns. A task that fails pushes it by hand, so that readers find one thing in one place."""


def summary(outcome: ChildOutcome) -> dict[str, Any]:
    """Return what downstream tasks need of `outcome`, in at most `MAX_BYTES` bytes of JSON.

    Flags are left out, and `flags_left_out` says how many, where their names would not fit.
    """
    raised = {name: count for name, count in sorted(outcome.flags.items()) if count}
    summed: dict[str, Any] = {
        "run_id": outcome.run_id,
        "model": outcome.model,
        "suite": outcome.suite,
        "verdict": outcome.verdict,
        "exit_code": int(outcome.exit_code),
        "manifest_uri": outcome.manifest_uri,
        "manifest_digest": outcome.manifest_digest,
        "prompts": outcome.prompts,
        "prompts_unhealthy": outcome.prompts_unhealthy,
        "flags": raised,
        "unhealthy_flags": {name: count for name, count in sorted(outcome.unhealthy_flags.items()) if count},
    }
    if outcome.comparison is not None:
        summed["comparison"] = outcome.comparison.model_dump(include={"answer", "verdict", "result_uri"})
    if _size(summed) > MAX_BYTES:
        summed |= {"flags": {}, "unhealthy_flags": {}, "flags_left_out": len(raised)}
    if _size(summed) > MAX_BYTES:
        raise ValueError(f"the names and the manifest's address alone take more than {MAX_BYTES} bytes")
    return summed


def failure(error: ModelHealthError, *, run_id: str, model: str, suite: str | None) -> dict[str, Any]:
    """Return the same of a run that ended without an outcome; why is in the log and the index, not here."""
    return {
        "run_id": run_id,
        "model": model,
        "suite": suite,
        "verdict": "could_not_measure",
        "exit_code": int(BadInput.exit_code if isinstance(error, BadInput) else ModelHealthError.exit_code),
        "manifest_uri": None,
        "manifest_digest": None,
        "prompts": 0,
        "prompts_unhealthy": 0,
        "flags": {},
        "unhealthy_flags": {},
    }


def _size(value: dict[str, Any]) -> int:
    return len(json.dumps(value).encode())
