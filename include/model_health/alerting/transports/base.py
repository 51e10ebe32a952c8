"""What every transport is: `deliver`, which returns once the other side took the message. Owns reading an item back."""

from __future__ import annotations

from typing import Protocol

from pydantic import ValidationError

from model_health.alerting.alert import Alert
from model_health.errors import DeliveryFailed
from model_health.store.index.outbox import OutboxItem

TIMEOUT_SECONDS = 30.0


class Transport(Protocol):
    """Sends alerts to one target."""

    @property
    def name(self) -> str:
        """The target, as routes name it."""

    def deliver(self, item: OutboxItem) -> None:
        """Send one alert.

        Raises:
            DeliveryFailed: the other side did not take it; `permanent` where it never will.
            ConfigError: a secret or an address is missing.
        """


def alert_in(item: OutboxItem) -> Alert:
    """The alert that an item holds. Raises a permanent `DeliveryFailed` if it holds none."""
    try:
        return Alert.from_json(item.payload)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in detail["loc"])
        reason = f"the outbox item holds no alert: {where}: {detail['msg']}"
        raise DeliveryFailed(reason, subject=item.target, permanent=True) from None
