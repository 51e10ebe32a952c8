"""What is no longer configured is taken away, and nothing else, whatever state the configuration is in."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_health.config.settings import Settings
from model_health.errors import BadInput, ConfigError
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext
from model_health.sinks.registry import open_sink
from model_health.sinks.retire import Retired, configured, retire
from support.configs import MODEL, SUITE, make_settings, write_files
from support.prometheus_servers import free_port, pushgateway
from support.sink_samples import run_samples

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RULE = "{flags: [nan_detected], fail: 0, tier: critical, owner: me, runbook: non-finite, reason: broken}"
FILES = {
    "models/tiny.yaml": MODEL,
    "models/asleep.yaml": MODEL.replace("tiny", "asleep", 1) + "enabled: false\n",
    "canaries/smoke.yaml": SUITE,
    "gates.yaml": f"rules: {{non-finite: {RULE}}}\n",
    "sinks.yaml": "textfile: {enabled: true, folder: textfiles}\n",
}


def settings_of(home: Path, **files: str) -> Settings:
    return make_settings(write_files(home, {**FILES, **files}))


def published(home: Path) -> set[str]:
    return {path.name.split("-")[2] for path in (home / "textfiles").glob("*-run-*.prom")}


def test_only_enabled_models_with_their_suites_stay(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    sink = open_sink("textfile", settings)
    for model, suite in (("tiny", "smoke"), ("tiny", "old"), ("asleep", "smoke"), ("gone", "smoke")):
        sink.publish(*run_samples(NOON, model=model, suite=suite))
    assert retire(settings).taken == {"textfile": 6}
    assert published(tmp_path) == {"tiny"}
    assert retire(settings).taken == {"textfile": 0}


def test_gates_are_taken_from_their_file(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert configured(settings).gates == {"non-finite"}
    assert configured(settings).targets is None
    assert configured(settings, targets=["local"]).targets == {"local"}


@pytest.mark.parametrize(
    "broken",
    [
        {"models/other.yaml": "name: other\n"},
        {"canaries/smoke.yaml": "name: smoke\n"},
        {"gates.yaml": "rules: 3\n"},
        {"models/tiny.yaml": MODEL + "enabled: false\n"},
    ],
)
def test_a_broken_configuration_takes_nothing_away(tmp_path: Path, broken: dict[str, str]) -> None:
    open_sink("textfile", settings_of(tmp_path)).publish(*run_samples(NOON, model="gone", suite="smoke"))
    with pytest.raises(BadInput):
        retire(settings_of(tmp_path, **broken))
    assert published(tmp_path) == {"gone"}


def test_no_models_at_all_is_taken_for_a_wrong_home(tmp_path: Path) -> None:
    home = write_files(tmp_path, {"gates.yaml": "rules: {}\n"})
    with pytest.raises(ConfigError, match="no model is enabled"):
        retire(make_settings(home))


def test_sinks_that_show_nothing_have_nothing_to_retire(tmp_path: Path) -> None:
    assert retire(settings_of(tmp_path, **{"sinks.yaml": "local: {enabled: true}\n"})) == Retired()


def test_a_sink_that_does_not_answer_keeps_nothing_from_the_others(tmp_path: Path) -> None:
    down = f"prometheus: {{enabled: true, url: 'http://127.0.0.1:{free_port()}'}}\n"
    settings = settings_of(tmp_path, **{"sinks.yaml": down + FILES["sinks.yaml"]})
    open_sink("textfile", settings).publish(*run_samples(NOON, model="gone", suite="smoke"))
    retired = retire(settings)
    assert retired.taken["textfile"] > 0
    assert published(tmp_path) == set()
    assert "no answer" in retired.problems["prometheus"]


@pytest.mark.services
def test_a_gateway_forgets_a_model_that_is_no_longer_configured(tmp_path: Path) -> None:
    with pushgateway(tmp_path) as server:
        settings = settings_of(tmp_path, **{"sinks.yaml": f"prometheus: {{enabled: true, url: '{server.url}'}}\n"})
        sink = open_sink("prometheus", settings)
        for model in ("tiny", "gone"):
            sink.publish(*run_samples(NOON, model=model, suite="smoke"))
        verdict = Sample("gate_verdict", 2.0, None, NOON, {"model": "tiny", "suite": "smoke", "gate": "old"})
        sink.publish([verdict], PublishContext("r"))
        assert retire(settings).taken == {"prometheus": 3}
        assert {group["model"] for group in server.groups()} == {"tiny"}
        assert not [group for group in server.groups() if "gate" in group]
