"""Alertmanager: one alert from raised to recovered, sent again while it stands; at a real server too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from model_health.alerting.links import LinkMaker
from model_health.alerting.record import record
from model_health.alerting.resend import firing, resend_firing
from model_health.alerting.transports.alertmanager import AlertmanagerTransport, posted
from model_health.config.alerting import AlertmanagerConfig
from model_health.gates.evaluate import evaluate
from model_health.store.index.index import Index
from support.alerts import NOON, a_config, an_alert, an_item
from support.configs import make_settings, write_files
from support.gate_runs import HEALTHY, MODEL, NAN, SUITE, measured
from support.prometheus_servers import alertmanager
from support.webhook import Webhook

HOUR = timedelta(hours=1)


def transport(url: str, now: datetime = NOON, **fields: str) -> AlertmanagerTransport:
    config = AlertmanagerConfig.model_validate({"url": url, **fields})
    return AlertmanagerTransport("alertmanager", config, {"am": "planted"}.__getitem__, clock=lambda: now)


def test_labels_stay_the_same_from_raised_over_escalated_to_recovered() -> None:
    raised = an_alert(verdict="warn")
    later = {"at": NOON + HOUR, "previous": "warn"}
    escalated = an_alert(kind="escalated", key="2", **later)
    recovered = an_alert(kind="recovered", verdict="pass", key="3", **later)
    bodies = [posted(alert, NOON + HOUR, 3 * HOUR) for alert in (raised, escalated, recovered)]
    assert bodies[0]["labels"] == bodies[1]["labels"] == bodies[2]["labels"]
    assert {body["startsAt"] for body in bodies} == {NOON.isoformat()}
    assert [body["endsAt"] for body in bodies[:2]] == [(NOON + 4 * HOUR).isoformat()] * 2
    assert bodies[2]["endsAt"] == (NOON + HOUR).isoformat()
    assert bodies[0]["generatorURL"] == "https://airflow.example.org/dags/run_canaries/runs/r1"


def test_an_alert_never_ends_before_it_starts() -> None:
    recovered = an_alert(kind="recovered", verdict="pass", since=NOON, at=NOON - HOUR)
    assert posted(recovered, NOON - HOUR, HOUR)["endsAt"] == NOON.isoformat()
    assert posted(an_alert(), NOON - 9 * HOUR, HOUR)["endsAt"] == NOON.isoformat()


def test_it_is_posted_to_the_api_with_the_credentials(webhook: Webhook) -> None:
    base = webhook.url.partition("/services")[0]
    transport(f"{base}/prefix/", user="health", password_secret="am").deliver(an_item())
    (received,) = webhook.received
    assert received.path == "/prefix/api/v2/alerts"
    assert received.headers["Authorization"] == "Basic aGVhbHRoOnBsYW50ZWQ="
    assert received.json[0]["labels"]["gate"] == "non-finite"


def test_nothing_is_posted_for_nothing(webhook: Webhook) -> None:
    transport(webhook.url).send([])
    assert webhook.received == []


def test_what_stands_and_was_told_is_sent_again_until_it_is_over(tmp_path: Path, webhook: Webhook) -> None:
    settings = make_settings(write_files(tmp_path, {}))
    base = webhook.url.partition("/services")[0]
    more = {"transports": {"alertmanager": {"url": base}}, "routes": [{"transports": ["alertmanager"]}]}
    config = a_config(None, **more)
    quiet = a_config(None, **more, silences=[{"start": NOON, "end": NOON + HOUR, "reason": "r", "author": "a"}])
    with Index.open(settings.index_url) as index:

        def judge(run: str, prompt: object, at: datetime, rules: object = config, model: str = MODEL) -> None:
            measured(index, run, at, [prompt], model=model)  # type: ignore[list-item]
            results = evaluate(model, SUITE, index, list(config.rules.values()), at)
            record(index, results, rules, LinkMaker(index, settings, config), at)  # type: ignore[arg-type]

        judge("r1", NAN, NOON)
        judge("r1", NAN, NOON, quiet, model="silenced")
        judge("r1", HEALTHY, NOON, model="well")
        assert [one.alert.model for one in firing(index)] == [MODEL]
        assert resend_firing(index, transport(base, NOON + HOUR)) == 1
        assert resend_firing(index, transport(base, NOON + 2 * HOUR)) == 1
        ends = [one.json[0]["endsAt"] for one in webhook.received]
        assert ends == [(NOON + 4 * HOUR).isoformat(), (NOON + 5 * HOUR).isoformat()]
        judge("r2", HEALTHY, NOON + HOUR)
        assert firing(index) == ()
        assert resend_firing(index, transport(base)) == 0
    assert len(webhook.received) == 2


@pytest.mark.services
def test_a_real_alertmanager_fires_and_resolves_at_its_webhook(tmp_path: Path, webhook: Webhook) -> None:
    config = tmp_path / "alertmanager.yml"
    grouping = {"group_by": ["..."], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
    receiver = {"name": "hook", "webhook_configs": [{"url": webhook.url, "send_resolved": True}]}
    config.write_text(yaml.safe_dump({"route": {"receiver": "hook", **grouping}, "receivers": [receiver]}))
    now = datetime.now(UTC)
    with alertmanager(tmp_path, config) as server:
        raised = an_alert(since=now - HOUR, at=now)
        transport(server.url, now).deliver(an_item(raised))
        wait_for(webhook, 1)
        transport(server.url, now).deliver(an_item(raised))
        (held,) = server.alerts()
        assert held["labels"]["model"] == "smollm2-135m"
        assert held["status"]["state"] == "active"
        over = an_alert(kind="recovered", verdict="pass", previous="fail", since=now - HOUR, at=now, key="2")
        transport(server.url, now).deliver(an_item(over))
        wait_for(webhook, 2)
    statuses = [one.json["alerts"][0]["status"] for one in webhook.received]
    assert statuses == ["firing", "resolved"]
    annotations = webhook.received[0].json["alerts"][0]["annotations"]
    assert annotations["summary"] == "[FAIL] smollm2-135m / core: non-finite raised"


def wait_for(webhook: Webhook, count: int) -> None:
    import time

    deadline = time.monotonic() + 180
    while len(webhook.received) < count:
        assert time.monotonic() < deadline, webhook.received
        time.sleep(0.1)
