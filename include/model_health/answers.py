"""What an HTTP answer, or the lack of one, means for a delivery: try again, when, or never.

Owns the classification, for sinks, alert transports and monitors alike, and what of the other side's words may be
repeated: one line, cut, without credentials. Knows no client library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from model_health.config.redact import hide, redact_line
from model_health.errors import DeliveryFailed

PERMANENT = frozenset({400, 401, 403, 410, 413, 415, 422})
"""The same request will not be taken later either: it is malformed or too large, the key is wrong, or the receiver
was removed. An address that is wrong (404) is put right by somebody: until then things wait."""

MAX_DETAIL = 200
MAX_WAIT_SECONDS = 86_400.0
"""A server that asks for more is taken for one whose clock is wrong."""

_HINTS = {
    400: "the other side calls it malformed",
    401: "check the credentials",
    403: "check the key and its permissions",
    404: "check the address and its path prefix",
    413: "lower the size of a batch",
}


def refused(
    status: int,
    headers: Mapping[str, str],
    *,
    subject: str,
    detail: str = "",
    secrets: Sequence[str] = (),
    now: datetime | None = None,
) -> DeliveryFailed:
    """The error for an answer that is not a success.

    Args:
        status: of the answer.
        headers: of the answer, in any case.
        subject: the sink and where it sends.
        detail: the answer's body.
        secrets: what must not be repeated, should the other side have echoed it.
        now: the present, for a Retry-After that is a date.
    """
    said = shortened(detail, secrets)
    where = {name.lower(): value for name, value in headers.items()}
    reason = f"answered {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        # Followed, the credentials would go to whoever the redirect names.
        return DeliveryFailed(f"answered {status}, a redirect", subject=subject, hint="configure the address behind it")
    return DeliveryFailed(
        reason,
        subject=subject,
        hint=_HINTS.get(status, ""),
        permanent=status in PERMANENT,
        retry_after_seconds=_wait(where, now),
    )


def unreachable(error: BaseException, *, subject: str, secrets: Sequence[str] = ()) -> DeliveryFailed:
    """The error for a connection that failed or broke: whether the other side took the request is not known."""
    inner = getattr(error, "reason", None)
    cause = inner if isinstance(inner, BaseException) else error
    said = shortened(str(cause), secrets)
    name = type(cause).__name__
    return DeliveryFailed(f"no answer: {name}: {said}" if said else f"no answer: {name}", subject=subject)


def shortened(text: str, secrets: Sequence[str] = ()) -> str:
    """One line of somebody else's text, cut, with every known secret and whatever looks like one taken out."""
    # Cut first to a bounded length, so that a body of megabytes costs nothing; at last, so that no secret is parted.
    return redact_line(hide(text, secrets)[:10_000])[:MAX_DETAIL].strip()


def _wait(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """Seconds until the other side wants to hear of us again: the longer of what it says in its two ways."""
    waits = [_seconds(headers.get("x-ratelimit-reset", "")), _retry_after(headers.get("retry-after", ""), now)]
    known = [wait for wait in waits if wait is not None]
    return min(max(known), MAX_WAIT_SECONDS) if known else None


def _retry_after(text: str, now: datetime | None) -> float | None:
    seconds = _seconds(text)
    if seconds is not None or not text.strip():
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # no date, or a year or zone of twenty digits
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
