"""E-mail through a real SMTP server: encrypted or not at all, and what each of its answers means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_health.alerting.transports.mail import EmailTransport
from model_health.config.alerting import EmailConfig
from model_health.errors import DeliveryFailed
from support.alerts import an_alert, an_item
from support.prometheus_servers import free_port
from support.smtp import Mailbox, smtp_server

PASSWORD = {"smtp_password": "planted-password"}


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    with smtp_server(tmp_path) as box:
        yield box


def transport(box: Mailbox, **fields: Any) -> EmailTransport:
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": box.port,
        "sender": "canary@example.org",
        "recipients": ["owners@example.org", "boss@example.org"],
        **fields,
    }
    config = EmailConfig.model_validate(values)
    return EmailTransport("email:owners", config, PASSWORD.__getitem__, timeout_seconds=60, tls=box.trust)


def refused(box: Mailbox, **fields: Any) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        transport(box, **fields).deliver(an_item())
    assert str(caught.value).startswith("email:owners: ")
    assert "planted-password" not in str(caught.value)
    return caught.value


def test_a_mail_arrives_encrypted_at_every_recipient(mailbox: Mailbox) -> None:
    transport(mailbox, user="canary", password_secret="smtp_password").deliver(an_item())
    (mail,) = mailbox.mails
    assert mailbox.encrypted == [True]
    assert mailbox.logins == ["\0canary\0planted-password"]
    assert mailbox.recipients == [["owners@example.org", "boss@example.org"]]
    assert mail["Subject"] == "[FAIL] smollm2-135m / core: non-finite raised"
    assert mail["From"] == "canary@example.org"
    assert mail["X-Model-Health-Key"] == an_alert().key
    text, html = (part.get_content() for part in mail.iter_parts())
    assert "What: prompts that raise nan_detected is 2, above 0 in the last run" in text
    assert "First seen: prompt fact-1, step 3, layer 7" in text
    assert "<td>prompt fact-1, step 3, layer 7</td>" in html


def test_the_same_message_has_the_same_id_and_mails_of_one_alert_form_a_thread(mailbox: Mailbox) -> None:
    raised = an_alert()
    recovered = an_alert(
        kind="recovered", verdict="pass", previous="fail", key="smollm2-135m/core/non-finite/2/recovered/9"
    )
    for alert in (raised, raised, recovered):
        transport(mailbox).deliver(an_item(alert))
    first, again, last = mailbox.mails
    assert first["Message-ID"] == again["Message-ID"] != last["Message-ID"]
    assert first["References"] == last["References"]


def test_nothing_is_sent_over_a_connection_that_cannot_be_encrypted() -> None:
    with smtp_server() as plain:
        error = refused(plain)
        assert error.permanent
        assert "STARTTLS" in str(error)
        assert plain.mails == []


def test_a_certificate_that_nobody_trusts_is_refused(mailbox: Mailbox) -> None:
    mailbox.trust = None
    assert "certificate is not trusted" in str(refused(mailbox))
    assert mailbox.mails == []


def test_without_encryption_where_the_configuration_says_so() -> None:
    with smtp_server() as plain:
        transport(plain, security="none").deliver(an_item())
        assert plain.encrypted == [False]


@pytest.mark.parametrize(
    ("refuse", "permanent", "words"),
    [
        ({"RCPT": "550 no such user"}, True, "no recipient was accepted"),
        ({"RCPT": "451 greylisted"}, False, "no recipient was accepted"),
        ({"MAIL": "552 too large"}, True, "answered 552 too large"),
        ({"DATA": "452 disk full"}, False, "answered 452 disk full"),
        ({"DATA": "554 spam"}, True, "answered 554 spam"),
        ({"MAIL": "hang up"}, False, "no answer from 127.0.0.1"),
        ({"CONNECT": "421 too busy"}, False, "answered 421 too busy"),
    ],
)
def test_a_refusal_is_permanent_if_the_server_says_so(
    mailbox: Mailbox, refuse: dict[str, str], permanent: bool, words: str
) -> None:
    mailbox.refuse = refuse
    error = refused(mailbox)
    assert error.permanent is permanent
    assert words in str(error)


def test_a_wrong_password_is_said_without_the_password(mailbox: Mailbox) -> None:
    mailbox.refuse = {"AUTH": "535 bad credentials"}
    error = refused(mailbox, user="canary", password_secret="smtp_password")
    assert error.permanent
    assert "535 bad credentials" in str(error)


def test_one_refused_recipient_does_not_send_the_mail_twice_to_the_others(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.refuse = {"RCPT TO:<boss@example.org>": "550 gone"}
    transport(mailbox).deliver(an_item())
    assert mailbox.recipients == [["owners@example.org"]]
    assert "1 of 2 recipients refused" in caplog.text


def test_a_farewell_that_fails_does_not_undo_a_delivery(mailbox: Mailbox) -> None:
    mailbox.refuse = {"QUIT": "hang up"}
    transport(mailbox).deliver(an_item())
    assert len(mailbox.mails) == 1


def test_a_server_that_is_not_there_is_tried_again(mailbox: Mailbox) -> None:
    mailbox.port = free_port()
    assert refused(mailbox).permanent is False


def test_an_address_that_would_break_a_header_is_refused_by_the_configuration() -> None:
    from pydantic import ValidationError

    for address in ("a@b\nBcc: c@d", "a b@c", "<a@b>", "a@b,c@d", "nobody"):
        with pytest.raises(ValidationError):
            transport(Mailbox(port=25), sender=address)
