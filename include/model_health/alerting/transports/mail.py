"""E-mail by SMTP, encrypted unless the configuration says otherwise. Owns what each of a server's answers means."""

from __future__ import annotations

import base64
import logging
import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage

from model_health.alerting.render import email
from model_health.alerting.transports.base import TIMEOUT_SECONDS, alert_in
from model_health.alerting.transports.webhook import Secrets
from model_health.config.alerting import EmailConfig
from model_health.config.redact import redact_line
from model_health.errors import DeliveryFailed
from model_health.store.index.outbox import OutboxItem

_log = logging.getLogger(__name__)


class EmailTransport:
    """Sends to the recipients of one entry of the configuration.

    Args:
        name: the target, such as `email:owners`.
        config: server, sender, recipients.
        secrets: gives the password.
        timeout_seconds: for each wait on the server.
        tls: trusted certificates; None: those of the system.
    """

    def __init__(
        self,
        name: str,
        config: EmailConfig,
        secrets: Secrets,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._config = config
        self._secrets = secrets
        self._timeout_seconds = timeout_seconds
        self._tls = tls

    def deliver(self, item: OutboxItem) -> None:
        """See `Transport`. Mail that at least one recipient got is delivered; who was refused is logged."""
        message = email(alert_in(item), sender=self._config.sender, recipients=self._config.recipients)
        password = self._secrets(self._config.password_secret) if self._config.password_secret else None
        secrets = _forms(self._config.user or "", password) if password else ()
        try:
            self._send(message, password)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise self._failed("no recipient was accepted", all(code >= 500 for code in codes)) from None
        except smtplib.SMTPResponseException as error:
            text = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else ""
            raise self._failed(f"answered {error.smtp_code} {text}", error.smtp_code >= 500, secrets) from None
        except smtplib.SMTPNotSupportedError as error:
            raise self._failed(str(error), permanent=True) from None
        except ssl.SSLCertVerificationError as error:
            raise self._failed(f"its certificate is not trusted: {error.verify_message}", permanent=False) from None
        except (smtplib.SMTPException, OSError) as error:
            detail = getattr(error, "strerror", None) or type(error).__name__
            raise self._failed(f"no answer from {self._config.host}: {detail}", permanent=False) from None

    def _send(self, message: EmailMessage, password: str | None) -> None:
        where = (self._config.host, self._config.port)
        tls = self._tls or ssl.create_default_context()
        server: smtplib.SMTP
        if self._config.security == "tls":
            server = smtplib.SMTP_SSL(*where, timeout=self._timeout_seconds, context=tls)
        else:
            server = smtplib.SMTP(*where, timeout=self._timeout_seconds)
        try:
            if self._config.security == "starttls":
                server.starttls(context=tls)  # raises where the server does not offer it
            if password is not None and self._config.user is not None:
                server.login(self._config.user, password)
            refused = server.send_message(message)
            if refused:
                _log.warning("%s: %d of %d recipients refused", self.name, len(refused), len(self._config.recipients))
        finally:
            # Whatever the server says to a farewell: the message was taken, or an error is on its way already.
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
            server.close()

    def _failed(self, reason: str, permanent: bool, secrets: Sequence[str] = ()) -> DeliveryFailed:
        return DeliveryFailed(redact_line(reason, secrets)[:300], subject=self.name, permanent=permanent)


def _forms(user: str, password: str) -> tuple[str, ...]:
    """A password as it is, and as the two simple ways of logging in send it, should the server repeat what it got."""
    sent = (f"\0{user}\0{password}", password)
    return (password, *(base64.b64encode(text.encode()).decode() for text in sent))
