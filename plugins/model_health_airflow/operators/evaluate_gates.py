"""The operators that judge: one model's newest runs, or what only the clock tells.

Owns how a verdict becomes a task's state. What is judged, and what is said of it, is the library's matter; messages
wait in the outbox for `DeliverAlertsOperator`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from model_health.errors import BadInput, ModelHealthError
from model_health_airflow.xcom import KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from model_health.alerting.watch import Judgement

progress = logging.getLogger("model_health_airflow.progress")


class EvaluateGatesOperator(BaseOperator):
    """Judge the newest runs of one model on one suite by its gates, record the answers and queue what follows.

    Messages about changes wait for alert transports, verdicts for sinks.

    Returns (XCom) the verdict, counts and the gates that did not pass, in at most 4 KB.

    Args:
        model: a model of `configs/models/`.
        suite: a suite of `configs/canaries/`.
        fail_on_fail: whether the verdict `fail` fails the task, after everything is written.
    """

    template_fields: Sequence[str] = ("model", "suite")
    ui_color = "#fff2cc"

    def __init__(self, *, model: str, suite: str, fail_on_fail: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.suite = suite
        self.fail_on_fail = fail_on_fail

    def execute(self, context: Context) -> dict[str, Any]:
        """Judge."""
        from model_health.alerting.watch import judge_runs
        from model_health.delivery.verdicts import announce_verdicts

        try:
            judgement = judge_runs(self.model, self.suite, announce=announce_verdicts())
        except ModelHealthError as error:
            raise failed(error) from None
        return settle(judgement, context, self.fail_on_fail)


class CheckFreshnessOperator(BaseOperator):
    """Look at the clock: reports, comparisons and self-tests that are overdue, a stuck outbox, alerts that are due.

    Args:
        fail_on_fail: whether the verdict `fail` fails the task, so that it is seen even where no message arrives.
    """

    ui_color = "#fff2cc"

    def __init__(self, *, fail_on_fail: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fail_on_fail = fail_on_fail

    def execute(self, context: Context) -> dict[str, Any]:
        """Look."""
        from model_health.alerting.watch import look_at_the_clock
        from model_health.delivery.verdicts import announce_look

        try:
            judgement = look_at_the_clock(announce=announce_look())
        except ModelHealthError as error:
            raise failed(error) from None
        return settle(judgement, context, self.fail_on_fail)


def settle(judgement: Judgement, context: Context, fail_on_fail: bool) -> dict[str, Any]:
    """Log the verdict, and return the summary or fail the task with it."""
    summed = judgement.summary()
    for entry in summed["not_passed"]:
        progress.warning("%s %s: %s", entry["gate"], entry["verdict"], entry["reason"])
    if fail_on_fail and summed["verdict"] == "fail":
        context["ti"].xcom_push(key=KEY, value=summed)
        gates = ", ".join(entry["gate"] for entry in summed["not_passed"] if entry["verdict"] == "fail")
        raise AirflowFailException(f"{judgement.model} on {judgement.suite} fails: {gates}")
    progress.info("%s on %s: %s", judgement.model, judgement.suite, summed["verdict"])
    return summed


def failed(error: ModelHealthError) -> AirflowException:
    """The exception for an error of the library: wrong input is not retried."""
    return AirflowFailException(str(error)) if isinstance(error, BadInput) else AirflowException(str(error))
