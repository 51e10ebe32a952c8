"""The Datadog sink against an intake that parses with the client's own models and keeps the API's limits."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model_health.catalog.loader import catalogue
from model_health.catalog.published import SERVICE_CHECK, over_prompts
from model_health.config.sinks import DatadogSinkConfig
from model_health.errors import DeliveryFailed
from model_health.report.samples import Sample
from model_health.sinks import datadog_calls
from model_health.sinks.base import PublishContext
from model_health.sinks.datadog import DatadogSink, aggregation_key
from model_health.sinks.datadog_series import GAUGE
from support.children import wait_until
from support.datadog_faults import (
    HALF_CLOSED,
    PATIENCE,
    RESET,
    SILENCE,
    TAKEN_THEN_HALF_CLOSED,
    TAKEN_THEN_RESET,
    TAKEN_THEN_SILENCE,
    Fault,
    answer,
    is_delivered,
    patience_with,
    too_many_requests,
)
from support.datadog_intake import API_KEY, Intake, datadog_intake
from support.prometheus_servers import free_port
from support.raw_answers import raw_server
from support.sink_samples import run_samples

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVENT = {
    "title": "tiny on small: unhealthy, was healthy",
    "text": "2 of 4 prompts unhealthy: loop_detected (2)",
    "at": NOW.isoformat(),
    "verdict": "unhealthy",
    "previous": "healthy",
    "labels": {"model": "tiny", "suite": "small", "revision": "abc"},
}
CHECK = {
    "status": "critical",
    "message": "2 of 4 prompts unhealthy",
    "at": NOW.isoformat(),
    "labels": {"model": "tiny", "suite": "small", "revision": "abc", "dtype": "float32", "device_class": "cpu"},
}


@pytest.fixture
def intake() -> Iterator[Intake]:
    with datadog_intake(clock=lambda: NOW.timestamp()) as server:
        yield server


def sink_of(intake: Intake, api_key: str = API_KEY, now: datetime = NOW, **more: Any) -> DatadogSink:
    values = {"url": intake.url, "timeout_seconds": PATIENCE, "connect_timeout_seconds": PATIENCE, **more}
    return DatadogSink(DatadogSinkConfig(**values), api_key, clock=lambda: now)


# -------------------------------------------------------------------------------------------------------- metrics
def test_a_run_arrives_valid_and_compressed(intake: Intake) -> None:
    samples, context = run_samples(NOW)
    result = sink_of(intake, labels={"env": "prod"}).publish(samples, context)
    assert (result.sink, result.target, result.not_measured) == ("datadog", intake.url, 1)
    (request,) = intake.requests
    assert (request.path, request.encoding, request.status) == ("/api/v2/series", "gzip", 202)
    assert result.published == len(intake.points)
    assert intake.dropped == []
    tags = {"env": "prod", "model": "tiny", "suite": "small", "device_class": "cpu"}
    assert intake.gauge("model_health.entropy_bits_mean", group="_all", over_prompts="max", **tags) == 4.0
    assert intake.gauge("model_health.run_healthy", **tags) == 1.0


def test_every_point_is_a_gauge_with_the_time_of_the_run_and_a_unit_that_datadog_knows(intake: Intake) -> None:
    at = NOW - timedelta(minutes=20)
    sink_of(intake).publish(*run_samples(at))
    assert {point.type for point in intake.points} == {GAUGE}
    assert {point.timestamp for point in intake.points} == {int(at.timestamp())}
    units = {point.metric.removeprefix("model_health."): point.unit for point in intake.points}
    assert units["run_duration_seconds"] == "second"
    assert units["peak_memory_bytes"] == "byte"
    assert units["entropy_bits_mean"] == "bit"
    assert units["collapsed_head_rate"] == "fraction"
    assert units["generated_tokens"] is None
    assert {point.host for point in intake.points} == {None}


def test_a_host_is_named_only_when_asked_for(intake: Intake) -> None:
    sink_of(intake, host="gpu-1", host_resource=True).publish(*run_samples(NOW))
    assert {point.host for point in intake.points} == {"gpu-1"}


def test_groups_are_left_out_unless_they_are_asked_for(intake: Intake) -> None:
    sink_of(intake).publish(*run_samples(NOW))
    few = {(point.metric, point.tags) for point in intake.points}
    assert {tag for _, tags in few for tag in tags if tag.startswith("group:")} == {"group:_all"}
    sink_of(intake, by_group=True).publish(*run_samples(NOW))
    assert "group:facts" in {tag for point in intake.points for tag in point.tags}


def test_the_number_of_series_does_not_grow_with_the_runs(intake: Intake) -> None:
    for number in range(20):
        sink_of(intake, by_group=True).publish(*run_samples(NOW, run_id=f"scheduled__{number}"))
    series = {(point.metric, point.tags) for point in intake.points}
    assert len(series) * 20 == len(intake.points)
    prompt_series = sum(len(over_prompts(metric)) for metric in catalogue().of_scope("prompt"))
    assert sum("group:_all" in tags for _, tags in series) == prompt_series
    assert "scheduled" not in str(series)
    assert not [request for request in intake.requests if b"scheduled" in request.body]


def test_tags_are_what_datadog_would_make_of_them(intake: Intake) -> None:
    labels = {"model": "Qwen/Qwen2 0.5B!", "suite": "Ünïcode" * 60, "gate": "a\nb"}
    sink_of(intake).publish([Sample("run_measured", 1.0, None, NOW, labels)], PublishContext("r"))
    (point,) = intake.points
    assert point.tags == ("gate:a_b", "model:qwen/qwen2_0.5b_", ("suite:" + "ünïcode" * 60)[:200])


def test_nothing_to_publish_sends_nothing(intake: Intake) -> None:
    assert sink_of(intake).publish([], PublishContext("r")).published == 0
    assert intake.requests == []


@pytest.mark.parametrize(
    "limits", [{"max_series": 7}, {"max_bytes": 1_500}, {"max_compressed_bytes": 700}, {"max_bytes": 1_000_000}]
)
def test_a_run_is_split_into_requests_within_every_limit(intake: Intake, limits: dict[str, int]) -> None:
    result = sink_of(intake, **limits).publish(*run_samples(NOW))
    assert len(intake.points) == result.published
    assert len({(point.metric, point.tags) for point in intake.points}) == result.published
    for request in intake.requests:
        assert len(json.loads(request.body)["series"]) <= limits.get("max_series", 10_000)
        assert len(request.body) <= limits.get("max_bytes", 10_000_000)
        assert request.size <= limits.get("max_compressed_bytes", 10_000_000)
    assert (len(intake.requests) > 1) == (limits.get("max_bytes") != 1_000_000)


def test_a_suite_of_thousands_of_series_stays_within_the_api_s_limits(intake: Intake) -> None:
    samples = []
    for number in range(60):
        more, context = run_samples(NOW, model=f"model-{number}", prompts=1)
        samples += more
    result = sink_of(intake, max_series=20_000).publish(samples, context)
    assert result.published > 6_000
    assert len({(point.metric, point.tags) for point in intake.points}) == result.published
    assert set(intake.statuses()) == {202}


def test_one_series_that_is_too_large_alone_is_refused_before_anything_is_sent(intake: Intake) -> None:
    large = Sample(
        "run_measured", 1.0, None, NOW, dict.fromkeys(("model", "suite", "gate", "flag", "stage"), "x" * 195)
    )
    with pytest.raises(DeliveryFailed, match=r"model_health\.run_measured alone is too large") as caught:
        sink_of(intake, max_bytes=1_000).publish([*run_samples(NOW)[0], large, large], PublishContext("r"))
    assert caught.value.permanent
    assert intake.requests == []


# ------------------------------------------------------------------------------------------------------ late points
def test_late_points_are_published_in_the_last_hour_with_a_tag_and_in_their_order(intake: Intake) -> None:
    sink = sink_of(intake)
    for hours in (30, 5, 2, 1):
        sink.publish(*run_samples(NOW - timedelta(hours=hours), level=float(hours)))
    assert intake.dropped == []
    found = [
        (point.timestamp, point.value)
        for point in intake.points
        if point.metric == "model_health.entropy_bits_mean" and "over_prompts:min" in point.tags
    ]
    assert [value for _, value in sorted(found)] == [30.0, 5.0, 2.0, 1.0]
    assert len({timestamp for timestamp, _ in found}) == 4
    assert all("late:true" in point.tags for point in intake.points)


def test_a_point_in_time_has_no_tag(intake: Intake) -> None:
    sink_of(intake).publish(*run_samples(NOW - timedelta(minutes=58)))
    assert not [point for point in intake.points if "late:true" in point.tags]
    assert intake.dropped == []


def test_late_points_can_be_refused_with_the_reason(intake: Intake) -> None:
    with pytest.raises(DeliveryFailed, match=r"is 3\.0 h old and the API takes an hour") as caught:
        sink_of(intake, late_points="refuse").publish(*run_samples(NOW - timedelta(hours=3)))
    assert caught.value.permanent
    assert intake.requests == []


def test_late_points_can_be_sent_as_they_are(intake: Intake) -> None:
    at = NOW - timedelta(hours=3)
    sink_of(intake, late_points="send").publish(*run_samples(at))
    # This intake, like an account without historical ingestion, drops them.
    assert intake.points == []
    assert {point.timestamp for point in intake.dropped} == {int(at.timestamp())}


def test_a_point_from_the_future_waits_until_it_is_taken(intake: Intake) -> None:
    at = NOW + timedelta(minutes=30)
    with pytest.raises(DeliveryFailed, match="lies ahead") as caught:
        sink_of(intake).publish(*run_samples(at))
    wait = caught.value.retry_after_seconds
    assert not caught.value.permanent
    assert wait is not None
    assert intake.requests == []
    sink_of(intake, now=NOW + timedelta(seconds=wait)).publish(*run_samples(at))


# ------------------------------------------------------------------------------------------------- events and checks
def test_a_change_of_verdict_is_an_event(intake: Intake) -> None:
    sink_of(intake, labels={"env": "prod"}).publish_event(EVENT, "run-1:event:abc")
    assert intake.events == [
        {
            "aggregation_key": "run-1:event:abc",
            "alert_type": "error",
            "date_happened": int(NOW.timestamp()),
            "tags": ["env:prod", "model:tiny", "revision:abc", "suite:small"],
            "text": EVENT["text"],
            "title": EVENT["title"],
        }
    ]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"verdict": "healthy"}, "success"),
        ({"verdict": "unhealthy"}, "error"),
        ({"verdict": "inconclusive"}, "warning"),
        ({"verdict": "could_not_measure"}, "warning"),
        ({"verdict": "new word"}, "info"),
        ({"verdict": "healthy", "level": "error"}, "error"),
    ],
)
def test_the_verdict_colours_the_event(intake: Intake, change: dict[str, str], kind: str) -> None:
    sink_of(intake).publish_event({**EVENT, **change}, "k")
    assert intake.events[0]["alert_type"] == kind


def test_a_repeated_event_has_the_same_aggregation_key(intake: Intake) -> None:
    long = "scheduled__2026-11-22T12:00:00+00:00|" * 10
    intake.script(TAKEN_THEN_RESET)
    with pytest.raises(DeliveryFailed):
        sink_of(intake).publish_event(EVENT, long)
    sink_of(intake).publish_event(EVENT, long)
    assert [len(same) for same in intake.events_by_key().values()] == [2]
    assert len(intake.told()) == 1
    assert aggregation_key(long) != aggregation_key(long + "x")
    assert len(aggregation_key(long)) <= 100


def test_events_about_one_alert_are_shown_together(intake: Intake) -> None:
    for key, words in (("run-1", "raised"), ("run-2", "recovered")):
        sink_of(intake).publish_event({**EVENT, "title": words, "aggregation_key": "alert-7"}, key)
    assert intake.told() == [("alert-7", "raised"), ("alert-7", "recovered")]


def test_an_event_that_is_too_old_says_when_it_happened(intake: Intake) -> None:
    at = NOW - timedelta(days=2)
    sink_of(intake).publish_event({**EVENT, "at": at.isoformat(), "text": "x" * 5_000}, "k")
    (event,) = intake.events
    assert "date_happened" not in event
    assert event["text"].endswith(f"(delivered late: it happened at {at.isoformat()})")
    assert len(event["text"]) <= 4_000


def test_an_overlong_event_is_cut(intake: Intake) -> None:
    sink_of(intake).publish_event({**EVENT, "title": "t" * 900, "text": "x" * 9_000}, "k")
    assert len(intake.events[0]["text"]) == 4_000
    assert len(intake.events[0]["title"]) == 500


@pytest.mark.parametrize(("status", "number"), [("ok", 0), ("warning", 1), ("critical", 2), ("unknown", 3)])
def test_a_model_s_state_is_a_service_check(intake: Intake, status: str, number: int) -> None:
    sink_of(intake, host="gpu-1").publish_check({**CHECK, "status": status}, "k")
    assert intake.checks == [
        {
            "check": SERVICE_CHECK,
            "host_name": "gpu-1",
            "message": CHECK["message"],
            "status": number,
            # A revision that was replaced would otherwise keep its state for ever.
            "tags": ["model:tiny", "suite:small"],
            "timestamp": int(NOW.timestamp()),
        }
    ]


def test_a_state_that_is_delivered_late_is_the_present_one_and_says_so(intake: Intake) -> None:
    at = NOW - timedelta(hours=1)
    sink_of(intake).publish_check({**CHECK, "at": at.isoformat()}, "k")
    (check,) = intake.checks
    assert check["timestamp"] == int(NOW.timestamp())
    assert check["message"] == f"as of {at.isoformat()}: {CHECK['message']}"


@pytest.mark.parametrize(
    "change",
    [{"at": None}, {"at": "noon"}, {"at": "2026-11-22T12:00:00"}, {"labels": None}, {"labels": ["model"]}],
)
def test_what_is_damaged_is_never_tried_again(intake: Intake, change: dict[str, Any]) -> None:
    for send, content in (
        (sink_of(intake).publish_event, {**EVENT, **change}),
        (sink_of(intake).publish_check, {**CHECK, **change}),
        (sink_of(intake).publish_event, {}),
        (sink_of(intake).publish_check, {**CHECK, "status": "purple"}),
        (sink_of(intake).publish_event, {**EVENT, "level": "purple"}),
    ):
        with pytest.raises(DeliveryFailed) as caught:
            send(content, "k")
        assert caught.value.permanent
        assert "\n" not in str(caught.value)
    assert intake.requests == []


# ------------------------------------------------------------------------------------------------ a sick other side
def every_way(sink: DatadogSink) -> list[Any]:
    return [
        lambda: sink.publish(*run_samples(NOW)),
        lambda: sink.publish_event(EVENT, "k"),
        lambda: sink.publish_check(CHECK, "k"),
    ]


FAULTS = [
    (answer(400, b'{"errors": ["bad metric"]}'), "answered 400: bad metric", True, None),
    (answer(401), "answered 401", True, None),
    (answer(403, b'{"errors": ["Forbidden"]}'), "answered 403: Forbidden", True, None),
    (answer(413), "lower the size of a batch", True, None),
    (answer(404), "check the address", False, None),
    (answer(408), "answered 408", False, None),
    (too_many_requests(30), "answered 429: Too many requests", False, 30.0),
    (too_many_requests(10, retry_after="20"), "answered 429", False, 20.0),
    (too_many_requests(retry_after="5"), "answered 429", False, 5.0),
    (too_many_requests(), "answered 429", False, None),
    (too_many_requests(1e12), "answered 429", False, 86_400.0),
    (too_many_requests(retry_after="soon"), "answered 429", False, None),
    (answer(500, b"<html>oops</html>"), "answered 500: <html>oops</html>", False, None),
    (answer(502, b""), "answered 502", False, None),
    (answer(503, b"\xff\xfe\x00"), "", False, None),
    (answer(302, Location="http://127.0.0.1:9/steal"), "answered 302, a redirect", False, None),
    (answer(308, Location="http://127.0.0.1:9/steal"), "answered 308, a redirect", False, None),
    (answer(200, b"<html>sign in</html>"), "answered what Datadog never says", False, None),
    (SILENCE, "no answer: ", False, None),
    (RESET, "no answer: ", False, None),
    (HALF_CLOSED, "no answer: ", False, None),
    (TAKEN_THEN_SILENCE, "no answer: ", False, None),
    (TAKEN_THEN_RESET, "no answer: ", False, None),
    (TAKEN_THEN_HALF_CLOSED, "no answer: ", False, None),
    (Fault("slow_body", taken=True, seconds=1.0), "no answer: ", False, None),
    (Fault("cut_body", taken=True), "no answer: ", False, None),
]


@pytest.mark.parametrize("way", range(3))
@pytest.mark.parametrize(("fault", "said", "permanent", "wait"), FAULTS)
def test_what_a_failure_means_for_the_delivery(
    intake: Intake, way: int, fault: Fault, said: str, permanent: bool, wait: float | None
) -> None:
    intake.script(fault)
    send = every_way(sink_of(intake, timeout_seconds=patience_with(fault)))[way]
    with pytest.raises(DeliveryFailed) as caught:
        send()
    assert said in str(caught.value)
    assert f"sink datadog, {intake.url}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (caught.value.permanent, caught.value.retry_after_seconds) == (permanent, wait)
    # One request, whatever went wrong: trying again is the outbox's affair. A client that lost its patience may be
    # done before the server has read it.
    assert wait_until(lambda: len(intake.requests) >= 1)
    assert len(intake.requests) == 1
    if fault.is_silent:
        assert wait_until(lambda: is_delivered(send))
    else:
        send()
        assert len(intake.requests) == 2


def test_what_was_taken_before_a_failure_is_sent_again_and_counts_once(intake: Intake) -> None:
    sink = sink_of(intake, max_series=30)
    intake.script(None, None, TAKEN_THEN_RESET)
    run = run_samples(NOW)
    with pytest.raises(DeliveryFailed):
        sink.publish(*run)
    taken = len(intake.points)
    result = sink.publish(*run)
    assert len(intake.points) == taken + result.published
    assert len(intake.store()) == result.published
    assert intake.gauge("model_health.prompts", model="tiny") == 1.0


def test_a_wrong_key_is_a_permanent_failure(intake: Intake) -> None:
    with pytest.raises(DeliveryFailed, match="answered 403: Forbidden") as caught:
        sink_of(intake, "planted-wrong-key").publish(*run_samples(NOW))
    assert caught.value.permanent
    assert "planted" not in str(caught.value)


def test_nobody_listens_at_the_address() -> None:
    sink = DatadogSink(DatadogSinkConfig(url=f"http://127.0.0.1:{free_port()}"), API_KEY)
    with pytest.raises(DeliveryFailed, match="no answer: ") as caught:
        sink.publish(*run_samples(datetime.now(UTC)))
    assert not caught.value.permanent


def test_what_is_accepted_with_errors_is_not_delivered(intake: Intake) -> None:
    intake.script(answer(202, b'{"errors": ["series 3: no such thing"]}', taken=True))
    with pytest.raises(DeliveryFailed, match="accepted with errors: series 3: no such thing"):
        sink_of(intake).publish(*run_samples(NOW))


def test_variables_of_datadog_s_own_tools_change_nothing(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_SITE", "datadoghq.eu")
    monkeypatch.setenv("DD_API_KEY", "somebody-else-s-key")
    monkeypatch.setenv("DD_APP_KEY", "somebody-else-s-key")
    sink_of(intake).publish(*run_samples(NOW))
    assert set(intake.statuses()) == {202}


def test_the_site_is_the_address_unless_there_is_a_relay() -> None:
    samples: list[Sample] = []
    sink = DatadogSink(DatadogSinkConfig(site="us5.datadoghq.com"), API_KEY)
    assert sink.publish(samples, PublishContext("r")).target == "https://api.us5.datadoghq.com"


@pytest.mark.parametrize("packed", [True, False])
def test_an_answer_without_end_is_not_read_to_its_end(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datadog_calls, "MAX_ANSWER", 1000)
    body = b'{"status": "' + b" " * 100_000 + b'"}'
    sent, encoding = (gzip.compress(body), b"Content-Encoding: gzip\r\n") if packed else (body, b"")
    with raw_server() as server:
        server.answer = b"HTTP/1.1 202 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (encoding, len(sent), sent)
        sink = DatadogSink(DatadogSinkConfig(url=server.url, timeout_seconds=PATIENCE), API_KEY)
        with pytest.raises(DeliveryFailed, match="the answer is larger than") as caught:
            sink.publish_check(CHECK, "key")
    assert not caught.value.permanent


@pytest.mark.parametrize("body", [b'[0,"",null]', b"7", b"[" * 5000])
def test_json_that_is_no_answer_of_datadog_s_is_a_failed_delivery(body: bytes) -> None:
    with raw_server() as server:
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        sink = DatadogSink(DatadogSinkConfig(url=server.url, timeout_seconds=PATIENCE), API_KEY)
        with pytest.raises(DeliveryFailed, match="answered what Datadog never says"):
            sink.publish_check(CHECK, "key")
