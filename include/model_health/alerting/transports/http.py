"""One HTTP POST, without redirects, retries or surprises. Knows nothing of alerts; `answers` says what a failure means.

The address may itself be a secret (a webhook's is), so no message holds more of it than the host.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from model_health.alerting.transports.base import TIMEOUT_SECONDS
from model_health.answers import refused
from model_health.errors import ConfigError, DeliveryFailed

MAX_ANSWER = 2048
"""Bytes of an answer that are looked at."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the message, and its signature, to somebody else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


# Only these: urllib's usual opener also reads files and speaks FTP.
_OPENER = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.ProxyHandler(),
    urllib.request.HTTPHandler(),
    urllib.request.HTTPSHandler(),
    urllib.request.HTTPDefaultErrorHandler(),
    urllib.request.HTTPErrorProcessor(),
    _NoRedirect(),
):
    _OPENER.add_handler(_handler)


def check_url(url: str, subject: str) -> str:
    """`url` if it is http or https and names a host. Raises `ConfigError`, which does not repeat it."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:
        whole = False
    if not whole or any(not " " < character <= "~" for character in url):
        raise ConfigError("is not an http or https address", subject=subject)
    return url


def post_json(
    url: str,
    body: bytes,
    *,
    subject: str,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    secrets: Sequence[str] = (),
) -> None:
    """Send JSON; returns if the answer was 2xx.

    Args:
        url: http or https.
        body: the JSON.
        subject: what errors name; never the address.
        headers: beside the content's type.
        timeout_seconds: for each wait on the other side.
        secrets: what must not be repeated, should the other side echo it.

    Raises:
        DeliveryFailed: any other answer, or none. Permanent for answers that will not change.
        ConfigError: `url` is no address.
    """
    request = urllib.request.Request(  # noqa: S310  # the opener knows http and https only
        check_url(url, subject),
        data=body,
        method="POST",
        headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": "model-health", **(headers or {})},
    )
    host = urlsplit(url).hostname
    try:
        with _OPENER.open(request, timeout=timeout_seconds) as answer:
            answer.read1(MAX_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error, subject, secrets) from None
    except (OSError, http.client.HTTPException) as error:
        # `from None`: urllib's own words may hold the address.
        cause = getattr(error, "reason", error)
        detail = getattr(cause, "strerror", None) or type(cause).__name__
        raise DeliveryFailed(f"no answer from {host}: {detail}", subject=subject) from None


def to_body(content: object) -> bytes:
    """JSON as it is sent and signed."""
    return json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def basic_auth(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _refused(error: urllib.error.HTTPError, subject: str, secrets: Sequence[str]) -> DeliveryFailed:
    try:
        said = error.read(MAX_ANSWER).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        said = ""
    return refused(error.code, dict(error.headers), subject=subject, detail=said, secrets=secrets)
