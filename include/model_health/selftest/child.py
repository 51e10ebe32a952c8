"""Runs a self-test in a process of its own, as a scheduler needs it: with a time limit, and surely ended.

Owns the child's command line and what its end means. Free of torch: what loads a model is the child.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_health.config.load import load_project
from model_health.config.settings import Settings, child_environment, load_settings
from model_health.errors import BadInput, ChildFailed, ExitCode
from model_health.runner.supervise import TERMINATE_GRACE_SECONDS, StopSignal
from model_health.runner.supervise_log import LogTail
from model_health.runner.supervise_process import ChildProcess
from model_health.selftest.request import SelfTestRequest

TIMES_A_RUN = 4
"""A self-test may take so many times as long as a run of the model may."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class SelfTestOutcome:
    """How a self-test ended: the promises that were not kept, and some counts as `hits of tried`."""

    model: str
    suite: str
    shortfalls: tuple[str, ...]
    counts: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """Plain JSON values, small enough for an XCom."""
        return {"model": self.model, "suite": self.suite, "shortfalls": list(self.shortfalls[:5]), **self.counts}


def self_test_in_child(
    request: SelfTestRequest,
    *,
    settings: Settings | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    stop: StopSignal | None = None,
    timeout_seconds: float | None = None,
) -> SelfTestOutcome:
    """Run a self-test to its end; its rows are in the index then.

    Args:
        request: what to test; one dtype.
        settings: read from the environment if None.
        on_line: gets each line of the child's log as it comes.
        stop: asks for an early end.
        timeout_seconds: `TIMES_A_RUN` times that of a run of the model if None.

    Raises:
        BadInput: no such model or suite, or the child refused its input.
        ChildFailed: the child crashed, hung, was told to stop or could not measure.
    """
    settings, stop, tail = settings or load_settings(), stop or StopSignal(), LogTail()
    project = load_project(settings)
    model = project.get_model(request.model)
    suite = project.get_suite(request.suite or model.suites[0])
    limit = TIMES_A_RUN * float(model.timeout_seconds) if timeout_seconds is None else timeout_seconds
    deadline = time.monotonic() + limit
    with tempfile.TemporaryDirectory(prefix="model-health-") as folder:
        result = Path(folder) / "result.json"
        command = [str(settings.python), "-X", "faulthandler", "-m", "model_health.cli.main", "self-test"]
        command += ["--model", model.name, "--suite", suite.name, *_options(request), "--result-file", str(result)]
        environment = child_environment(settings)
        with ChildProcess(command, environment=environment, grace_seconds=TERMINATE_GRACE_SECONDS) as child:
            while child.poll() is None:
                for line in child.read_lines(_POLL_SECONDS):
                    tail.add(line)
                    on_line(line)
                late = time.monotonic() >= deadline
                if stop.requested or late:
                    why = f"did not end within {limit:g} s" if late else f"told to stop ({stop.reason})"
                    raise ChildFailed(why, subject=f"self-test of {model.name}", log_tail=tail.text())
            for line in child.drain():
                tail.add(line)
                on_line(line)
            status = child.poll()
        return _outcome(model.name, suite.name, status, result, tail)


def _options(request: SelfTestRequest) -> list[str]:
    options = ["--items", str(request.items), "--healthy", str(request.healthy), "--seed", str(request.seed)]
    options += [part for fault in request.faults for part in ("--fault", fault)]
    options += [] if request.dtype is None else ["--dtype", request.dtype]
    return [*options, *(["--reduced"] if request.reduced else [])]


def _outcome(model: str, suite: str, status: int | None, result: Path, tail: LogTail) -> SelfTestOutcome:
    subject = f"self-test of {model}"
    if status == ExitCode.BAD_INPUT:
        raise BadInput(tail.last or "the child refused its input", subject=subject)
    if status not in (ExitCode.HEALTHY, ExitCode.UNHEALTHY) or not result.exists():
        why = f"the child ended with status {status}"
        raise ChildFailed(why, subject=subject, hint=tail.last, log_tail=tail.text())
    [content] = json.loads(result.read_text(encoding="utf-8"))
    counted = {name: value for name, value in content["figures"].items() if isinstance(value, dict)}
    return SelfTestOutcome(
        model=model,
        suite=suite,
        shortfalls=tuple(content["figures"]["shortfalls"]),
        counts={name: f"{value['hits']} of {value['of']}" for name, value in counted.items()},
    )
