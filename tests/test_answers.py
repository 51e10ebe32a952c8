"""What an HTTP answer means for a delivery, and which of the other side's words are repeated."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.answers import MAX_DETAIL, MAX_WAIT_SECONDS, refused, shortened, unreachable

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"retry-after": "0"}, 0.0),
        ({"RETRY-AFTER": "Sun, 22 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"Retry-After": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "99999999999"}, MAX_WAIT_SECONDS),
        ({"X-RateLimit-Reset": "7"}, 7.0),
        ({"X-RateLimit-Reset": "7", "Retry-After": "3"}, 7.0),
        ({"Retry-After": "21 Oct 99999999999999999999 1:1:1"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 +99999999999999999999"}, None),
        ({"X-RateLimit-Reset": "soon", "Retry-After": "tomorrow"}, None),
    ],
)
def test_the_longer_of_what_the_other_side_asks_for_is_waited(headers: dict[str, str], wait: float | None) -> None:
    error = refused(429, headers, subject="sink", now=NOON)
    assert error.retry_after_seconds == wait
    assert not error.permanent


@given(text=st.text(max_size=60))
def test_no_header_breaks_the_reading(text: str) -> None:
    wait = refused(503, {"Retry-After": text, "X-RateLimit-Reset": text}, subject="sink", now=NOON).retry_after_seconds
    assert wait is None or 0 <= wait <= MAX_WAIT_SECONDS


@pytest.mark.parametrize("status", [400, 401, 403, 410, 413, 415, 422])
def test_what_will_never_be_taken(status: int) -> None:
    assert refused(status, {}, subject="sink").permanent


@pytest.mark.parametrize("status", [301, 404, 405, 408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_be_taken_later(status: int) -> None:
    assert not refused(status, {}, subject="sink").permanent


@given(
    before=st.text(max_size=300),
    after=st.text(max_size=300),
    secret=st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12, max_size=40),
)
def test_a_secret_that_the_other_side_echoes_is_not_repeated(before: str, after: str, secret: str) -> None:
    error = refused(400, {}, subject="sink", detail=f"{before}{secret}{after}", secrets=[secret])
    assert secret not in str(error)
    assert secret not in str(unreachable(OSError(f"{before}{secret}{after}"), subject="sink", secrets=[secret]))


def test_a_secret_is_not_parted_by_the_cut() -> None:
    secret = "planted-secret-value"
    for length in range(MAX_DETAIL - 25, MAX_DETAIL + 5):
        assert "planted" not in shortened("x" * length + " " + secret, [secret])


def test_a_long_body_is_one_short_line() -> None:
    text = str(refused(500, {}, subject="sink", detail="line\n" * 1_000_000))
    assert "\n" not in text
    assert len(text) < MAX_DETAIL + 100


def test_an_empty_secret_hides_nothing() -> None:
    assert shortened("as it is", ["", "zzz"]) == "as it is"


def test_the_cause_behind_an_error_is_named() -> None:
    from urllib.error import URLError

    assert "ConnectionRefusedError: " in str(unreachable(URLError(ConnectionRefusedError(111, "no")), subject="sink"))
    assert str(unreachable(TimeoutError(), subject="sink")) == "sink: no answer: TimeoutError"
