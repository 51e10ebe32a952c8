"""Whatever a sink or a webhook answers, it took what was sent, or a delivery failed: one line, and no secret in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.alerting.transports.alertmanager import AlertmanagerTransport
from model_health.alerting.transports.webhook import WebhookTransport
from model_health.answers import MAX_WAIT_SECONDS, refused
from model_health.config.alerting import AlertmanagerConfig, WebhookConfig
from model_health.config.sinks import DatadogSinkConfig, PrometheusSinkConfig
from model_health.errors import DeliveryFailed
from model_health.monitors.datadog_api import DatadogApi
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext
from model_health.sinks.datadog import DatadogSink
from model_health.sinks.groups import Configured
from model_health.sinks.prometheus import PrometheusSink
from support.alerts import an_item
from support.fuzzing import Guard, attempt, fuzz
from support.raw_answers import DATES, HEADERS, NUMBERS, WORDS, RawServer, answers, raw_server

ENTRY = "sink responses"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECRET = "PLANTED-0123456789abcdef"
LABELS = {"model": "tiny", "suite": "small"}
SAMPLES = [Sample("entropy_bits_mean", 1.5, None, NOW, LABELS)]
CONTEXT = PublishContext("manual__1", {"revision": "abc"})
EVENT = {"title": "t", "text": "x", "at": NOW.isoformat(), "verdict": "unhealthy", "labels": LABELS}
CHECK = {"status": "critical", "message": "m", "at": NOW.isoformat(), "labels": LABELS}
CONFIGURED = Configured(frozenset({("tiny", "small")}))


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with raw_server() as listening:
        yield listening


def datadog(url: str) -> DatadogSink:
    config = DatadogSinkConfig(url=url, timeout_seconds=30, connect_timeout_seconds=30)
    return DatadogSink(config, SECRET, clock=lambda: NOW)


def gateway(url: str) -> PrometheusSink:
    config = PrometheusSinkConfig(url=url, timeout_seconds=30, user="u", password_secret="key")
    return PrometheusSink(config, SECRET)


def webhook(url: str) -> WebhookTransport:
    config = WebhookConfig(url_secret="team_url", signing_secret="key")
    given = {"team_url": f"{url}/services/{SECRET}", "key": SECRET}
    return WebhookTransport("webhook:team", config, given.__getitem__, clock=lambda: NOW)


def alertmanager(url: str) -> AlertmanagerTransport:
    config = AlertmanagerConfig(url=url, user="u", password_secret="key")
    return AlertmanagerTransport("alertmanager", config, lambda _: SECRET, clock=lambda: NOW)


ASKS: dict[str, Callable[[str], Any]] = {
    "datadog series": lambda url: datadog(url).publish(SAMPLES, CONTEXT),
    "datadog event": lambda url: datadog(url).publish_event(EVENT, "key"),
    "datadog check": lambda url: datadog(url).publish_check(CHECK, "key"),
    "datadog monitors": lambda url: DatadogApi(DatadogSinkConfig(url=url), SECRET, SECRET).monitors(["a:b"]),
    "gateway push": lambda url: gateway(url).publish(SAMPLES, CONTEXT),
    "gateway groups": lambda url: gateway(url).retire(CONFIGURED),
    "webhook": lambda url: webhook(url).deliver(an_item()),
    "alertmanager": lambda url: alertmanager(url).deliver(an_item()),
}


@fuzz(full=2400, short=60)
@given(ask=st.sampled_from(sorted(ASKS)), answer=answers())
def test_any_answer_is_taken_or_a_failed_delivery(server: RawServer, ask: str, answer: bytes, guard: Guard) -> None:
    server.answer = answer
    found = attempt(ENTRY, lambda: ASKS[ask](server.url), guard)
    if isinstance(found, DeliveryFailed):
        assert SECRET not in str(found)
        assert found.retry_after_seconds is None or 0 <= found.retry_after_seconds <= MAX_WAIT_SECONDS
    else:
        assert not isinstance(found, Exception), found


texts = st.one_of(st.sampled_from([*DATES, *NUMBERS, *WORDS]), st.text(max_size=20))


@fuzz(full=600, short=60)
@given(
    status=st.integers(-1, 1000),
    headers=st.dictionaries(st.one_of(st.sampled_from(HEADERS), st.just("retry-after")), texts),
    detail=st.one_of(texts, st.text().map(lambda text: text + SECRET + text)),
)
def test_any_refusal_is_classified(status: int, headers: dict[str, str], detail: str) -> None:
    def classify() -> None:
        raise refused(status, headers, subject="sink", detail=detail, secrets=[SECRET], now=NOW)

    found = attempt(ENTRY, classify)
    assert isinstance(found, DeliveryFailed)
    assert SECRET not in str(found)
    assert found.retry_after_seconds is None or 0 <= found.retry_after_seconds <= MAX_WAIT_SECONDS
