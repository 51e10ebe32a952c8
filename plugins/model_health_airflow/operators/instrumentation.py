"""The operator that sends one canary suite through one model.

Owns how a run's end becomes a task's state. What is measured, how, and what is recorded of it is the library's matter.

    run                          task                          retried
    healthy, inconclusive        success                       -
    unhealthy                    failed (fail_on_unhealthy)    no: the same weights answer the same
    could not measure            failed                        yes
    bad input                    failed                        no: a person has to change something
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from model_health.errors import BadInput, ModelHealthError
from model_health_airflow.xcom import KEY, failure, summary

if TYPE_CHECKING:
    from airflow.sdk import Context

    from model_health.runner.supervise import StopSignal
    from model_health.runner.supervise_result import ChildOutcome

EXECUTION_MARGIN = timedelta(seconds=60)
"""Airflow's limit lies this far behind the model's own, which leaves a reason and a log's tail; Airflow's would not."""

progress = logging.getLogger("model_health_airflow.progress")
"""The capture child's lines, as they come."""


class InstrumentationOperator(BaseOperator):
    """Measure one model with one canary suite, in a child process with its own interpreter.

    Returns (XCom) the run's names, verdict, counts and the place of its manifest: see `model_health_airflow.xcom`.

    Args:
        model: a model of `configs/models/`.
        suite: a suite of `configs/canaries/`; None: the model's first one.
        store_uri: where reports go; None: the installation's store.
        sinks: names of the sinks to publish to.
        batch_size: prompts per `generate` call; None: the model's own.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; None: the model's own.
        perf: `summary`, `detailed` or `strict`.
        compare: whether the run is held against the promoted baseline as well, with the model once loaded.
        prompt_telemetry: whether the prompt analysis is measured where the model's config asks for it.
        fail_on_unhealthy: whether an unhealthy model fails its task, after everything is written.
    """

    template_fields: Sequence[str] = ("model", "suite", "store_uri", "sinks", "batch_size", "device", "perf")
    ui_color = "#d9ead3"

    _stop: StopSignal | None = None

    def __init__(
        self,
        *,
        model: str,
        suite: str | None = None,
        store_uri: str | None = None,
        sinks: Sequence[str] = (),
        batch_size: int | str | None = None,
        device: str | None = None,
        perf: Literal["summary", "detailed", "strict"] = "summary",
        prompt_telemetry: bool = True,
        compare: bool = False,
        fail_on_unhealthy: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.suite = suite
        self.store_uri = store_uri
        self.sinks = sinks
        self.batch_size = batch_size
        self.device = device
        self.perf = perf
        self.prompt_telemetry = prompt_telemetry
        self.compare = compare
        self.fail_on_unhealthy = fail_on_unhealthy

    def pre_execute(self, context: Context) -> None:
        """Give this task the time that its model may take: mapped tasks share one definition, not one time limit."""
        if self.execution_timeout is None:
            from model_health.runner.supervise_run import time_limit_seconds

            try:
                self.execution_timeout = timedelta(seconds=time_limit_seconds(self.model)) + EXECUTION_MARGIN
            except BadInput as error:
                raise self._failed(error, context) from None

    def execute(self, context: Context) -> dict[str, Any]:
        """Measure; the table above says which exception stands for which end."""
        from model_health.report.manifest import AirflowIds
        from model_health.runner.request import RunRequest
        from model_health.runner.supervise import StopSignal
        from model_health.runner.supervise_run import measure

        task_instance = context["ti"]
        request = RunRequest(
            model=self.model,
            suite=self.suite,
            run_id=task_instance.run_id,
            store_uri=self.store_uri,
            sinks=tuple(self.sinks),
            batch_size=None if self.batch_size is None else int(self.batch_size),
            device=self.device,
            perf=self.perf,
            prompt_telemetry=self.prompt_telemetry,
            compare=self.compare,
            airflow=AirflowIds(
                dag_id=task_instance.dag_id,
                run_id=task_instance.run_id,
                task_id=task_instance.task_id,
                map_index=task_instance.map_index,
                try_number=task_instance.try_number,
            ),
        )
        self._stop = StopSignal()
        progress.info("%s: canary suite %s", self.model, self.suite or "of its config")
        try:
            outcome = measure(request, on_line=progress.info, stop=self._stop)
        except ModelHealthError as error:
            raise self._failed(error, context) from None
        return self._settle(outcome, context)

    def on_kill(self) -> None:
        """Airflow asks the task to stop: end the capture child, whose run is then recorded as not measured."""
        if self._stop is not None:
            self._stop.request("by Airflow: the task was cleared, marked, timed out, or its worker is shutting down")

    def _settle(self, outcome: ChildOutcome, context: Context) -> dict[str, Any]:
        summed = summary(outcome)
        if outcome.verdict == "could_not_measure":
            raise self._error(
                f"{outcome.model} could not be measured: {outcome.reason}",
                summed,
                context,
                retry=outcome.exit_code != BadInput.exit_code,
            )
        if outcome.verdict == "unhealthy":
            flags = ", ".join(f"{name} {count}" for name, count in outcome.unhealthy_flags.items())
            text = (
                f"{outcome.model} is unhealthy in {outcome.prompts_unhealthy} of {outcome.prompts} prompts"
                f" ({flags or 'see its manifest'}); manifest: {outcome.manifest_uri}"
            )
            if self.fail_on_unhealthy:
                raise self._error(text, summed, context, retry=False)
            progress.warning(text)
        elif outcome.verdict != "healthy":
            progress.warning("%s is %s: %s", outcome.model, outcome.verdict, outcome.reason)
        if outcome.comparison is not None:
            progress.info("%s is %s: %s", outcome.model, outcome.comparison.answer, outcome.comparison.reason)
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = summed
        return summed

    def _failed(self, error: ModelHealthError, context: Context) -> AirflowException:
        summed = failure(error, run_id=context["ti"].run_id, model=self.model, suite=self.suite)
        return self._error(str(error), summed, context, retry=not isinstance(error, BadInput))

    def _error(self, text: str, summed: dict[str, Any], context: Context, *, retry: bool) -> AirflowException:
        progress.error(text)
        context["ti"].xcom_push(key=KEY, value=summed)
        return AirflowException(text) if retry else AirflowFailException(text)
