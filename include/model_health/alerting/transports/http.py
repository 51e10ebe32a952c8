"""One HTTP POST, without redirects, retries or surprises, and what its failure means. Knows nothing of alerts.

The address may itself be a secret (a webhook's is), so no message holds more of it than the host.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from model_health.alerting.transports.base import TIMEOUT_SECONDS
from model_health.config.redact import redact_line
from model_health.errors import ConfigError, DeliveryFailed

PERMANENT = frozenset({400, 401, 403, 410, 413, 415, 422})
"""Answers that the same message will get again. An address that is wrong (404) is put right by somebody: until then the
message waits."""
MAX_ANSWER = 2048
"""Bytes of an answer that are looked at."""
MAX_SAID = 200
"""Characters of it that are repeated."""


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
    passing = error.code not in PERMANENT
    try:
        said = redact_line(error.read(MAX_ANSWER).decode("utf-8", "replace"), secrets)[:MAX_SAID]
    except (OSError, http.client.HTTPException):
        said = ""
    hint = "a redirect is not followed: use its address" if 300 <= error.code < 400 else ""
    return DeliveryFailed(
        f"answered {error.code}" + (f": {said}" if said else ""),
        subject=subject,
        hint=hint,
        permanent=not passing,
        retry_after_seconds=retry_after(error.headers.get("Retry-After")) if passing else None,
    )


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header (a number, or a date); None where it says nothing that can be followed."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
