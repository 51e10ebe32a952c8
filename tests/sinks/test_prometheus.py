"""The Prometheus sink against a real Pushgateway, and a real Prometheus that scrapes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from model_health.config.sinks import PrometheusSinkConfig
from model_health.errors import DeliveryFailed
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext
from model_health.sinks.groups import Configured
from model_health.sinks.prometheus import PrometheusSink
from support.children import wait_until
from support.datadog_faults import (
    HALF_CLOSED,
    PATIENCE,
    RESET,
    SHORT_PATIENCE,
    SILENCE,
    Fault,
    answer,
    is_delivered,
    misbehave,
)
from support.prometheus_servers import PASSWORD, Gateway, free_port, prometheus, pushgateway
from support.sink_samples import run_samples

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TINY = frozenset({("tiny", "small")})
pytestmark = pytest.mark.services


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with pushgateway(tmp_path) as server:
        yield server


def sink_of(url: str, password: str = "", **more: Any) -> PrometheusSink:
    return PrometheusSink(PrometheusSinkConfig(**{"url": url, "timeout_seconds": PATIENCE, **more}), password)


def operation(metric: str, value: float, **labels: str) -> Sample:
    return Sample(metric, value, None, NOON, labels)


def value_of(gateway: Gateway, start: str) -> list[str]:
    return [line.rpartition(" ")[2] for line in gateway.text().splitlines() if line.startswith(start)]


def test_a_run_stands_under_its_model_and_suite(gateway: Gateway) -> None:
    samples, context = run_samples(NOON, unmeasured=["collapsed_head_rate"])
    result = sink_of(gateway.url, labels={"env": "prod"}).publish(samples, context)
    assert (result.sink, result.target, result.not_measured) == ("prometheus", gateway.url, 5)
    assert result.published > 200
    assert gateway.groups() == [
        {"job": "model_health", "model": "tiny", "suite": "small", "part": "last_success"},
        {"job": "model_health", "model": "tiny", "suite": "small"},
    ]
    assert (
        'model_health_entropy_bits_mean{device_class="cpu",env="prod",group="_all",instance="",job="model_health",'
        'model="tiny",over_prompts="mean",suite="small"} 2.5'
    ) in gateway.text().splitlines()
    assert 'metric="collapsed_head_rate"' in gateway.text()


def test_what_is_no_longer_measured_disappears(gateway: Gateway) -> None:
    sink = sink_of(gateway.url)
    sink.publish(*run_samples(NOON))
    assert value_of(gateway, "model_health_collapsed_head_rate{")
    sink.publish(*run_samples(NOON, unmeasured=["collapsed_head_rate"]))
    assert value_of(gateway, "model_health_collapsed_head_rate{") == []
    assert "model_health_not_measured{" in gateway.text()
    sink.publish(*run_samples(NOON))
    assert value_of(gateway, "model_health_collapsed_head_rate{")
    assert 'metric="collapsed_head_rate"' not in gateway.text()


def test_a_run_that_could_not_measure_does_not_move_the_time_of_the_last_success(gateway: Gateway) -> None:
    sink = sink_of(gateway.url)
    sink.publish(*run_samples(NOON))
    sink.publish(*run_samples(NOON + timedelta(hours=1), measured=False))
    assert value_of(gateway, "model_health_run_measured{") == ["0"]
    assert value_of(gateway, "model_health_entropy_bits_mean{") == []
    (moment,) = value_of(gateway, "model_health_run_completed_timestamp_seconds{")
    assert float(moment) == NOON.timestamp()


def test_an_invalid_run_shows_nothing_but_that_it_is_invalid(gateway: Gateway) -> None:
    sink = sink_of(gateway.url)
    sink.publish(*run_samples(NOON))
    sink.publish([operation("report_invalid", 1.0, model="tiny", suite="small")], PublishContext("r"))
    assert value_of(gateway, "model_health_report_invalid{") == ["1"]
    assert value_of(gateway, "model_health_run_measured{") == []
    assert value_of(gateway, "model_health_run_completed_timestamp_seconds{") != []
    sink.publish(*run_samples(NOON))
    sink.publish([operation("report_invalid", 0.0, model="tiny", suite="small")], PublishContext("r"))
    assert value_of(gateway, "model_health_report_invalid{") == ["0"]
    assert value_of(gateway, "model_health_run_measured{") == ["1"]


def test_what_the_system_tells_of_itself_is_replaced_metric_by_metric(gateway: Gateway) -> None:
    sink = sink_of(gateway.url)
    context = PublishContext("r")
    sink.publish(*run_samples(NOON))
    sink.publish([operation("outbox_pending", 3.0, target="a"), operation("outbox_dead", 1.0, target="a")], context)
    sink.publish([operation("outbox_pending", 0.0, target="a")], context)
    verdicts = [("a", 2.0), ("b", 0.0)]
    sink.publish([operation("gate_verdict", v, model="tiny", suite="small", gate=g) for g, v in verdicts], context)
    sink.publish([operation("gate_verdict", 1.0, model="tiny", suite="small", gate="b")], context)
    assert value_of(gateway, "model_health_outbox_pending{") == ["0"]
    assert value_of(gateway, "model_health_outbox_dead{") == ["1"]
    assert sorted(value_of(gateway, "model_health_gate_verdict{")) == ["1", "2"]
    assert value_of(gateway, "model_health_run_measured{") == ["1"]


def test_the_series_of_the_gateway_do_not_grow_with_the_runs(gateway: Gateway) -> None:
    sink = sink_of(gateway.url)
    seen = set()
    for number in range(20):
        sink.publish(*run_samples(NOON + timedelta(hours=number), run_id=f"scheduled__{number}"))
        lines = [line for line in gateway.text().splitlines() if not line.startswith("#")]
        seen |= {line.rpartition(" ")[0] for line in lines}
        assert len(seen) == len(lines)
    assert "scheduled__" not in str(seen)


def test_groups_of_what_is_no_longer_configured_are_deleted_and_no_others(gateway: Gateway) -> None:
    sink, stranger = sink_of(gateway.url), sink_of(gateway.url, job="somebody_else")
    for model in ("tiny", "gone", "a b/ü"):
        sink.publish(*run_samples(NOON, model=model))
    sink.publish([operation("gate_verdict", 2.0, model="gone", suite="small", gate="g")], PublishContext("r"))
    sink.publish([operation("outbox_dead", 2.0, target="webhook:old")], PublishContext("r"))
    stranger.publish(*run_samples(NOON, model="gone"))
    retired = sink.retire(Configured(TINY))
    assert {labels["model"] for labels in retired} == {"gone", "a b/ü"}
    assert len(retired) == 5
    left = [(group["job"], group.get("model"), group.get("target")) for group in gateway.groups()]
    assert sorted(left, key=str) == [
        ("model_health", "tiny", None),
        ("model_health", "tiny", None),
        ("model_health", None, "webhook:old"),
        ("somebody_else", "gone", None),
        ("somebody_else", "gone", None),
    ]
    assert sink.retire(Configured(TINY)) == []
    assert sink.retire(Configured(TINY, targets=frozenset({"local"}))) == [
        {"job": "model_health", "part": "operation", "target": "webhook:old"}
    ]


def test_a_group_of_our_job_with_labels_of_others_is_not_ours_to_delete(gateway: Gateway) -> None:
    from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

    registry = CollectorRegistry()
    Gauge("other", "Not ours.", registry=registry).set(1)
    push_to_gateway(gateway.url, "model_health", registry, {"model": "gone", "instance": "theirs"})
    assert sink_of(gateway.url).retire(Configured(TINY)) == []
    assert len(gateway.groups()) == 1


def test_an_empty_publication_sends_nothing(gateway: Gateway) -> None:
    result = sink_of(gateway.url).publish([], PublishContext("r"))
    assert (result.published, result.not_measured) == (0, 0)
    assert gateway.groups() == []


def test_a_gateway_behind_a_prefix_and_a_password(tmp_path: Path) -> None:
    with pushgateway(tmp_path, prefix="/push/gateway", user="health") as server:
        sink = sink_of(server.url + "/", PASSWORD, user="health", password_secret="gateway")
        sink.publish(*run_samples(NOON))
        assert sink.retire(Configured(frozenset())) != []
        wrong = sink_of(server.url, "planted-wrong-password", user="health", password_secret="gateway")
        with pytest.raises(DeliveryFailed, match="answered 401") as caught:
            wrong.publish(*run_samples(NOON))
        assert caught.value.permanent
        assert "planted" not in str(caught.value)


def test_a_gateway_that_calls_the_metrics_inconsistent_is_not_asked_again(gateway: Gateway) -> None:
    from prometheus_client import CollectorRegistry, Histogram, push_to_gateway

    # Another job pushed our name as a histogram: the gateway refuses ours from then on.
    registry = CollectorRegistry()
    Histogram("model_health_run_measured", "Another type.", registry=registry).observe(1)
    push_to_gateway(gateway.url, "intruder", registry)
    with pytest.raises(DeliveryFailed, match=r"answered 400: .*inconsistent") as caught:
        sink_of(gateway.url).publish(*run_samples(NOON))
    assert caught.value.permanent
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------- what Prometheus sees
def test_a_scrape_returns_the_value_and_a_retired_model_disappears(tmp_path: Path, gateway: Gateway) -> None:
    sink = sink_of(gateway.url)
    sink.publish(*run_samples(NOON))
    sink.publish(*run_samples(NOON, model="gone"))
    query = 'model_health_entropy_bits_mean{over_prompts="max",group="_all"}'
    with prometheus(tmp_path, {"pushgateway": gateway.address}) as server:
        found = server.wait_for(query, lambda result: len(result) == 2)
        labels = {
            "job": "model_health",
            "suite": "small",
            "over_prompts": "max",
            "group": "_all",
            "device_class": "cpu",
        }
        for series, value in found:
            assert value == 4.0
            assert labels.items() <= series.items()
        assert {series["model"] for series, _ in found} == {"tiny", "gone"}
        sink.retire(Configured(TINY))
        ((series, _),) = server.wait_for(query, lambda result: len(result) == 1)
        assert series["model"] == "tiny"


def test_a_dead_job_is_noticed_through_the_age_of_its_last_success(tmp_path: Path, gateway: Gateway) -> None:
    now = datetime.now(UTC)
    sink = sink_of(gateway.url)
    sink.publish(*run_samples(now - timedelta(hours=30)))
    # It still starts, and fails: the gateway shows fresh numbers, and only the last success is old.
    sink.publish(*run_samples(now, measured=False))
    sink.publish(*run_samples(now, model="alive"))
    late = "time() - max by (model, suite) (model_health_run_completed_timestamp_seconds) > 26 * 3600"
    with prometheus(tmp_path, {"pushgateway": gateway.address}) as server:
        ((series, age),) = server.wait_for(late)
        assert series == {"model": "tiny", "suite": "small"}
        assert 30 * 3600 - 60 < age < 31 * 3600
        sink.publish(*run_samples(now))
        server.wait_for(late, lambda result: result == [])


# ------------------------------------------------------------------------------------------------ a sick gateway
@contextmanager
def sick_gateway(*faults: Fault | None) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers 200, or misbehaves as scripted; its address, and the headers of what it was sent."""
    script = list(faults)
    seen: list[dict[str, str]] = []
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append({"method": self.command, "path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
            fault = script.pop(0) if script else None
            misbehave(self, fault or answer(200, b"{}"), closing, b"{}")

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("fault", "said", "permanent", "wait"),
    [
        (answer(400, b"bad"), "answered 400: bad", True, None),
        (answer(403), "answered 403", True, None),
        (answer(413), "answered 413", True, None),
        (answer(404), "check the address and its path prefix", False, None),
        (answer(429, Retry_After="17"), "answered 429", False, 17.0),
        (answer(500), "answered 500", False, None),
        (answer(503, Retry_After="1.5"), "answered 503", False, 1.5),
        (answer(302, Location="http://127.0.0.1:9/"), "answered 302, a redirect", False, None),
        (answer(307, Location="http://127.0.0.1:9/"), "answered 307, a redirect", False, None),
        (RESET, "no answer", False, None),
        (HALF_CLOSED, "no answer", False, None),
        (SILENCE, "no answer: TimeoutError", False, None),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_a_sick_gateway_means_for_the_delivery(
    fault: Fault, said: str, permanent: bool, wait: float | None, first: bool
) -> None:
    script = [fault] if first else [None, fault]
    # A client that is to sit out the second answer has to be patient enough for the healthy first one.
    for patience in (SHORT_PATIENCE, 3.0, PATIENCE) if fault.is_silent else (PATIENCE,):
        with sick_gateway(*script) as (url, seen):
            sink = sink_of(url, "planted-password", user="me", password_secret="p", timeout_seconds=patience)
            with pytest.raises(DeliveryFailed) as caught:
                sink.publish(*run_samples(NOON))
            assert said in str(caught.value)
            assert f"sink prometheus, {url}" in str(caught.value)
            assert "planted" not in repr(caught.value)
            assert (caught.value.permanent, caught.value.retry_after_seconds) == (permanent, wait)
            if len(seen) < len(script) and patience < PATIENCE:
                continue
            assert len(seen) == len(script)
            assert wait_until(lambda sink=sink: is_delivered(lambda: sink.publish(*run_samples(NOON))))
            break


def test_nobody_listens_at_the_address() -> None:
    with pytest.raises(DeliveryFailed, match="no answer: ConnectionRefusedError") as caught:
        sink_of(f"http://127.0.0.1:{free_port()}").publish(*run_samples(NOON))
    assert not caught.value.permanent


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"data": [{}]}', b'{"data": [{"labels": 3}]}'])
def test_a_list_of_groups_that_cannot_be_read_retires_nothing(body: bytes) -> None:
    with sick_gateway(answer(200, body)) as (url, seen):
        with pytest.raises(DeliveryFailed, match="list of groups cannot be read"):
            sink_of(url).retire(Configured(TINY))
        assert [request["method"] for request in seen] == ["GET"]


def test_the_password_travels_in_a_header_only() -> None:
    with sick_gateway() as (url, seen):
        sink_of(url, "planted-password", user="me", password_secret="p").publish(*run_samples(NOON))
        assert {request["authorization"] for request in seen} == {"Basic bWU6cGxhbnRlZC1wYXNzd29yZA=="}
        assert not [request for request in seen if "planted" in str(request)]
