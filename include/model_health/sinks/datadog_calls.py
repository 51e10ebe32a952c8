"""Calls of Datadog's client: one at a time, without its own retries, and every failure as a `DeliveryFailed`.

Owns the connection's settings and the classification of what goes wrong. The outbox alone decides when to try again:
a client that retries would hold up the sinks behind it, and follow a redirect with the key in its headers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from model_health.answers import refused, unreachable
from model_health.config.sinks import DatadogSinkConfig
from model_health.errors import DeliveryFailed
from model_health.sinks.datadog_series import Json

if TYPE_CHECKING:
    from datadog_api_client import ApiClient
    from datadog_api_client.v2.model.metric_payload import MetricPayload

MAX_ANSWER = 32 * 2**20
"""Bytes of an answer, unpacked: a page of a hundred dashboards has less."""


@contextmanager
def open_client(config: DatadogSinkConfig, api_key: str) -> Iterator[ApiClient]:
    """A client of the configured site or relay, whatever DD_* variables say."""
    import urllib3
    from datadog_api_client import ApiClient, Configuration

    configuration = Configuration(
        host=base_address(config),
        api_key={"apiKeyAuth": api_key},
        request_timeout=(config.connect_timeout_seconds, config.timeout_seconds),
        enable_retry=False,
        retry_policy=urllib3.Retry(0, redirect=False),
    )
    with ApiClient(configuration) as client:
        pools = client.rest_client.pool_manager
        pools.request = _bounded(pools.request)
        yield client


def _bounded(request: Callable[..., Any]) -> Callable[..., Any]:
    """The client reads an answer whole, and unpacks it: here it gets no more than the first `MAX_ANSWER` bytes."""

    def send(method: str, url: str, **options: Any) -> Any:
        import urllib3

        with request(method, url, **{**options, "preload_content": False}) as answer:
            body = answer.read(MAX_ANSWER + 1, decode_content=True)
            if len(body) > MAX_ANSWER:
                raise urllib3.exceptions.HTTPError(f"the answer is larger than {MAX_ANSWER // 2**20} MiB")
            headers = _plain(answer.headers)
            return urllib3.HTTPResponse(io.BytesIO(body), headers, status=answer.status, reason=answer.reason)

    return send


def _plain(headers: Any) -> dict[str, str]:
    """The headers of an answer that is unpacked already."""
    return {
        name: value for name, value in headers.items() if name.lower() not in ("content-encoding", "content-length")
    }


def base_address(config: DatadogSinkConfig) -> str:
    """Where requests go."""
    return config.url or f"https://api.{config.site}"


def call(send: Callable[[], Any], *, subject: str, secrets: list[str]) -> Any:
    """What `send` returns.

    Raises:
        DeliveryFailed: the other side refused, did not answer, or answered what its API never says.
    """
    import urllib3
    from datadog_api_client.exceptions import ApiException, OpenApiException

    try:
        return send()
    except ApiException as err:
        if not err.status:
            failure = unreachable(err, subject=subject, secrets=secrets)
        else:
            detail = err.body if isinstance(err.body, str) else _errors(err.body)
            failure = refused(int(err.status), err.headers or {}, subject=subject, detail=detail, secrets=secrets)
    except (urllib3.exceptions.HTTPError, OSError) as err:
        failure = unreachable(err, subject=subject, secrets=secrets)
    except (OpenApiException, ValueError, LookupError, TypeError, AttributeError, RecursionError) as err:
        # The status said that it was taken, but not by whom: a proxy's sign-in page answers 200 as well. The client
        # passes a list of values on as arguments of its models.
        reason = f"answered what Datadog never says ({type(err).__name__})"
        failure = DeliveryFailed(reason, subject=subject, hint="check the site and any proxy on the way")
    raise failure


def metric_payload(series: Sequence[Json]) -> MetricPayload:
    """The JSON of `datadog_series` in the client's own models, which check it."""
    from datadog_api_client.v2.model.metric_intake_type import MetricIntakeType
    from datadog_api_client.v2.model.metric_payload import MetricPayload
    from datadog_api_client.v2.model.metric_point import MetricPoint
    from datadog_api_client.v2.model.metric_resource import MetricResource
    from datadog_api_client.v2.model.metric_series import MetricSeries

    typed = []
    for one in series:
        fields = {**one, "type": MetricIntakeType(one["type"])}
        fields["points"] = [MetricPoint(**point) for point in one["points"]]
        if "resources" in one:
            fields["resources"] = [MetricResource(**resource) for resource in one["resources"]]
        typed.append(MetricSeries(**fields))
    return MetricPayload(series=typed)


def _errors(body: Any) -> str:
    """The messages of an error's body."""
    errors = body.get("errors") if isinstance(body, dict) else None
    return "; ".join(map(str, errors)) if isinstance(errors, list) else str(body or "")
