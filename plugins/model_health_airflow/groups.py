"""Owns the order of tasks that takes one model through one canary suite, from the measurement to the person on call."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import task_group

from model_health_airflow.assets import CANARY_RUN
from model_health_airflow.operators.deliver_alerts import DeliverAlertsOperator
from model_health_airflow.operators.evaluate_gates import EvaluateGatesOperator
from model_health_airflow.operators.instrumentation import InstrumentationOperator
from model_health_airflow.operators.publish import PublishOperator
from model_health_airflow.operators.validate_reports import ValidateReportsOperator

NAMED = "{{ task.model }} ({{ task.suite }})"


def canary_group(pool: str, queue: str) -> Any:
    """Return a task group to be mapped over `model` and `suite`; its measurement waits in `pool` and runs on `queue`.

    Later tasks run whatever became of the earlier ones. Measurements are published without waiting for the gates, whose
    verdicts follow in a task of their own. `healthy` does nothing and comes last: without it the Dag run would be as
    green as its last message.
    """

    @task_group(group_id=f"canary_{queue}")
    def canary(model: str, suite: str) -> None:
        measure = InstrumentationOperator(
            task_id="measure",
            model=model,
            suite=suite,
            fail_on_unhealthy=False,  # the gates judge, over several runs
            pool=pool,
            queue=queue,
            outlets=[CANARY_RUN],
            map_index_template=NAMED,
        )
        measured: Any = measure.output  # becomes what `measure` returned when the task runs
        validate = ValidateReportsOperator(task_id="validate", run=measured, trigger_rule="all_done")
        publish = PublishOperator(task_id="publish", trigger_rule="all_done")
        judge = EvaluateGatesOperator(
            task_id="evaluate_gates", model=model, suite=suite, trigger_rule="all_done", map_index_template=NAMED
        )
        alert = DeliverAlertsOperator(task_id="alert", trigger_rule="all_done")
        tell = PublishOperator(task_id="publish_verdicts", trigger_rule="all_done")
        healthy = EmptyOperator(task_id="healthy", trigger_rule="none_failed")
        measure >> validate >> [publish, judge]
        judge >> [alert, tell]
        [measure, validate, publish, judge, alert, tell] >> healthy

    return canary
