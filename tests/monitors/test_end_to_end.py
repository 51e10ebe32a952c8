"""From a sample to a person and back: Pushgateway, Prometheus, Alertmanager and a webhook, all real, on rendered files.

Only the pace is changed, through the settings that anybody may set: a turn of the schedule is a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model_health.config.settings import Settings, load_settings
from model_health.config.sinks import PrometheusSinkConfig
from model_health.monitors.apply import apply, diff
from model_health.report.extension import SuiteIdentity
from model_health.report.manifest import PromptEntry
from model_health.report.samples import samples_of_manifest
from model_health.sinks.context import context_of
from model_health.sinks.prometheus import PrometheusSink
from support.manifests import make_manifest, make_prompt_entry
from support.monitor_inputs import ROOT, shipped
from support.prometheus_servers import Alertmanager, Prometheus, alertmanager, prometheus, pushgateway
from support.webhook import Webhook, webhook_server

pytestmark = [pytest.mark.services, pytest.mark.slow]

TURN = 4
PACE = {
    "MONITORS__SCHEDULE_SECONDS": str(TURN),
    "MONITORS__LATE_SECONDS": "1",
    "MONITORS__PROMETHEUS__EVALUATION_SECONDS": "1",
    "MONITORS__ALERTMANAGER__GROUP_WAIT_SECONDS": "1",
    "MONITORS__ALERTMANAGER__GROUP_INTERVAL_SECONDS": "1",
    "GATES__RULES__NO_REPORT__WARN": "22",
    "GATES__RULES__NO_REPORT__FAIL": "30",
}
MODEL, SUITE = shipped().pairs[0]
LOOPS = tuple(make_prompt_entry(prompt_id=f"facts-0{n}", flags=("loop_detected",)) for n in (1, 2))


@dataclass
class Chain:
    """Everything that is running, and the runs that are pushed into it."""

    settings: Settings
    prometheus: Prometheus
    alertmanager: Alertmanager
    hook: Webhook
    sink: PrometheusSink
    told: list[dict[str, Any]] = field(default_factory=list)

    def push(self, *prompts: PromptEntry) -> None:
        """Publish one run that ends now."""
        now = datetime.now(UTC)
        manifest = make_manifest(
            model_name=MODEL,
            suite=SuiteIdentity(name=SUITE, version="1", digest="sha256:" + "0" * 64),
            started_at=now - timedelta(seconds=1),
            ended_at=now,
            verdict="inconclusive" if prompts else "healthy",
            reason="made up" if prompts else None,
            prompts=prompts or (make_prompt_entry(),),
        )
        self.sink.publish(samples_of_manifest(manifest), context_of(manifest))

    def heard(self, name: str, status: str, severity: str) -> dict[str, Any] | None:
        """The newest such alert that the webhook was sent."""
        alerts = [alert for one in self.hook.received for alert in one.json["alerts"]]
        found = [
            alert
            for alert in alerts
            if (alert["labels"]["alertname"], alert["status"], alert["labels"]["severity"]) == (name, status, severity)
        ]
        return found[-1] if found else None

    def turns(self, act: Callable[[], None], until: Callable[[], object], limit: int) -> int:
        """Act once per turn until something is so; how many turns that took."""
        for turn in range(limit):
            act()
            ends = time.monotonic() + TURN
            while time.monotonic() < ends:
                if until():
                    return turn + 1
                time.sleep(0.1)
        raise AssertionError(f"did not come about; prometheus: {self.prometheus.alerts()}")


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    rules, config = tmp_path / "rules", tmp_path / "alertmanager.yml"
    rules.mkdir()
    with ExitStack() as stack:
        hook = stack.enter_context(webhook_server("/hook"))
        variables = {
            **PACE,
            "HOME": str(tmp_path),
            "CONFIGS_DIR": str(ROOT / "configs"),
            "MONITORS__ALERTMANAGER__WEBHOOKS__TEST__URL": hook.url,
            "MONITORS__ALERTMANAGER__ROUTES": '[{receivers: ["http:test"]}]',
            "MONITORS__ALERTMANAGER__CONFIG_FILE": str(config),
        }

        def settings(**more: str) -> Settings:
            return load_settings({f"MODEL_HEALTH_{name}": value for name, value in {**variables, **more}.items()})

        assert apply("prometheus", settings()).exit_code == 0
        gateway = stack.enter_context(pushgateway(tmp_path))
        manager = stack.enter_context(alertmanager(tmp_path, config))
        scrape = {"pushgateway": gateway.address}
        server = stack.enter_context(
            prometheus(tmp_path, scrape, rules=[rules / "*.yml"], alertmanagers=[manager.address])
        )
        ready = settings(
            MONITORS__PROMETHEUS__RULES_DIR=str(rules),
            MONITORS__PROMETHEUS__URL=server.url,
            MONITORS__ALERTMANAGER__URL=manager.url,
        )
        sink = PrometheusSink(PrometheusSinkConfig(enabled=True, url=gateway.url, timeout_seconds=60.0))
        yield Chain(ready, server, manager, hook, sink)


def test_a_fault_reaches_the_webhook_is_taken_back_when_healed_and_a_dead_job_is_noticed(chain: Chain) -> None:
    outcome = apply("prometheus", chain.settings)
    assert outcome.exit_code == 0, outcome.text
    assert "prometheus has read its files again" in outcome.text
    assert chain.prometheus.query("count(ALERTS)") == []

    # One sick run is seen, and is not yet two.
    chain.turns(chain.push, lambda: chain.prometheus.query("model_health:gate_value"), limit=60)
    chain.push(*LOOPS)
    chain.prometheus.wait_for('model_health:gate_value{gate="repetition-loop"} == 2')
    assert chain.heard("ModelHealthRepetitionLoop", "firing", "critical") is None

    firing = ("ModelHealthRepetitionLoop", "firing", "critical")
    chain.turns(lambda: chain.push(*LOOPS), lambda: chain.heard(*firing), limit=60)
    alert = chain.heard(*firing)
    assert alert is not None
    assert alert["labels"] == {
        "alertname": "ModelHealthRepetitionLoop",
        "gate": "repetition-loop",
        "model": MODEL,
        "owner": "model-health",
        "severity": "critical",
        "source": "prometheus",
        "suite": SUITE,
        "tier": "critical",
    }
    assert alert["annotations"]["value"] == "2"
    assert alert["annotations"]["level"] == "above 1"
    assert alert["annotations"]["runbook_url"].endswith("#repetition-loop")
    assert "of the last 3 runs" in alert["annotations"]["summary"]
    # The warning of the same gate is true as well, and silenced.
    assert chain.heard("ModelHealthRepetitionLoop", "firing", "warning") is None

    resolved = ("ModelHealthRepetitionLoop", "resolved", "critical")
    chain.turns(chain.push, lambda: chain.heard(*resolved), limit=60)

    dead = ("ModelHealthNoReport", "firing", "critical")
    assert chain.heard(*dead) is None
    chain.turns(lambda: None, lambda: chain.heard(*dead), limit=60)
    assert f"{MODEL} on {SUITE}: no valid run for" in chain.heard(*dead)["annotations"]["summary"]  # type: ignore[index]
    chain.turns(chain.push, lambda: chain.heard("ModelHealthNoReport", "resolved", "critical"), limit=60)


def test_rules_that_prometheus_refuses_are_taken_back(chain: Chain, tmp_path: Path) -> None:
    assert apply("prometheus", chain.settings).exit_code == 0
    before = (tmp_path / "rules" / "model-health.rules.yml").read_text()
    # A broken rule file of somebody else: Prometheus reads all or nothing.
    (tmp_path / "rules" / "theirs.yml").write_text("groups: [{name: g, rules: [{record: a, expr: '('}]}]\n")
    changed = chain.settings.model_copy(
        update={"overrides": tuple(one for one in chain.settings.overrides if "NO_REPORT" not in one.variable)}
    )
    outcome = apply("prometheus", changed)
    assert outcome.exit_code == 3
    assert "answered 500" in outcome.text
    assert (tmp_path / "rules" / "model-health.rules.yml").read_text() == before
    (tmp_path / "rules" / "theirs.yml").unlink()
    assert apply("prometheus", changed).exit_code == 0
    assert diff("prometheus", changed).exit_code == 0
