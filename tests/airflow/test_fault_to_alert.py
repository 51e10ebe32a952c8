"""A fault in a model's weights, found by the Dag, wakes somebody; once the weights are healed, they are told so.

Nothing on the way is fake: tiny weights on disk, the Dag `run_canaries` as `make run` runs it, the real capture child,
a Pushgateway, a Prometheus with the rendered rules, an Alertmanager with the rendered configuration, and a webhook.
Everything that the runs wrote is searched for the secrets that they were given, by the environment and by a connection.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.airflow import Project
from support.datadog_faults import answer
from support.datadog_intake import Intake, datadog_intake
from support.models import poison, save_tiny_model
from support.projects import suite
from support.prometheus_servers import Prometheus, alertmanager, prometheus, pushgateway
from support.webhook import Answer, Webhook, webhook_server

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.services, pytest.mark.timeout(1800)]

RULES, RECEIVERS = "model-health.rules.yml", "model-health.alertmanager.yml"
DAMAGED = "model.layers.2.mlp.down_proj.weight"
LAYER = 2
# Two gates for the same fault: one is left to Prometheus, the other the Dag takes to Alertmanager by itself.
WATCHED, TOLD = "non-finite", "non-finite-told"
# Told to nothing but the server that it is for. The servers answer a refusal with what they were sent.
KEY, SIGNING_KEY, PATH_KEY = (f"planted{number}f1d2c3b4a59687786" for number in (1, 2, 3))
ECHO = b"the key %s is not known here"
PACE = {
    "MONITORS__SCHEDULE_SECONDS": "4",
    "MONITORS__LATE_SECONDS": "1",
    "MONITORS__PROMETHEUS__EVALUATION_SECONDS": "1",
    "MONITORS__ALERTMANAGER__GROUP_WAIT_SECONDS": "1",
    "MONITORS__ALERTMANAGER__GROUP_INTERVAL_SECONDS": "1",
    "GATES__RECOVER_AFTER_RUNS": "1",
    "SINKS__PROMETHEUS__TIMEOUT_SECONDS": "60",
    "SINKS__DATADOG__TIMEOUT_SECONDS": "60",
}


@dataclass(frozen=True)
class Watched:
    """A project whose runs are watched."""

    project: Project
    prometheus: Prometheus
    hook: Webhook
    team: Webhook
    datadog: Intake
    said: list[str] = field(default_factory=list)

    def run(self, expected: int) -> None:
        """Run the Dag as `make run` does, to this exit code."""
        ended = self.project.python("-m", "model_health_airflow.local_run")
        assert ended.returncode == expected, ended.stdout + ended.stderr
        self.said.extend([ended.stdout, ended.stderr])

    def written(self) -> dict[str, bytes]:
        """All that is in the project's folder, unpacked: configs, reports, logs, pages and both databases."""
        files = {str(path): path.read_bytes() for path in self.project.home.rglob("*") if path.is_file()}
        return {name: gzip.decompress(data) if name.endswith(".gz") else data for name, data in files.items()}

    def heard(self, name: str, gate: str, status: str) -> list[dict[str, Any]]:
        """Such alerts as the webhook was sent, oldest first."""
        alerts = [alert for one in self.hook.received for alert in one.json["alerts"]]
        wanted = (name, gate, status)
        return [one for one in alerts if (one["labels"]["alertname"], one["labels"]["gate"], one["status"]) == wanted]

    def wait_for(self, name: str, gate: str, status: str) -> dict[str, Any]:
        """The first such alert, once it is there."""
        deadline = time.monotonic() + 180
        while not (found := self.heard(name, gate, status)):
            got = [one.json["alerts"] for one in self.hook.received]
            assert time.monotonic() < deadline, f"no {status} {name}: {got}; {self.prometheus.alerts()}"
            time.sleep(0.1)
        return found[0]


