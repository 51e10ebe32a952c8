"""The Prometheus sink: pushes the newest run of a (model, suite) to a Pushgateway.

Owns the protocol. What one push replaces is a group of the gateway (see `sinks.groups`), whose key is

    job, model, suite                       for a run
    job, model, suite, part=last_success    for the time of the last run that measured
    job, part=operation, further labels     for what Model Health tells of itself, replaced metric by metric

The gateway forgets nothing by itself, so `retire` deletes what is no longer configured. No redirect is followed: it
would take the password along.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from model_health.answers import refused, unreachable
from model_health.config.settings import Settings
from model_health.config.sinks import PrometheusSinkConfig, load_sinks
from model_health.errors import ConfigError, DeliveryFailed
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext, PublishResult
from model_health.sinks.exposition import registry_of
from model_health.sinks.groups import KEYS, Configured, Group, groups_of
from model_health.sinks.series import series_of

PART = "part"
GROUPING = frozenset({"job", PART, *KEYS})
"""Labels of our groups. A group of the same job that has others was pushed by somebody else."""

MAX_BODY = 64 * 2**20
"""Bytes that the gateway's list of groups may have."""


def open_sink(settings: Settings) -> PrometheusSink:
    """The sink that `sinks.yaml` sets up. Raises `ConfigError` if it sets up none, or its password is missing."""
    config = load_sinks(settings).prometheus
    if config.url is None:
        raise ConfigError("has no address", subject="sink prometheus", hint="set prometheus.url in configs/sinks.yaml")
    password = "" if config.password_secret is None else settings.secret(config.password_secret)
    return PrometheusSink(config, password)


class PrometheusSink:
    """Pushes to the gateway at `config.url`; `password` belongs to `config.user`."""

    name = "prometheus"

    def __init__(self, config: PrometheusSinkConfig, password: str = "") -> None:
        self._config = config
        self._url = config.url or ""
        self._password = password
        self._subject = f"sink prometheus, {self._url}"

    def publish(self, samples: Sequence[Sample], context: PublishContext) -> PublishResult:
        """Replace the groups that the samples belong to.

        Raises:
            DeliveryFailed: the gateway did not take them; some groups may be replaced already, and will be again.
            StoreError: a label is not known to have few values.
        """
        series = series_of(samples, context, by_group=self._config.by_group, extra=self._config.labels)
        for group in groups_of(series):
            self._push(group)
        missing = sum(sample.value is None for sample in samples)
        return PublishResult(self.name, self._url, len(series), missing)

    def retire(self, configured: Configured) -> list[dict[str, str]]:
        """Delete the groups of our job that belong to nothing that is configured; their labels, in order.

        Raises:
            DeliveryFailed: the gateway did not answer, or not with a list of its groups.
        """
        ours = [labels for labels in self._groups() if labels.get("job") == self._config.job]
        retired = [labels for labels in ours if labels.keys() <= GROUPING and not configured.covers(labels)]
        retired.sort(key=lambda labels: sorted(labels.items()))
        for labels in retired:
            self._delete({name: value for name, value in labels.items() if name != "job"})
        return retired

    def _push(self, group: Group) -> None:
        from prometheus_client import push_to_gateway, pushadd_to_gateway

        key = dict(group.key) if group.part == "run" else {**dict(group.key), PART: group.part}
        if not group.series:
            self._delete(key)
            return
        push = pushadd_to_gateway if group.part == "operation" else push_to_gateway
        registry = registry_of(group.series, dropped=key)
        push(self._url, self._config.job, registry, key, self._config.timeout_seconds, self._handler)

    def _delete(self, key: dict[str, str]) -> None:
        from prometheus_client import delete_from_gateway

        delete_from_gateway(self._url, self._config.job, key, self._config.timeout_seconds, self._handler)

    def _groups(self) -> list[dict[str, str]]:
        body = self._send(f"{self._url}/api/v1/metrics", "GET", [], b"")
        try:
            groups = json.loads(body)["data"]
            return [{str(name): str(value) for name, value in group["labels"].items()} for group in groups]
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise DeliveryFailed("the list of groups cannot be read", subject=self._subject) from err

    def _handler(
        self, url: str, method: str, timeout: float | None, headers: list[tuple[str, str]], data: bytes
    ) -> Callable[[], None]:
        """What the client library calls to send a request."""

        def send() -> None:
            self._send(url, method, headers, data)

        return send

    def _send(self, url: str, method: str, headers: Sequence[tuple[str, str]], data: bytes) -> bytes:
        request = Request(url, data=data or None, method=method, headers=dict(headers))  # noqa: S310  # checked config
        if self._config.user is not None:
            pair = base64.b64encode(f"{self._config.user}:{self._password}".encode())
            request.add_unredirected_header("Authorization", f"Basic {pair.decode('ascii')}")
            secrets = [self._password, pair.decode("ascii")]
        else:
            secrets = []
        try:
            with build_opener(_NoRedirect).open(request, timeout=self._config.timeout_seconds) as answer:
                body: bytes = answer.read(MAX_BODY)
                return body
        except HTTPError as err:
            said = ""
            with err, contextlib.suppress(OSError, HTTPException):
                said = err.read(10_000).decode("utf-8", "replace")
            failure = refused(err.code, dict(err.headers), subject=self._subject, detail=said, secrets=secrets)
        except (OSError, HTTPException) as err:
            failure = unreachable(err, subject=self._subject, secrets=secrets)
        raise failure


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Leave a redirect as the error that it is here."""
        return
