"""How reaping becomes the state of a task: what was dead is said, and an index that does not answer is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from model_health.errors import ConfigError, StoreError
from model_health.runner import reap as library
from model_health.runner.reap import Reaped
from model_health_airflow.operators.reap import ReapOperator


def run(monkeypatch: pytest.MonkeyPatch, ends: Reaped | Exception) -> dict[str, Any]:
    def reap() -> Reaped:
        if isinstance(ends, Exception):
            raise ends
        return ends

    monkeypatch.setattr(library, "reap", reap)
    context: Any = {}
    return ReapOperator(task_id="reap").execute(context)


def test_what_was_dead_and_what_lives_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Reaped(("m/s/1", "m/s/2"), ("m/s/3",))) == {"reaped": 2, "alive": 1}
    assert run(monkeypatch, Reaped()) == {"reaped": 0, "alive": 0}


@pytest.mark.parametrize(
    ("ends", "raised"), [(StoreError("no answer"), AirflowException), (ConfigError("wrong"), AirflowFailException)]
)
def test_an_error_of_the_library_makes_it_red(
    monkeypatch: pytest.MonkeyPatch, ends: Exception, raised: type[Exception]
) -> None:
    with pytest.raises(raised, match=str(ends)) as caught:
        run(monkeypatch, ends)
    assert type(caught.value) is raised
