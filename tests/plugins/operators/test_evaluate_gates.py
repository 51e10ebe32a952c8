"""The judging operators alone: what they hand to the library, and how a verdict becomes a task's state."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from model_health.alerting import watch
from model_health.alerting.watch import Judgement
from model_health.errors import ConfigError, ModelHealthError, StoreError
from model_health.gates.result import GateResult, GateVerdict
from model_health_airflow.operators import evaluate_gates
from model_health_airflow.operators.evaluate_gates import CheckFreshnessOperator, EvaluateGatesOperator

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def judgement(verdict: str) -> Judgement:
    found = GateVerdict(verdict)
    result = GateResult("non-finite", "critical", "m", "s", found, NOW, 1.0, 0.0, "one prompt is sick")
    return Judgement("m", "s", found, (result,))


class Task:
    """An operator with the context that Airflow would give it, and a library that answers as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []
        self.pushed: dict[str, Any] = {}
        self.answer: Judgement | ModelHealthError = judgement("pass")
        monkeypatch.setattr(watch, "judge_runs", self._judge)
        monkeypatch.setattr(watch, "look_at_the_clock", self._judge)

    def _judge(self, *names: str, announce: Any) -> Judgement:
        assert callable(announce)  # the sinks are told in the transaction that writes the verdict down
        self.asked.append(names)
        if isinstance(self.answer, ModelHealthError):
            raise self.answer
        return self.answer

    def run(self, operator: Any) -> Any:
        push = lambda key, value: self.pushed.update({key: value})  # noqa: E731
        context: Any = {"ti": SimpleNamespace(xcom_push=push)}
        return operator.execute(context)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    return Task(monkeypatch)


def gates(**more: Any) -> EvaluateGatesOperator:
    return EvaluateGatesOperator(task_id="evaluate", model="m", suite="s", **more)


def test_a_model_and_a_suite_are_judged_and_summed_up(task: Task) -> None:
    summed = task.run(gates())
    assert task.asked == [("m", "s")]
    assert (summed["verdict"], summed["model"], summed["not_passed"]) == ("pass", "m", [])
    assert len(json.dumps(summed)) <= 4096


@pytest.mark.parametrize("verdict", ["warn", "inconclusive"])
def test_a_warning_and_an_open_question_are_no_failed_task(task: Task, verdict: str) -> None:
    task.answer = judgement(verdict)
    assert task.run(gates())["verdict"] == verdict


def test_a_failure_fails_the_task_for_good_and_leaves_the_summary(task: Task) -> None:
    task.answer = judgement("fail")
    with pytest.raises(AirflowFailException, match="m on s fails: non-finite"):
        task.run(gates())
    assert task.pushed["return_value"]["not_passed"][0]["reason"] == "one prompt is sick"
    assert task.run(gates(fail_on_fail=False))["verdict"] == "fail"


def test_wrong_configuration_is_not_retried_and_a_database_that_fails_is(task: Task) -> None:
    task.answer = ConfigError("is missing", subject="gates.yaml")
    with pytest.raises(AirflowFailException, match=r"gates\.yaml: is missing"):
        task.run(gates())
    task.answer = StoreError("the database is locked")
    with pytest.raises(AirflowException, match="locked") as caught:
        task.run(gates())
    assert not isinstance(caught.value, AirflowFailException)


def test_the_clock_is_looked_at_in_the_same_way(task: Task) -> None:
    assert task.run(CheckFreshnessOperator(task_id="look"))["verdict"] == "pass"
    assert task.asked == [()]
    task.answer = judgement("fail")
    with pytest.raises(AirflowFailException):
        task.run(CheckFreshnessOperator(task_id="look"))


def test_model_and_suite_may_be_templates_of_mapped_tasks() -> None:
    assert EvaluateGatesOperator.template_fields == ("model", "suite")


def test_the_operators_are_thin() -> None:
    assert len(inspect.getsource(evaluate_gates).splitlines()) <= 120