@pytest.fixture
def watched(make_project: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    project = make_project()
    configs, rendered = project.home / "configs", tmp_path / "rendered"
    save_tiny_model(project.home / "weights")
    project.add_model("tiny", source={"path": "weights"}, device="cpu", dtype="float32", threads=1)
    (configs / "canaries/smoke.yaml").write_text(yaml.safe_dump(suite()))
    gates = yaml.safe_load((configs / "gates.yaml").read_text())
    gates["rules"][TOLD] = gates["rules"][WATCHED]
    gates["routes"] = [{"transports": ["alertmanager", "webhook:team"], "gates": TOLD}]
    gates["transports"] = {"webhook": {"team": {"url_secret": "team_url", "signing_secret": "team_key"}}}
    (configs / "gates.yaml").write_text(yaml.safe_dump(gates))

    def configure(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"MODEL_HEALTH_{name}", value)

    with ExitStack() as stack:
        hook = stack.enter_context(webhook_server("/hook"))
        team = stack.enter_context(webhook_server(f"/services/{PATH_KEY}"))
        team.answers.append(Answer(status=403, body=ECHO % PATH_KEY.encode()))
        datadog = stack.enter_context(datadog_intake(api_key=KEY))
        datadog.script(answer(403, ECHO % KEY.encode()))
        gateway = stack.enter_context(pushgateway(tmp_path))
        configure(PACE)
        configure(
            {
                "SINKS__PROMETHEUS__ENABLED": "true",
                "SINKS__PROMETHEUS__URL": gateway.url,
                "SINKS__DATADOG__ENABLED": "true",
                "SINKS__DATADOG__URL": datadog.url,
                "SECRETS__DATADOG_API_KEY": KEY,
                "SECRETS__TEAM_KEY": SIGNING_KEY,
                "MONITORS__ALERTMANAGER__WEBHOOKS__ONCALL__URL": hook.url,
                "MONITORS__ALERTMANAGER__ROUTES": '[{receivers: ["http:oncall"], severities: [critical]}]',
                # Rendering asks that a transport is there, and sending where it is; nothing is sent yet.
                "GATES__TRANSPORTS__ALERTMANAGER__URL": "http://127.0.0.1:9",
            }
        )
        connection = {"conn_type": "generic", "password": team.url}
        monkeypatch.setenv("AIRFLOW_CONN_TEAM_URL", json.dumps(connection))
        command = ("-m", "model_health.cli.main", "monitors", "render", "--target", "prometheus", "--out")
        outcome = project.python(*command, str(rendered))
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        manager = stack.enter_context(alertmanager(tmp_path, rendered / RECEIVERS))
        configure({"GATES__TRANSPORTS__ALERTMANAGER__URL": manager.url})
        server = stack.enter_context(
            prometheus(
                tmp_path,
                {"pushgateway": gateway.address},
                rules=[rendered / RULES],
                alertmanagers=[manager.address],
            )
        )
        yield Watched(project, server, hook, team, datadog)


def test_damaged_weights_reach_the_webhook_through_the_dag_and_healed_ones_take_it_back(watched: Watched) -> None:
    poison(watched.project.home / "weights", DAMAGED)
    watched.run(expected=1)

    by_rule = watched.wait_for("ModelHealthNonFinite", WATCHED, "firing")
    assert by_rule["labels"] == {
        "alertname": "ModelHealthNonFinite",
        "gate": WATCHED,
        "model": "tiny",
        "owner": "model-health",
        "severity": "critical",
        "source": "prometheus",
        "suite": "smoke",
        "tier": "critical",
    }
    assert by_rule["annotations"]["value"] == "2"  # both prompts
    assert by_rule["annotations"]["runbook_url"].endswith("#non-finite")
    by_dag = watched.wait_for("ModelHealthGate", TOLD, "firing")
    assert (by_dag["labels"]["model"], by_dag["labels"]["suite"]) == ("tiny", "smoke")
    # What no series may hold, the message of the Dag does: which prompts, and where it began.
    assert "one, two" in by_dag["annotations"]["description"]
    assert f"layer {LAYER}" in by_dag["annotations"]["description"]
    assert "Hello there" not in by_dag["annotations"]["description"]
    assert watched.heard("ModelHealthGate", TOLD, "resolved") == []
    assert watched.heard("ModelHealthNonFinite", WATCHED, "resolved") == []

    save_tiny_model(watched.project.home / "weights")
    watched.run(expected=0)
    for name, gate in (("ModelHealthNonFinite", WATCHED), ("ModelHealthGate", TOLD)):
        over = watched.wait_for(name, gate, "resolved")
        assert (over["labels"]["model"], over["labels"]["suite"]) == ("tiny", "smoke")
    values = watched.prometheus.query(f'model_health:gate_value{{gate="{WATCHED}"}}')
    assert [value for _, value in values] == [0.0]

    # The team's webhook and Datadog refused the first time, took the second, and what they refused is on record.
    assert [line.endswith("recovered") for line in watched.team.texts()] == [True]
    assert {403, 202} <= set(watched.datadog.statuses())
    files = watched.written()
    whole = b"".join(files.values())
    assert whole.count(b"is not known here") >= 2
    assert {"airflow.db", "index.html", "manifest.json", "validation.json"} <= {Path(name).name for name in files}
    for planted in (KEY, SIGNING_KEY, PATH_KEY):
        assert [name for name, data in files.items() if planted[:12].encode() in data] == []
        assert planted[:12] not in "".join(watched.said)
