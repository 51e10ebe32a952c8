"""The operator alone: what it hands to the library, and how a run's end becomes a task's state."""

from __future__ import annotations

import inspect
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from model_health.errors import ChildFailed, ConfigError, StoreError
from model_health.report.manifest import AirflowIds
from model_health.runner import supervise_run
from model_health.runner.request import RunRequest
from model_health.runner.supervise import StopSignal
from model_health.runner.supervise_result import ChildOutcome
from model_health_airflow.assets import CANARY_RUN
from model_health_airflow.operators.instrumentation import EXECUTION_MARGIN, InstrumentationOperator


class Task:
    """An operator with the context that Airflow would give it, and a library that answers as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.orders: list[RunRequest] = []
        self.pushed: dict[str, Any] = {}
        self.events = {CANARY_RUN: SimpleNamespace(extra={})}
        self.answer: ChildOutcome | Exception = outcome(0)
        self.during = lambda operator: None
        monkeypatch.setattr(supervise_run, "measure", self._measure)
        monkeypatch.setattr(supervise_run, "time_limit_seconds", lambda model: 120.0)

    def _measure(self, order: RunRequest, *, on_line: Any, stop: StopSignal) -> ChildOutcome:
        self.orders.append(order)
        on_line("prompt 1 of 1")
        self.stop = stop
        self.during(self.operator)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def run(self, **keys: Any) -> Any:
        self.operator = InstrumentationOperator(**{"task_id": "measure", "model": "m", "outlets": [CANARY_RUN], **keys})
        push = lambda key, value: self.pushed.update({key: value})  # noqa: E731
        instance = SimpleNamespace(
            dag_id="d", run_id="manual__1", task_id="measure", map_index=4, try_number=2, xcom_push=push
        )
        context: Any = {"ti": instance, "outlet_events": self.events}
        self.operator.pre_execute(context)
        return self.operator.execute(context)


def outcome(exit_code: int, **changes: object) -> ChildOutcome:
    verdict = ["healthy", "unhealthy", "could_not_measure", "could_not_measure", "inconclusive"][exit_code]
    measured = verdict != "could_not_measure"
    values: dict[str, object] = {
        "run_id": "manual__1",
        "model": "m",
        "suite": "s",
        "status": "measured" if measured else "could_not_measure",
        "verdict": verdict,
        "exit_code": exit_code,
        "reason": None if measured else "no space left",
        "manifest_uri": "file:///m.json" if measured else None,
        "manifest_digest": "sha256:0" if measured else None,
        "prompts": 24,
        "prompts_unhealthy": 3 if exit_code == 1 else 0,
        "flags": {"nan_detected": 3, "attention_collapse_detected": 24} if exit_code == 1 else {},
        "unhealthy_flags": {"nan_detected": 3} if exit_code == 1 else {},
    }
    return ChildOutcome.model_validate(values | changes)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    return Task(monkeypatch)


def test_init_only_assigns() -> None:
    given: dict[str, Any] = {
        "model": object(),
        "suite": object(),
        "store_uri": object(),
        "sinks": object(),
        "batch_size": object(),
        "device": object(),
        "perf": object(),
        "prompt_telemetry": object(),
        "compare": object(),
        "fail_on_unhealthy": object(),
    }
    operator = InstrumentationOperator(task_id="t", **given)
    assert {name: getattr(operator, name) for name in given} == given
    own = set(inspect.signature(InstrumentationOperator.__init__).parameters) - {"self", "kwargs"}
    assert own == given.keys()


def test_what_a_person_may_template_is_templated() -> None:
    fields = set(InstrumentationOperator.template_fields)
    assert fields >= {"model", "suite", "store_uri", "sinks"}
    operator = InstrumentationOperator(task_id="t", model="m")
    assert all(hasattr(operator, field) for field in fields)


def test_the_library_gets_one_order_with_everything(task: Task) -> None:
    task.run(suite="s", store_uri="s3://b", sinks=["local"], batch_size="8", device="cpu", perf="strict")
    assert task.orders == [
        RunRequest(
            model="m",
            suite="s",
            run_id="manual__1",
            store_uri="s3://b",
            sinks=("local",),
            batch_size=8,
            device="cpu",
            perf="strict",
            airflow=AirflowIds(dag_id="d", run_id="manual__1", task_id="measure", map_index=4, try_number=2),
        )
    ]


def test_a_healthy_run_returns_a_small_summary_and_tells_the_asset(task: Task) -> None:
    returned = task.run()
    assert (returned["verdict"], returned["manifest_uri"]) == ("healthy", "file:///m.json")
    assert len(json.dumps(returned)) < 4096
    assert task.events[CANARY_RUN].extra == returned


def test_an_inconclusive_run_succeeds_and_is_not_silent(task: Task, caplog: pytest.LogCaptureFixture) -> None:
    task.answer = outcome(4, reason="too few prompts")
    assert task.run()["verdict"] == "inconclusive"
    assert "m is inconclusive: too few prompts" in caplog.text


def test_an_unhealthy_model_fails_its_task_without_a_retry_after_leaving_its_summary(task: Task) -> None:
    task.answer = outcome(1)
    with pytest.raises(AirflowFailException, match=r"m is unhealthy in 3 of 24 prompts \(nan_detected 3\)"):
        task.run()
    assert task.pushed["return_value"]["verdict"] == "unhealthy"
    assert task.events[CANARY_RUN].extra == {}


def test_an_unhealthy_model_may_be_tolerated_by_the_dag(task: Task) -> None:
    task.answer = outcome(1)
    assert task.run(fail_on_unhealthy=False)["verdict"] == "unhealthy"
    assert task.events[CANARY_RUN].extra["prompts_unhealthy"] == 3


@pytest.mark.parametrize(
    "answer", [outcome(3), ChildFailed("the capture child died of SIGKILL"), StoreError("no space left")]
)
def test_what_could_not_be_measured_may_be_retried(task: Task, answer: ChildOutcome | Exception) -> None:
    task.answer = answer
    with pytest.raises(AirflowException) as caught:
        task.run()
    assert not isinstance(caught.value, AirflowFailException)
    assert task.pushed["return_value"]["exit_code"] == 3


@pytest.mark.parametrize("answer", [outcome(2), ConfigError("unknown key")])
def test_bad_input_is_not_retried(task: Task, answer: ChildOutcome | Exception) -> None:
    task.answer = answer
    with pytest.raises(AirflowFailException):
        task.run()
    assert task.pushed["return_value"]["exit_code"] == 2


def test_an_error_that_nobody_foresaw_is_not_dressed_up(task: Task) -> None:
    task.answer = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        task.run()


def test_a_model_that_does_not_exist_fails_before_anything_starts(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(model: str) -> float:
        raise ConfigError("is not a configured model", subject=model)

    monkeypatch.setattr(supervise_run, "time_limit_seconds", unknown)
    with pytest.raises(AirflowFailException, match="m: is not a configured model"):
        task.run()
    assert task.orders == []


def test_airflows_time_limit_lies_behind_the_models_own(task: Task) -> None:
    task.run()
    assert task.operator.execution_timeout == timedelta(seconds=120) + EXECUTION_MARGIN


def test_a_time_limit_of_the_dag_stays(task: Task) -> None:
    task.run(execution_timeout=timedelta(hours=9))
    assert task.operator.execution_timeout == timedelta(hours=9)


def test_on_kill_stops_the_child(task: Task) -> None:
    task.during = lambda operator: operator.on_kill()
    task.run()
    assert task.stop.requested
    assert "Airflow" in task.stop.reason


def test_on_kill_before_anything_runs_does_nothing() -> None:
    InstrumentationOperator(task_id="t", model="m").on_kill()


def test_the_childs_lines_reach_the_tasks_log(task: Task, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="model_health_airflow.progress"):
        task.run()
    assert "prompt 1 of 1" in caplog.messages
