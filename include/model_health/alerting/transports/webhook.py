"""Webhooks that take Slack's JSON. Owns the body's signature; what the body says is `render`'s matter.

Signed, a message carries `X-Model-Health-Signature: t=<seconds>,v1=<hex>`: the HMAC-SHA256, under the shared key, of
the seconds, a dot and the body. A receiver checks it, and refuses a time that lies far back.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

from model_health.alerting.render import slack_body
from model_health.alerting.transports.base import TIMEOUT_SECONDS, alert_in
from model_health.alerting.transports.http import post_json, to_body
from model_health.config.alerting import WebhookConfig
from model_health.store.index.index import utc_now
from model_health.store.index.outbox import OutboxItem

TELLING = 8
"""Characters from which on a piece of an address may be a secret; a shorter one is a word such as `hooks`."""

Secrets = Callable[[str], str]
"""The value of a secret by its name; raises `ConfigError` (`Settings.secret`)."""


class WebhookTransport:
    """Sends to one webhook.

    Args:
        name: the target, such as `webhook:team`.
        config: names the secrets.
        secrets: gives them; asked when something is sent, so that a missing one harms no other transport.
        clock: the present, for the signature.
        timeout_seconds: for each wait on the other side.
    """

    def __init__(
        self,
        name: str,
        config: WebhookConfig,
        secrets: Secrets,
        *,
        clock: Callable[[], datetime] = utc_now,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.name = name
        self._config = config
        self._secrets = secrets
        self._clock = clock
        self._timeout_seconds = timeout_seconds

    def deliver(self, item: OutboxItem) -> None:
        """See `Transport`."""
        alert = alert_in(item)
        body = to_body(slack_body(alert))
        headers = {"Idempotency-Key": alert.key}
        url = self._secrets(self._config.url_secret)
        secrets = [url, *parts_of(url)]
        if self._config.signing_secret is not None:
            secrets.append(self._secrets(self._config.signing_secret))
            stamp = int(self._clock().timestamp())
            headers["X-Model-Health-Signature"] = signature(secrets[-1], stamp, body)
        post_json(url, body, subject=self.name, headers=headers, timeout_seconds=self._timeout_seconds, secrets=secrets)


def parts_of(url: str) -> list[str]:
    """What of a webhook's address lets somebody post there, should an answer repeat only a part of it."""
    parts = urlsplit(url)
    pieces = (parts.path, parts.query, *re.split(r"[/?&=;]", f"{parts.path}?{parts.query}"))
    return [piece for piece in pieces if len(piece) >= TELLING]


def signature(key: str, seconds: int, body: bytes) -> str:
    """The signature header of a body sent at `seconds` since 1970."""
    digest = hmac.new(key.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"
