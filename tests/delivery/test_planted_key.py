"""Recognisable secrets of every sink and transport go through deliveries that succeed, are refused and fail.

Then everything that the deliveries left is searched for them: the index with its outbox and ledger, files, log lines,
what is printed, and what was sent to anybody but the server that a secret is for.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_health.cli.main import main
from model_health.config.settings import Settings
from model_health.delivery.alerts import deliver_alerts
from model_health.delivery.sinks import deliver_sinks
from model_health.sinks.payload import encode
from model_health.store.index.index import Index
from model_health.store.index.outbox import OutboxItem
from support.alerts import an_alert, an_item
from support.configs import make_settings, write_files
from support.datadog_faults import Fault, answer
from support.datadog_intake import Intake, datadog_intake
from support.outbox import put, stored
from support.sink_samples import run_samples
from support.smtp import Mailbox, smtp_server
from support.webhook import Answer, Webhook, webhook_server

SECRETS = {
    name: f"planted{number}c2b4a5968778695a4b3c2d1e0f"
    for number, name in enumerate(
        ("datadog_api_key", "datadog_app_key", "gateway", "team_key", "mail_password", "manager", "path")
    )
}
USER = "health"
SINKS = ("local", "textfile", "prometheus", "datadog")
TRANSPORTS = ("webhook:team", "email:owners", "alertmanager", "datadog_event")
GATES = f"""
rules: {{non-finite: {{flags: [nan_detected], fail: 0, tier: critical, owner: o, runbook: non-finite, reason: r}}}}
routes: [{{transports: [{", ".join(f'"{name}"' for name in TRANSPORTS)}]}}]
transports:
  webhook: {{team: {{url_secret: team_url, signing_secret: team_key}}}}
  email:
    owners: {{host: 127.0.0.1, port: PORT, sender: a@example.org, recipients: [b@example.org], user: {USER},
             password_secret: mail_password}}
  alertmanager: {{url: "MANAGER", user: {USER}, password_secret: manager}}
"""


def basic(secret: str) -> str:
    """What basic authentication makes of a password."""
    return base64.b64encode(f"{USER}:{secret}".encode()).decode()


def plain_login(secret: str) -> str:
    """What SMTP's AUTH PLAIN makes of it."""
    return base64.b64encode(f"\0{USER}\0{secret}".encode()).decode()


# Any of these, or the head of it, gives a secret away.
FORMS = [form for secret in SECRETS.values() for form in (secret[:14], basic(secret)[12:], plain_login(secret)[12:])]
# What each server is sent of them, and so what it could repeat.
ECHO = {
    "datadog": SECRETS["datadog_api_key"],
    "gateway": f"{SECRETS['gateway']} Basic {basic(SECRETS['gateway'])}",
    "team": f"/services/{SECRETS['path']} {SECRETS['path']} {SECRETS['team_key']}",
    "manager": f"{SECRETS['manager']} Basic {basic(SECRETS['manager'])}",
    "mail": f"{SECRETS['mail_password']} {plain_login(SECRETS['mail_password'])}",
}


@dataclass
class World:
    """Servers that take deliveries, and settings that lead to them."""

    settings: Settings
    datadog: Intake
    gateway: Intake
    team: Webhook
    manager: Webhook
    mailbox: Mailbox

    def misbehave(self, status: int, mail: str) -> None:
        """Have every server answer so for a while, and repeat in it what it was sent."""
        for name, intake in (("datadog", self.datadog), ("gateway", self.gateway)):
            intake.script(*[answer(status, f"unknown: {ECHO[name]}".encode())] * 20)
        for name, hook in (("team", self.team), ("manager", self.manager)):
            hook.answers += [Answer(status=status, body=f"unknown: {ECHO[name]}".encode())] * 20
        self.mailbox.refuse["AUTH"] = f"{mail} unknown: {ECHO['mail']}"

    def hang_up(self) -> None:
        """Have every server end the connection without a word."""
        for intake in (self.datadog, self.gateway):
            intake.script(*[Fault("reset")] * 20)
        for hook in (self.team, self.manager):
            hook.answers += [Answer(hang_up=True)] * 20
        self.mailbox.refuse["AUTH"] = "hang up"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    home, certificates = tmp_path / "home", tmp_path / "certificates"
    certificates.mkdir()
    with ExitStack() as stack:
        datadog = stack.enter_context(datadog_intake(api_key=SECRETS["datadog_api_key"]))
        gateway = stack.enter_context(datadog_intake())  # it only has to answer
        team = stack.enter_context(webhook_server(f"/services/{SECRETS['path']}"))
        manager = stack.enter_context(webhook_server(""))
        mailbox = stack.enter_context(smtp_server(certificates))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "certificate.pem"))
        gates = GATES.replace("PORT", str(mailbox.port)).replace("MANAGER", manager.url)
        write_files(home, {"gates.yaml": gates})
        variables = {f"SECRETS__{name.upper()}": value for name, value in SECRETS.items() if name != "path"}
        variables |= {
            "SECRETS__TEAM_URL": team.url,
            "SINKS__DATADOG__ENABLED": "true",
            "SINKS__DATADOG__URL": datadog.url,
            "SINKS__PROMETHEUS__ENABLED": "true",
            "SINKS__PROMETHEUS__URL": gateway.url,
            "SINKS__PROMETHEUS__USER": USER,
            "SINKS__PROMETHEUS__PASSWORD_SECRET": "gateway",
            "SINKS__TEXTFILE__ENABLED": "true",
            "SINKS__TEXTFILE__FOLDER": str(home / "collector"),
        }
        (home / "collector").mkdir()
        for name, value in variables.items():
            monkeypatch.setenv(f"MODEL_HEALTH_{name}", value)  # the command line reads them there
        monkeypatch.setenv("MODEL_HEALTH_HOME", str(home))
        yield World(make_settings(home, **variables), datadog, gateway, team, manager, mailbox)


