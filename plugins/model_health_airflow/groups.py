"""Owns the order of tasks that takes one model through one canary suite, from the measurement to the person on call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import task, task_group

from model_health_airflow.assets import CANARY_RUN
from model_health_airflow.notifiers.task_outcome import TaskOutcomeNotifier
from model_health_airflow.operators.baselines import CreateBaselineOperator
from model_health_airflow.operators.deliver_alerts import DeliverAlertsOperator
from model_health_airflow.operators.evaluate_gates import EvaluateGatesOperator
from model_health_airflow.operators.instrumentation import InstrumentationOperator
from model_health_airflow.operators.publish import PublishOperator
from model_health_airflow.operators.regression import SettleNightOperator
from model_health_airflow.operators.validate_reports import ValidateReportsOperator
from model_health_airflow.targets import choose, chosen, queue_of

MADE = "(ti.xcom_pull(task_ids='create_gpu') or ti.xcom_pull(task_ids='create_default'))"
"""In a template: what the task of `new_baseline` that ran has left."""
NAMED = "{{ task.model }} ({{ task.suite }})"


def canary_runs(pool: str, queue: str) -> None:
    """Add the tasks of all models that wait in `pool` and run on `queue`: one that chooses, and a mapped group."""
    name = f"choose_{queue}"
    # Without a choice there is no run, and so nothing that any gate could judge: the task speaks for itself.
    noted = TaskOutcomeNotifier(model="all", suite=name)
    choice = task(task_id=name, on_failure_callback=noted, on_success_callback=noted)(choose)(queue == "gpu")
    canary_group(pool, queue, chosen(name, "model"), chosen(name, "suite")).expand(place=choice)


def nightly_runs(pools: Sequence[tuple[str, str]]) -> None:
    """Add the tasks of a night: every accepted model compared, all of them screened together, each judged and told.

    Each of `pools` is a pool and its queue. Verdicts wait for the whole night: its tests share one alarm budget.
    """
    settle = SettleNightOperator(task_id="settle", trigger_rule="all_done")
    healthy = EmptyOperator(task_id="healthy", trigger_rule="none_failed")
    settle >> healthy
    for pool, queue in pools:
        name = f"choose_{queue}"
        noted = TaskOutcomeNotifier(model="all", suite=name)
        chooser = task(task_id=name, on_failure_callback=noted, on_success_callback=noted)(choose)
        choice = chooser(queue == "gpu", accepted=True)
        model, suite = chosen(name, "model"), chosen(name, "suite")
        compared = compare_group(pool, queue, model, suite).expand(place=choice)
        judged = verdict_group(queue, model, suite).expand(place=choice)
        choice >> compared >> settle >> judged
        # Each task, not only the last of its group: those run whatever became of the ones before.
        [*compared.children.values(), *judged.children.values()] >> healthy


def compare_group(pool: str, queue: str, model: str, suite: str) -> Any:
    """Return a task group to be mapped: generation and replay in one child, then validation, then publication."""

    @task_group(group_id=f"compare_{queue}")
    def compare(place: int) -> None:
        measure = _measure(model, suite, pool, queue, compare=True)
        measured: Any = measure.output
        validate = ValidateReportsOperator(task_id="validate", run=measured, trigger_rule="all_done")
        measure >> validate >> PublishOperator(task_id="publish", trigger_rule="all_done")

    return compare


def verdict_group(queue: str, model: str, suite: str) -> Any:
    """Return a task group to be mapped: the gates of one model, then its alerts and its verdicts."""

    @task_group(group_id=f"verdict_{queue}")
    def verdict(place: int) -> None:
        judge = EvaluateGatesOperator(
            task_id="evaluate_gates", model=model, suite=suite, trigger_rule="all_done", map_index_template=NAMED
        )
        alert = DeliverAlertsOperator(task_id="alert", trigger_rule="all_done")
        judge >> [alert, PublishOperator(task_id="publish_verdicts", trigger_rule="all_done")]

    return verdict


def canary_group(pool: str, queue: str, model: str, suite: str) -> Any:
    """Return a task group to be mapped; `model` and `suite` are templates that give each of its instances its own.

    Later tasks run whatever became of the earlier ones. Measurements are published without waiting for the gates, whose
    verdicts follow in a task of their own. `healthy` does nothing and comes last: without it the Dag run would be as
    green as its last message.
    """

    @task_group(group_id=f"canary_{queue}")
    def canary(place: int) -> None:
        measure = _measure(model, suite, pool, queue)
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


def new_baseline(reason: str) -> list[CreateBaselineOperator]:
    """Add the tasks that make a baseline of the model that the Dag run is about, and return its two ways.

    One of them runs, where the model's resource is; the other one is skipped.
    """
    where = task.branch(task_id="where")(_made_by)()
    suite, runs = "{{ params.suite or '' }}", "{{ params.runs }}"
    ways = [
        CreateBaselineOperator(task_id=f"create_{queue}", model="{{ params.model }}", suite=suite, reason=reason,
                               runs=runs, pool=pool, queue=queue)
        for queue, pool in (("default", "default_pool"), ("gpu", "gpu"))
    ]  # fmt: skip
    where >> ways
    return ways


def _made_by(params: dict[str, Any] | None = None) -> str:
    return f"create_{queue_of((params or {})['model'])}"


def _measure(model: str, suite: str, pool: str, queue: str, *, compare: bool = False) -> InstrumentationOperator:
    # A task that dies before it records its run leaves the gates nothing: nobody would hear of it until `no_report`.
    noted = TaskOutcomeNotifier()
    return InstrumentationOperator(
        task_id="measure",
        model=model,
        suite=suite,
        compare=compare,
        fail_on_unhealthy=False,  # the gates judge, over several runs
        pool=pool,
        queue=queue,
        outlets=[CANARY_RUN],
        map_index_template=NAMED,
        on_failure_callback=noted,
        on_success_callback=noted,
    )
