"""Datadog is made what the rules say: against a local intake with its own ids, defaults and order, and with faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as examples
from hypothesis import strategies as st

from model_health.config.sinks import DatadogSinkConfig
from model_health.errors import DeliveryFailed
from model_health.monitors.datadog import owner_tags, render_monitors
from model_health.monitors.datadog_api import DatadogApi
from model_health.monitors.datadog_dashboard import render_dashboard
from model_health.monitors.datadog_sync import TRIES, DatadogSync
from model_health.monitors.plan import Journal, Outcome, Plan
from model_health.monitors.target import RenderInput
from support.datadog_faults import (
    HALF_CLOSED,
    PATIENCE,
    RESET,
    TAKEN_THEN_HALF_CLOSED,
    TAKEN_THEN_RESET,
    Fault,
    answer,
    too_many_requests,
)
from support.datadog_intake import API_KEY, APP_KEY, Intake, datadog_intake
from support.monitor_inputs import made, shipped

FEW = {
    "latency": {"metric": "time_to_first_token_seconds", "warn": 1.0, "fail": 2.0, "for_runs": 2, "of_last": 3},
    "memory": {"metric": "peak_memory_bytes", "fail": 8e9},
}


@pytest.fixture
def intake() -> Iterator[Intake]:
    with datadog_intake() as running:
        yield running


class Installation:
    """Plans and applies for one installation, and remembers how long it would have waited."""

    def __init__(
        self, intake: Intake, given: RenderInput, *, app_key: str = APP_KEY, widgets: int | None = None
    ) -> None:
        dashboard = render_dashboard(given)
        self.waits: list[float] = []
        config = DatadogSinkConfig(url=intake.url, timeout_seconds=PATIENCE, connect_timeout_seconds=PATIENCE)
        self.sync = DatadogSync(
            DatadogApi(config, API_KEY, app_key),
            render_monitors(given),
            [{**dashboard, "widgets": dashboard["widgets"][:widgets]}],
            tags=owner_tags(given),
            marker=given.marker,
            sleep=self.waits.append,
        )

    def plan(self) -> Plan:
        return self.sync.plan()

    def apply(self, *, meanwhile: Any = None) -> Outcome:
        plan = self.plan()
        if meanwhile is not None:
            meanwhile()
        journal = Journal()
        self.sync.apply(plan, journal)
        return journal.outcome(plan)


def names(intake: Intake) -> list[str]:
    return sorted(monitor["name"] for monitor in intake.resources.monitors.values())


@pytest.mark.parametrize("given", [shipped(), made()], ids=["shipped", "awkward"])
def test_a_second_apply_changes_nothing(intake: Intake, given: RenderInput) -> None:
    first = Installation(intake, given).apply()
    assert first.exit_code == 0
    assert names(intake) == sorted(monitor["name"] for monitor in render_monitors(given))
    assert len(intake.resources.dashboards) == 1
    intake.resources.writes.clear()
    again = Installation(intake, given)
    assert again.plan().changes == ()
    assert again.apply().text == f"nothing changed, {len(render_monitors(given)) + 1} unchanged\n"
    assert intake.resources.writes == []


def test_only_what_differs_is_written(intake: Intake) -> None:
    Installation(intake, made(FEW)).apply()
    intake.resources.writes.clear()
    other = made({**FEW, "memory": {"metric": "peak_memory_bytes", "fail": 9e9}})
    plan = Installation(intake, other).plan()
    assert plan.summary() == f"1 to update, {plan.unchanged} unchanged"
    diff = plan.diff()
    assert '-  "query": "max(last_120m):max:model_health.peak_memory_bytes{*} by {model,suite} > 8000000000",' in diff
    assert '+  "query": "max(last_120m):max:model_health.peak_memory_bytes{*} by {model,suite} > 9000000000",' in diff
    assert "silenced" not in diff
    assert Installation(intake, other).apply().exit_code == 0
    assert intake.resources.writes == ["update monitor [model-health] memory"]


def test_what_is_no_longer_wanted_is_deleted_and_nothing_of_others_is_touched(intake: Intake) -> None:
    Installation(intake, made(FEW)).apply()
    Installation(intake, made(FEW, monitors={"installation": "staging"})).apply()
    intake.resources.handle("POST", "/api/v1/monitor", {}, foreign("by hand", ["gate:memory", "managed_by:terraform"]))
    intake.resources.handle("POST", "/api/v1/monitor", {}, foreign("almost ours", ["managed_by:model-health"]))
    before = {number: dict(one) for number, one in intake.resources.monitors.items()}
    outcome = Installation(intake, made({"memory": FEW["memory"]})).apply()
    assert "2 deleted" in outcome.text
    gone = {one["name"] for number, one in before.items() if number not in intake.resources.monitors}
    assert gone == {"[model-health] latency critical", "[model-health] latency warning"}
    assert all(before[number] == one for number, one in intake.resources.monitors.items())
    assert len(intake.resources.dashboards) == 2
    assert names(intake).count("[model-health] latency critical") == 1  # staging's


def foreign(name: str, tags: list[str]) -> bytes:
    import json

    content = {"name": name, "type": "query alert", "query": "max(last_5m):max:a{*} > 1", "tags": tags}
    return json.dumps(content).encode()


def test_a_monitor_that_was_edited_by_hand_is_put_right(intake: Intake) -> None:
    Installation(intake, made(FEW)).apply()
    number = min(intake.resources.monitors)
    wanted = dict(intake.resources.monitors[number])
    for edit in ({"message": "quiet!"}, {"priority": 5}, {"name": "mine now"}, {"tags": [*wanted["tags"], "x:y"]}):
        intake.resources.monitors[number] |= edit
        assert Installation(intake, made(FEW)).apply().exit_code == 0
        assert {key: intake.resources.monitors[number][key] for key in edit} == {key: wanted[key] for key in edit}


def test_a_mute_is_not_lifted_where_nothing_else_differs(intake: Intake) -> None:
    Installation(intake, made(FEW)).apply()
    number = min(intake.resources.monitors)
    intake.resources.monitors[number]["options"]["silenced"] = {"*": None}
    assert Installation(intake, made(FEW)).plan().changes == ()


def test_a_monitor_that_stands_twice_is_kept_once(intake: Intake) -> None:
    Installation(intake, made(FEW)).apply()
    number = min(intake.resources.monitors)
    intake.resources.monitors[9999] = {**intake.resources.monitors[number], "id": 9999}
    outcome = Installation(intake, made(FEW)).apply()
    assert "1 deleted" in outcome.text
    assert number in intake.resources.monitors
    assert 9999 not in intake.resources.monitors


@pytest.mark.slow
def test_more_monitors_than_fit_a_page_are_all_found(intake: Intake) -> None:
    rules = {f"rule-{n}": {"metric": "peak_memory_bytes", "fail": float(n + 1)} for n in range(210)}
    Installation(intake, made(rules)).apply()
    assert len(intake.resources.monitors) == 213
    assert Installation(intake, made(rules)).plan().changes == ()


@pytest.mark.parametrize("fault", [TAKEN_THEN_RESET, TAKEN_THEN_HALF_CLOSED, RESET, HALF_CLOSED, answer(503)])
def test_a_creation_whose_answer_is_lost_is_not_made_twice(intake: Intake, fault: Fault) -> None:
    installation = Installation(intake, made(FEW))
    outcome = installation.apply(meanwhile=lambda: intake.script(fault))
    assert outcome.exit_code == 0, outcome.text
    assert names(intake) == sorted(monitor["name"] for monitor in render_monitors(made(FEW)))
    assert installation.waits == [1.0]


def test_what_the_api_asks_to_wait_is_waited(intake: Intake) -> None:
    installation = Installation(intake, made(FEW))
    outcome = installation.apply(meanwhile=lambda: intake.script(too_many_requests(7), too_many_requests(None, "11")))
    assert outcome.exit_code == 0
    assert installation.waits[0] == 7.0
    assert 11.0 in installation.waits


def test_who_is_told_to_wait_for_an_hour_is_told_so(intake: Intake) -> None:
    intake.script(too_many_requests(3600))
    installation = Installation(intake, made(FEW))
    with pytest.raises(DeliveryFailed, match="429"):
        installation.plan()
    assert installation.waits == []


def test_one_that_is_refused_keeps_no_other_from_being_made_but_keeps_all_from_being_deleted(intake: Intake) -> None:
    Installation(intake, made({"old": {"metric": "peak_memory_bytes", "fail": 1.0}})).apply()
    outcome = Installation(intake, made(FEW)).apply(meanwhile=lambda: intake.script(answer(400, b'{"errors": ["no"]}')))
    assert outcome.exit_code == 3
    assert "FAILED to create monitor [model-health] latency critical: datadog" in outcome.text
    assert "did not delete monitor [model-health] old: something before it failed" in outcome.text
    assert "1 failed, 1 not tried" in outcome.text
    assert {"[model-health] old", "[model-health] memory"} <= set(names(intake))
    assert "[model-health] latency critical" not in names(intake)
    assert Installation(intake, made(FEW)).apply().exit_code == 0
    assert names(intake) == sorted(monitor["name"] for monitor in render_monitors(made(FEW)))


def test_an_api_that_stays_down_is_given_up_and_says_what_was_done(intake: Intake) -> None:
    installation = Installation(intake, made(FEW))
    outcome = installation.apply(meanwhile=lambda: intake.script(None, *[answer(500)] * 500))
    assert outcome.exit_code == 3
    assert "created monitor" in outcome.text
    assert "answered 500" in outcome.text
    assert len(installation.waits) >= TRIES - 1


def test_a_wrong_key_changes_nothing_and_is_not_repeated(intake: Intake) -> None:
    wrong = "f" * 40
    with pytest.raises(DeliveryFailed, match="403") as raised:
        Installation(intake, made(FEW), app_key=wrong).plan()
    assert wrong not in str(raised.value)
    assert intake.resources.writes == []


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@examples(
    faults=st.lists(
        st.sampled_from(
            [None, RESET, TAKEN_THEN_RESET, HALF_CLOSED, answer(500), answer(502, taken=True), too_many_requests(2)]
        ),
        max_size=12,
    )
)
def test_whatever_goes_wrong_applying_again_ends_with_what_was_asked_for(faults: list[Fault | None]) -> None:
    # One widget: what is sent and compared is tested above, and the client's models take a second for all of them.
    few = {"widgets": 1}
    with datadog_intake() as intake:
        Installation(intake, made({"old": {"metric": "peak_memory_bytes", "fail": 1.0}}), **few).apply()
        intake.script(*faults)
        for _ in range(20):
            try:
                if Installation(intake, made(FEW), **few).apply().exit_code == 0:
                    break
            except DeliveryFailed:
                continue
        assert names(intake) == sorted(monitor["name"] for monitor in render_monitors(made(FEW)))
        assert len(intake.resources.dashboards) == 1
        assert Installation(intake, made(FEW), **few).plan().changes == ()