def enqueue_all(settings: Settings) -> None:
    """Something for every sink and every transport."""
    payload = encode(*run_samples())
    now = datetime.now(UTC)
    with Index.open(settings.index_url) as index:
        put(index, *(OutboxItem(name, "samples", "k", payload, "m/s/r", now) for name in SINKS))
        put(index, *(an_item(an_alert(), name) for name in TRANSPORTS))


def states(settings: Settings) -> dict[str, str]:
    """The state of what waits for each target, and whether an error is on record."""
    with Index.open(settings.index_url) as index:
        return {one.target: one.state for one in stored(index)}


def search(world: World, texts: list[str]) -> None:
    """Look for every form of every secret in the project's folder and in the texts."""
    files = [path for path in world.settings.home.rglob("*") if path.is_file()]
    assert {"gates.yaml", "index.db"} <= {path.name for path in files}
    for place, text in (*((str(path), path.read_bytes().decode("latin-1")) for path in files), *enumerate(texts)):
        found = [form for form in FORMS if form in text]
        assert found == [], (place, found)


def everything_shown(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> list[str]:
    """The outbox and its ledger as the command line shows them, and all that was logged."""
    for command in (
        ["outbox", "list"],
        ["outbox", "list", "--json"],
        ["outbox", "ledger", "--json"],
        ["alerts", "list"],
    ):
        main(command)
    out = capfd.readouterr()
    assert "webhook:team" in out.out
    return [out.out, out.err, caplog.text, *(repr(record.__dict__) for record in caplog.records)]


LOCAL = {"local": "delivered", "textfile": "delivered"}


@pytest.mark.parametrize("way", ["taken", "refused", "failing", "broken off"])
def test_no_secret_is_left_anywhere_whatever_becomes_of_a_delivery(
    world: World, way: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if way == "taken":
        world.gateway.script(*[answer(202)] * 20)  # a gateway takes what this server does not know
    elif way == "refused":
        world.misbehave(403, "535 5.7.8")
    elif way == "failing":
        world.misbehave(503, "454 4.7.0")
    elif way == "broken off":
        world.hang_up()
    enqueue_all(world.settings)
    sinks = deliver_sinks(settings=world.settings)
    alerts = deliver_alerts(settings=world.settings)
    expected = {"taken": "delivered", "refused": "dead"}.get(way, "pending")
    assert states(world.settings) == dict.fromkeys((*SINKS, *TRANSPORTS), expected) | LOCAL
    shown = [repr(sinks), *sinks.lines, repr(alerts), repr(alerts.summary()), repr(world.settings)]
    shown += everything_shown(capfd, caplog)
    assert ("unknown: [hidden]" in "".join(shown)) is (way in ("refused", "failing"))
    search(world, shown)
    # What one server is told of another's secret, or of its own outside the place for it.
    bodies = [request.body.decode("latin-1") for one in (world.datadog, world.gateway) for request in one.requests]
    bodies += [one.body.decode() for one in (*world.team.received, *world.manager.received)]
    bodies += [mail.as_string() for mail in world.mailbox.mails]
    search(world, bodies)
    if way == "taken":
        assert world.mailbox.logins == [f"\0{USER}\0{SECRETS['mail_password']}"]
        assert world.manager.received[0].headers["Authorization"] == f"Basic {basic(SECRETS['manager'])}"
        assert world.team.received[0].path.endswith(SECRETS["path"])


@pytest.mark.parametrize("form", [FORMS[0], basic(SECRETS["gateway"]), plain_login(SECRETS["mail_password"])])
def test_the_search_finds_a_secret_that_was_left(world: World, form: str) -> None:
    enqueue_all(world.settings)
    search(world, ["nothing"])
    with pytest.raises(AssertionError):
        search(world, [f"... {form} ..."])
    (world.settings.home / "left.log").write_text(form)
    with pytest.raises(AssertionError):
        search(world, [])
