"""The retiring operator: a gateway's silence is seen, a broken configuration takes nothing away."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from model_health.config.settings import load_settings
from model_health.errors import ConfigError, StoreError
from model_health.sinks import retire as retiring
from model_health.sinks.retire import Retired
from model_health_airflow import connections
from model_health_airflow.operators.retire import RetireOperator


def run(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Any:
    def retire(settings: Any) -> Retired:
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Retired)
        return answer

    monkeypatch.setattr(connections, "settings_with_connections", load_settings)
    monkeypatch.setattr(retiring, "retire", retire)
    context: Any = {}
    return RetireOperator(task_id="retire").execute(context)


def test_what_was_taken_away_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Retired({"prometheus": 3, "textfile": 0})) == {"prometheus": 3, "textfile": 0}


def test_a_sink_that_does_not_answer_makes_the_task_red(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowException, match="gateway: no answer"):
        run(monkeypatch, Retired({"textfile": 1}, {"prometheus": "gateway: no answer"}))


def test_a_broken_configuration_skips_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowSkipException, match="no model is enabled"):
        run(monkeypatch, ConfigError("no model is enabled"))


def test_a_store_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowException, match="disk") as caught:
        run(monkeypatch, StoreError("the disk is full"))
    assert not isinstance(caught.value, AirflowSkipException)
