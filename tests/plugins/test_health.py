"""A health check says well or not, in one line, whatever it meets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from model_health_airflow.health import main

HEALTH = {"scheduler": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}, "dag_processor": {"status": None}}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path in ("/well", "/api/v2/monitor/health", "/broken/api/v2/monitor/health")
            self.send_response(200 if found else 503)
            self.end_headers()
            self.wfile.write(b"<html>" if "broken" in self.path else json.dumps(HEALTH).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["page", "{}/well"], 0),
        (["page", "{}/gone"], 1),
        (["page", "http://127.0.0.1:9/"], 1),
        (["page", "file:///etc/passwd"], 1),
        (["component", "{}", "scheduler"], 0),
        (["component", "{}", "triggerer"], 1),
        (["component", "{}", "dag_processor"], 1),
        (["component", "{}", "nobody"], 1),
        (["component", "{}/broken", "scheduler"], 1),
        (["component", "http://127.0.0.1:9", "scheduler"], 1),
    ],
)
def test_a_check_ends_with_its_answer(
    server: str, words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(server) for word in words]) == code
    assert capsys.readouterr().err.count("\n") == code


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"AIRFLOW__CELERY__BROKER_URL": "redis://127.0.0.1:9/0"},
        {"AIRFLOW__CELERY__BROKER_URL_CMD": "cat /does/not/exist"},
    ],
)
def test_a_worker_without_a_broker_is_not_well(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AIRFLOW__CELERY__BROKER_URL", "AIRFLOW__CELERY__BROKER_URL_CMD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["worker", "cpu"]) == 1
    assert capsys.readouterr().err.startswith("worker: ")
