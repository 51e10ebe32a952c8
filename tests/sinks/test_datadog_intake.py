"""The stand-in for Datadog is as strict as it says: what it lets through, the real one would take."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.monitor_options import MonitorOptions
from datadog_api_client.v1.model.monitor_thresholds import MonitorThresholds
from datadog_api_client.v1.model.monitor_type import MonitorType
from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest

from support.datadog_intake import API_KEY, APP_KEY, COUNT, Intake, datadog_intake
from support.datadog_parse import Malformed, parse_content

QUERY = "max(last_2h):max:model_health.nan_detected{*} by {model} > 0"


@pytest.fixture
def intake() -> Iterator[Intake]:
    with datadog_intake() as server:
        yield server


@pytest.fixture
def client(intake: Intake) -> Iterator[ApiClient]:
    keys = {"apiKeyAuth": API_KEY, "appKeyAuth": APP_KEY}
    with ApiClient(Configuration(host=intake.url, api_key=keys, request_timeout=(60, 60))) as opened:
        yield opened


def post(intake: Intake, path: str, body: bytes, key: str = API_KEY, **headers: str) -> int:
    named = {"DD-API-KEY": key, **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        with urlopen(Request(intake.url + path, data=body, headers=named, method="POST"), timeout=60) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def metrics(**replaced: Any) -> bytes:
    point = {"timestamp": int(time.time()), "value": 1.0}
    return json.dumps({"series": [{"metric": "a.b", "type": 3, "points": [point], "tags": [], **replaced}]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        metrics(metric=1),
        metrics(metric="9a"),
        metrics(type=9),
        metrics(points=[{"timestamp": "now", "value": 1.0}]),
        metrics(points=[{"timestamp": 1}, {"value": float("nan")}]),
        metrics(tags=["Model:X"]),
        metrics(tags=["model: x"]),
        metrics(tags=["x" * 201]),
        metrics(hosts=["h"]),
        metrics(resources=[{"name": "h", "kind": "host"}]),
    ],
)
def test_a_body_that_is_not_the_api_s_is_refused(intake: Intake, body: bytes) -> None:
    assert post(intake, "/api/v2/series", body) == 400
    assert intake.points == []


def test_a_key_is_needed(intake: Intake) -> None:
    assert post(intake, "/api/v2/series", metrics(), key="wrong") == 403
    assert post(intake, "/api/v1/monitor", b"{}") == 403
    assert intake.points == []


def test_the_size_of_a_request_is_limited_before_and_after_decompression(intake: Intake) -> None:
    assert post(intake, "/api/v2/series", b"x" * 512_001) == 413
    assert post(intake, "/api/v2/series", gzip.compress(b" " * 5_242_881), Content_Encoding="gzip") == 413
    assert post(intake, "/api/v2/series", gzip.compress(metrics())[:-9], Content_Encoding="gzip") == 400
    assert post(intake, "/api/v2/series", gzip.compress(metrics()), Content_Encoding="gzip") == 202
    assert len(intake.points) == 1


def test_points_outside_the_window_are_dropped_without_a_word(intake: Intake) -> None:
    now = int(time.time())
    points = [{"timestamp": now + offset, "value": 1.0} for offset in (-3_700, -3_500, 500, 700)]
    assert post(intake, "/api/v2/series", metrics(points=points)) == 202
    assert [point.timestamp - now for point in intake.points] == [-3_500, 500]
    assert [point.timestamp - now for point in intake.dropped] == [-3_700, 700]


def test_a_repeated_count_is_counted_twice_and_a_repeated_gauge_is_not(intake: Intake) -> None:
    for _ in range(2):
        post(intake, "/api/v2/series", metrics(metric="gauge"))
        post(intake, "/api/v2/series", metrics(metric="count", type=COUNT, points=[intake_point()]))
    assert intake.gauge("gauge") == 1.0
    assert sum(value for (name, _, _), value in intake.store().items() if name == "count") == 2.0


def intake_point() -> dict[str, float]:
    return {"timestamp": int(time.time()) // 600 * 600, "value": 1.0}


@pytest.mark.parametrize("age", [700, -700])
def test_a_check_is_of_the_last_ten_minutes(intake: Intake, age: int) -> None:
    check = {"check": "a.b", "host_name": "h", "status": 0, "tags": [], "timestamp": int(time.time()) - age}
    assert post(intake, "/api/v1/check_run", json.dumps([check]).encode()) == 400
    assert post(intake, "/api/v1/check_run", json.dumps([{**check, "timestamp": int(time.time())}]).encode()) == 202
    assert len(intake.checks) == 1


def monitor(name: str = "NaN", **replaced: Any) -> Monitor:
    fields = {"query": QUERY, "message": "look", "tags": ["team:ml", "source:model-health"], **replaced}
    options = MonitorOptions(thresholds=MonitorThresholds(critical=0.0), notify_no_data=True)
    return Monitor(**{"name": name, "type": MonitorType.METRIC_ALERT, "options": options, **fields})


def test_a_monitor_lives_through_the_client(intake: Intake, client: ApiClient) -> None:
    api = MonitorsApi(client)
    api.validate_monitor(body=monitor())
    created = api.create_monitor(body=monitor())
    assert created.name == "NaN"
    # Its own defaults and its own order of tags: whoever compares must expect both.
    assert created.options.new_host_delay == 300
    assert sorted(created.tags) == ["source:model-health", "team:ml"]
    assert api.get_monitor(created.id).query == QUERY
    api.create_monitor(body=monitor("other", tags=["source:terraform"]))
    assert [found.id for found in api.list_monitors(monitor_tags="source:model-health")] == [created.id]
    found = api.search_monitors(query='tag:"source:model-health"')
    assert [one.id for one in found.monitors] == [created.id]
    changed = api.update_monitor(created.id, body=MonitorUpdateRequest(message="look again"))
    assert (changed.message, changed.query) == ("look again", QUERY)
    assert api.delete_monitor(created.id).deleted_monitor_id == created.id
    assert intake.resources.writes == [
        "create monitor NaN",
        "create monitor other",
        "update monitor NaN",
        "delete monitor NaN",
    ]
    with pytest.raises(ApiException, match="Monitor not found"):
        api.get_monitor(created.id)


def test_pages_of_monitors_hold_what_they_should(client: ApiClient) -> None:
    api = MonitorsApi(client)
    for number in range(7):
        api.create_monitor(body=monitor(f"m{number}"))
    pages = [api.list_monitors(page=page, page_size=3) for page in range(4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert len({found.id for page in pages for found in page}) == 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"query": "max(last_2h):max:a{*} > "},
        {"query": "max:a{*} > 0"},
        {"query": QUERY.replace("> 0", "> 1")},
        {"query": QUERY.replace("}", "", 1)},
        {"type": MonitorType.SERVICE_CHECK},
    ],
)
def test_a_monitor_that_datadog_would_refuse_is_refused(client: ApiClient, wrong: dict[str, Any]) -> None:
    api = MonitorsApi(client)
    for call in (api.validate_monitor, api.create_monitor):
        with pytest.raises(ApiException) as caught:
            call(body=monitor(**wrong))
        assert caught.value.status == 400


def test_a_monitor_that_equals_another_is_refused(client: ApiClient) -> None:
    api = MonitorsApi(client)
    api.create_monitor(body=monitor())
    with pytest.raises(ApiException, match="Duplicate of an existing monitor_id"):
        api.create_monitor(body=monitor())


def test_a_dashboard_lives_through_the_client(intake: Intake, client: ApiClient) -> None:
    api = DashboardsApi(client)
    widget = {"definition": {"type": "timeseries", "requests": [{"q": "avg:model_health.run_healthy{*}"}]}}
    body = {"title": "Model Health", "layout_type": "ordered", "widgets": [widget]}
    created = api.create_dashboard(body=parse_content(body, Dashboard))
    assert [found.title for found in api.list_dashboards().dashboards] == ["Model Health"]
    assert api.get_dashboard(created.id).widgets[0].id == 10_000
    body["title"] = "Models"
    assert api.update_dashboard(created.id, body=parse_content(body, Dashboard)).title == "Models"
    api.delete_dashboard(created.id)
    assert intake.resources.dashboards == {}
    with pytest.raises(ApiException, match="not found"):
        api.get_dashboard(created.id)


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "timeserie", "requests": [{"q": "a"}]},
        {"type": "timeseries", "requests": [{"q": "a"}], "colour": "red"},
        {"type": "timeseries"},
    ],
)
def test_a_widget_that_is_none_is_refused(definition: dict[str, Any]) -> None:
    content = {"title": "t", "layout_type": "ordered", "widgets": [{"definition": definition}]}
    with pytest.raises(Malformed):
        parse_content(content, Dashboard)


def test_an_unknown_path_is_not_found(intake: Intake) -> None:
    assert post(intake, "/api/v3/series", b"{}") == 404
