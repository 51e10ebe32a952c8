"""Prometheus' Alertmanager, API v2. Owns labels, which stay the same from raised to recovered, and when alerts end.

Alertmanager keeps an alert until its `endsAt`, so one that stands has to be sent again before then
(`alerting.resend`); a recovery sends it once more with the end in the past.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from model_health.alerting.alert import Alert
from model_health.alerting.render import plain_text, title
from model_health.alerting.transports.base import TIMEOUT_SECONDS, alert_in
from model_health.alerting.transports.http import basic_auth, post_json, to_body
from model_health.alerting.transports.webhook import Secrets
from model_health.config.alerting import AlertmanagerConfig
from model_health.store.index.index import utc_now
from model_health.store.index.outbox import OutboxItem

ALERTNAME = "ModelHealthGate"


class AlertmanagerTransport:
    """Sends to one Alertmanager.

    Args:
        name: the target.
        config: its address.
        secrets: gives the password.
        clock: the present: an alert that stands ends some time after it, unless it is sent again.
        timeout_seconds: for each wait on the other side.
    """

    def __init__(
        self,
        name: str,
        config: AlertmanagerConfig,
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
        self.send([alert_in(item)])

    def send(self, alerts: Sequence[Alert]) -> None:
        """Send alerts, new or not; the same one twice is one alert. Raises `DeliveryFailed`."""
        if not alerts:
            return
        headers = {"Idempotency-Key": alerts[0].key} if len(alerts) == 1 else {}
        secrets: tuple[str, ...] = ()
        if self._config.user is not None and self._config.password_secret is not None:
            password = self._secrets(self._config.password_secret)
            headers["Authorization"] = basic_auth(self._config.user, password)
            secrets = (password, headers["Authorization"].removeprefix("Basic "))
        lasts = timedelta(minutes=self._config.resolve_after_minutes)
        body = to_body([posted(alert, self._clock(), lasts) for alert in alerts])
        post_json(
            f"{self._config.url}/api/v2/alerts",
            body,
            subject=self.name,
            headers=headers,
            timeout_seconds=self._timeout_seconds,
            secrets=secrets,
        )


def posted(alert: Alert, now: datetime, lasts: timedelta) -> dict[str, Any]:
    """An alert as API v2 takes it."""
    ends = max(alert.at, alert.since) if alert.resolved else now + lasts
    links = alert.links
    annotations = {
        "summary": title(alert),
        "description": plain_text(alert),
        "verdict": str(alert.verdict),
        "owner": alert.owner,
        "runbook_url": links.runbook,
        "dashboard_url": links.dashboard,
        "report": links.report,
        "dag_run": links.dag_run,
    }
    content: dict[str, Any] = {
        # The verdict is no label: an alert that escalates is still the same alert.
        "labels": {
            "alertname": ALERTNAME,
            "gate": alert.gate,
            "model": alert.model,
            "suite": alert.suite,
            "tier": alert.tier,
        },
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": alert.since.isoformat(),
        "endsAt": max(ends, alert.since).isoformat(),
    }
    source = links.dag_run or links.dashboard
    return {**content, "generatorURL": source} if source else content
