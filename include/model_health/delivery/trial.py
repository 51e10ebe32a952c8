"""Sends a test message to alert transports, so that a person sees at once whether an address and its secret are right.

Directly, and not through the outbox: what somebody waits for must not wait behind other things, nor be sent later.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from model_health.alerting.alert import Alert, Links
from model_health.alerting.transports.registry import alert_targets
from model_health.config.gates import load_gates
from model_health.config.settings import Settings
from model_health.delivery.registry import open_target
from model_health.errors import ConfigError, ModelHealthError
from model_health.gates.result import GateVerdict
from model_health.store.index.outbox import OutboxItem

NAME = "test-message"


def send_test(settings: Settings, now: datetime, targets: Sequence[str] = ()) -> dict[str, str | None]:
    """Send a test message; why each target did not take it, None where it did.

    Args:
        settings: where the configuration and the secrets are.
        now: the present.
        targets: such as `webhook:team`; empty: every transport that is configured or named by a route.

    Raises:
        ConfigError: gates.yaml is wrong, or names no transport.
    """
    config = load_gates(settings)
    chosen = tuple(dict.fromkeys(targets)) or alert_targets(config)
    if not chosen:
        raise ConfigError("no transport is configured", subject="gates.yaml", hint="add transports and routes to it")
    alert = Alert(
        key=f"{NAME}/{int(now.timestamp())}",
        kind="raised",
        verdict=GateVerdict.WARN,
        previous=GateVerdict.PASS,
        model=NAME,
        suite=NAME,
        gate=NAME,
        tier="advisory",
        owner="model-health",
        since=now,
        at=now,
        reason="this is a test: nothing is wrong, and nothing has to be done",
        why="Somebody asked for it with `model-health alerts test`.",
        links=Links(runbook=config.runbook_url),
    )
    answers: dict[str, str | None] = {}
    for target in chosen:
        try:
            open_target(target, settings).deliver(OutboxItem(target, "alert", alert.key, alert.to_json(), None, now))
        except ModelHealthError as error:
            answers[target] = str(error)
        else:
            answers[target] = None
    return answers
