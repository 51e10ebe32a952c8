"""One POST against a real server: what each answer means, and that the address is never repeated."""

from __future__ import annotations

import pytest

from model_health.alerting.transports.http import check_url, post_json
from model_health.errors import ConfigError, DeliveryFailed
from support.prometheus_servers import free_port
from support.webhook import Answer, Webhook, webhook_server


def refused(webhook: Webhook, *answers: Answer) -> DeliveryFailed:
    webhook.answers = list(answers)
    with pytest.raises(DeliveryFailed) as caught:
        post_json(webhook.url, b"{}", subject="webhook:team", timeout_seconds=60)
    assert "/services/" not in str(caught.value)
    assert str(caught.value).startswith("webhook:team: ")
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_is_delivered(webhook: Webhook, status: int) -> None:
    webhook.answers = [Answer(status, b"")]
    post_json(webhook.url, b'{"a":1}', subject="webhook:team", headers={"Idempotency-Key": "k"})
    (received,) = webhook.received
    assert received.json == {"a": 1}
    assert received.headers["Idempotency-Key"] == "k"
    assert received.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(400, True), (401, True), (403, True), (404, False), (408, False), (410, True), (413, True), (422, True),
     (429, False), (500, False), (502, False), (503, False), (504, False)],
)  # fmt: skip
def test_an_answer_that_will_not_change_is_permanent(webhook: Webhook, status: int, permanent: bool) -> None:
    error = refused(webhook, Answer(status, b"no_text"))
    assert error.permanent is permanent
    assert f"answered {status}: no_text" in str(error)


def test_the_wait_that_the_other_side_asks_for_is_handed_on(webhook: Webhook) -> None:
    assert refused(webhook, Answer(429, headers={"Retry-After": "17"})).retry_after_seconds == 17
    assert refused(webhook, Answer(503)).retry_after_seconds is None


def test_a_redirect_is_not_followed(webhook: Webhook) -> None:
    with webhook_server() as elsewhere:
        error = refused(webhook, Answer(302, headers={"Location": elsewhere.url}))
        assert elsewhere.received == []
    assert "answered 302, a redirect" in str(error)


def test_a_connection_that_breaks_or_is_refused_is_tried_again(webhook: Webhook) -> None:
    assert refused(webhook, Answer(hang_up=True)).permanent is False
    with pytest.raises(DeliveryFailed, match=r"no answer from 127\.0\.0\.1") as caught:
        post_json(f"http://127.0.0.1:{free_port()}/secret", b"{}", subject="webhook:team")
    assert caught.value.permanent is False
    assert "secret" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(webhook: Webhook) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/secret"
        with pytest.raises(DeliveryFailed, match="no answer from"):
            post_json(url, b"{}", subject="webhook:team", timeout_seconds=0.2)


def test_a_server_that_speaks_something_else_is_an_error_of_ours() -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9\r\n\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(DeliveryFailed, match="BadStatusLine"):
            post_json(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", subject="webhook:team", timeout_seconds=60)
        thread.join(60)


def test_a_long_answer_is_cut_and_its_secrets_are_hidden(webhook: Webhook) -> None:
    error = refused(webhook, Answer(400, b"token=abcdefgh12345 " + b"x" * 100_000))
    assert "abcdefgh12345" not in str(error)
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/x", "gopher://host", "http://", "/path", "", "http://host:99999/",
     "http://h/\r\nX: y", "http://[::1", "http://h/ö"],
)  # fmt: skip
def test_only_plain_web_addresses_are_taken_and_none_is_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_url(url, "webhook:team")
    assert str(caught.value) == "webhook:team: is not an http or https address"
