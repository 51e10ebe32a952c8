"""A test message arrives at once where everything is right, and says what is wrong where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.config.settings import Settings
from model_health.delivery.trial import send_test
from model_health.errors import ConfigError
from support.configs import make_settings, write_files
from support.outbox import NOON
from support.webhook import webhook_server

GATES = """
rules: {}
routes: [{transports: ["webhook:team", "webhook:other"]}]
transports: {webhook: {team: {url_secret: team_url}, other: {url_secret: other_url}}}
"""


def settings_of(home: Path, gates: str, **variables: str) -> Settings:
    return make_settings(write_files(home, {"gates.yaml": gates}), **variables)


def test_each_transport_gets_the_message_or_says_why_not(tmp_path: Path) -> None:
    with webhook_server() as webhook:
        settings = settings_of(tmp_path, GATES, SECRETS__TEAM_URL=webhook.url)
        answers = send_test(settings, NOON)
        assert send_test(settings, NOON, ["webhook:team"]) == {"webhook:team": None}
    assert answers["webhook:team"] is None
    assert "MODEL_HEALTH_SECRETS__OTHER_URL" in str(answers["webhook:other"])
    assert webhook.texts()[0] == "[WARN] test-message / test-message: test-message raised"
    assert "/services/" not in str(answers)
    assert not Path(settings.index_url.removeprefix("sqlite:///")).exists()  # nothing is recorded or queued


def test_without_a_transport_it_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no transport is configured"):
        send_test(settings_of(tmp_path, "rules: {}\n"), NOON)
