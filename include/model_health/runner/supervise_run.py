"""Owns one supervised run from its request to its record: settings, the child's time limit, the child, the record.

This is the one call that a scheduler's task makes. Knows nothing of the scheduler beyond the names of its run, and
loads no torch: the child does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from model_health.config.load import load_project
from model_health.config.settings import Settings, child_environment, load_settings
from model_health.errors import ModelHealthError, StoreError
from model_health.runner.request import RunRequest, sinks_of
from model_health.runner.supervise import (
    TERMINATE_GRACE_SECONDS,
    ChildRequest,
    StopSignal,
    run_child,
)
from model_health.runner.supervise_log import LogTail
from model_health.runner.supervise_record import Recorder, RunRecorder
from model_health.store.index.index import utc_now

if TYPE_CHECKING:
    from model_health.runner.supervise_result import ChildOutcome


def time_limit_seconds(model: str, settings: Settings | None = None) -> float:
    """Return how long one run of `model` may take, in seconds. Raises `BadInput` if there is no such model."""
    settings = settings or load_settings()
    return float(load_project(settings).get_model(model).timeout_seconds)


def measure(
    request: RunRequest,
    *,
    on_line: Callable[[str], None] = lambda line: None,
    stop: StopSignal | None = None,
    settings: Settings | None = None,
    recorder: RunRecorder | None = None,
) -> ChildOutcome:
    """Measure in a supervised child; whatever ends it, what became of the run is on record.

    Args:
        request: what to measure; None in it leaves a choice to the model's config or the settings.
        on_line: gets each line of the child's log as it comes, without secrets.
        stop: asks for an early end.
        settings: read from the environment if None.
        recorder: where the run is recorded; None: the installation's index and the run's store.

    Raises:
        BadInput: no such model or suite, or the child refused its input.
        ChildFailed: the child crashed, hung, was told to stop or left no result.
        StoreError: the run's begin could not be recorded.
    """
    settings = settings or load_settings()
    project = load_project(settings)
    model = project.get_model(request.model)
    suite = project.get_suite(request.suite or model.suites[0])
    child = ChildRequest(
        model.name,
        suite.name,
        request.named(utc_now()).run_id,
        out=request.store_uri or settings.store_uri,
        airflow=request.airflow,
        options=_options(request),
        python=str(settings.python),
        environment=child_environment(settings),
    )
    tail = LogTail()
    recorder = recorder or Recorder(child, settings, suite, sinks=sinks_of(request, settings))
    recorder.started()
    try:
        return run_child(
            child,
            timeout_seconds=model.timeout_seconds,
            on_line=on_line,
            terminate_grace_seconds=min(settings.terminate_grace_seconds, TERMINATE_GRACE_SECONDS),
            stop=stop,
            tail=tail,
        )
    except BaseException as error:
        _record(recorder, error, tail)
        raise


def _options(request: RunRequest) -> tuple[str, ...]:
    """The further arguments of `model-health run` that stand for the request's choices."""
    options = [part for sink in request.sinks for part in ("--sink", sink)]
    if request.batch_size is not None:
        options += ["--batch-size", str(request.batch_size)]
    if request.device is not None:
        options += ["--device", request.device]
    options += ["--perf", request.perf, *(["--compare"] if request.compare else [])]
    return (*options, *(() if request.prompt_telemetry else ("--no-prompt-telemetry",)))


def _record(recorder: RunRecorder, error: BaseException, tail: LogTail) -> None:
    reason = str(error) if isinstance(error, ModelHealthError) else f"interrupted by {type(error).__name__}"
    try:
        recorder.could_not_measure(reason, tail.text())
    except StoreError as second:
        error.add_note(f"and this could not be recorded: {second}")
