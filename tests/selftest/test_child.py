"""A self-test in a process of its own: its end, whatever it is, reaches whoever asked. It is the whole catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.errors import BadInput, ChildFailed
from model_health.runner.supervise import StopSignal
from model_health.selftest.child import self_test_in_child
from model_health.selftest.request import SelfTestRequest
from model_health.store.index.index import Index
from model_health.store.index.self_tests import latest_self_test
from support.self_tests import self_test_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_the_whole_catalogue_a_new_process_included_keeps_its_promises_and_is_on_record(tmp_path: Path) -> None:
    settings = self_test_project(tmp_path)
    said: list[str] = []
    outcome = self_test_in_child(SelfTestRequest("tiny", items=8, healthy=0), settings=settings, on_line=said.append)
    assert outcome.shortfalls == ()
    assert outcome.summary()["false_alarms"].startswith("0 of")
    assert any("loading" in line for line in said)
    with Index.open(settings.index_url) as index, index.reading("read") as connection:
        record = latest_self_test(connection, "tiny", "smoke")
    assert record is not None
    [restart] = [one for one in record.trials if one.name == "restart, a new process"]
    assert (restart.answer, restart.raised) == ("identical", False)


def test_a_child_that_is_told_to_stop_or_runs_late_is_ended_and_named(tmp_path: Path) -> None:
    settings = self_test_project(tmp_path)
    stop = StopSignal()
    stop.request("by a test")
    with pytest.raises(ChildFailed, match=r"self-test of tiny: told to stop \(by a test\)"):
        self_test_in_child(SelfTestRequest("tiny"), settings=settings, stop=stop)
    with pytest.raises(ChildFailed, match="did not end within 0 s"):
        self_test_in_child(SelfTestRequest("tiny"), settings=settings, timeout_seconds=0.0)


def test_bad_input_is_bad_input(tmp_path: Path) -> None:
    settings = self_test_project(tmp_path)
    with pytest.raises(BadInput, match="nobody"):
        self_test_in_child(SelfTestRequest("nobody"), settings=settings)
    with pytest.raises(BadInput, match="--items must be at least 1"):
        self_test_in_child(SelfTestRequest("tiny", items=0), settings=settings)
