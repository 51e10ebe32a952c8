"""A recognisable key is used through every failure, and looked for in all that was written, logged, raised or sent."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_health.config.settings import Settings
from model_health.config.sinks import load_sinks
from model_health.errors import ModelHealthError
from model_health.sinks.payload import encode
from model_health.sinks.registry import open_sink
from support.children import wait_until
from support.configs import make_settings
from support.datadog_faults import (
    HALF_CLOSED,
    PATIENCE,
    RESET,
    SILENCE,
    TAKEN_THEN_RESET,
    Fault,
    answer,
    patience_with,
    too_many_requests,
)
from support.datadog_intake import Intake, datadog_intake
from support.sink_samples import run_samples

PLANTED = "planted4f1d2c3b4a5968778695a4b3c2d1e0f"
BASIC = base64.b64encode(f"health:{PLANTED}".encode()).decode()
# What each sink sends of it, and so what the other side could echo.
ECHOED = {"datadog": PLANTED.encode(), "prometheus": f"{PLANTED} Basic {BASIC}".encode()}
ECHO = b'{"errors": ["the key ECHOED is bad"]}'

FAULTS: list[Fault | None] = [
    None,
    answer(400, ECHO),
    answer(401, ECHO),
    answer(403, ECHO),
    answer(413, ECHO),
    answer(500, ECHO),
    answer(503, b"<html>ECHOED</html>"),
    answer(200, b"<html>ECHOED</html>"),
    answer(302, ECHO, Location="http://127.0.0.1:9/steal"),
    answer(307, ECHO, Location="http://127.0.0.1:9/steal"),
    too_many_requests(3),
    SILENCE,
    RESET,
    HALF_CLOSED,
    TAKEN_THEN_RESET,
    Fault("cut_body"),
    Fault("slow_body", seconds=1.0),
]


class Witness(logging.Handler):
    """Keeps every record that any logger makes, formatted."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def everything_logged() -> Iterator[list[str]]:
    witness, root = Witness(), logging.getLogger()
    level = root.level
    root.addHandler(witness)
    root.setLevel(logging.DEBUG)
    try:
        yield witness.lines
    finally:
        root.removeHandler(witness)
        root.setLevel(level)


def settings_of(home: Path, intake: Intake, patience: float = PATIENCE) -> Settings:
    return make_settings(
        home,
        SINKS__DATADOG__URL=intake.url,
        SINKS__DATADOG__TIMEOUT_SECONDS=str(patience),
        SECRETS__DATADOG_API_KEY=PLANTED,
        SECRETS__DATADOG_APP_KEY=PLANTED,
        SINKS__PROMETHEUS__URL=intake.url,
        SINKS__PROMETHEUS__TIMEOUT_SECONDS=str(patience),
        SINKS__PROMETHEUS__USER="health",
        SINKS__PROMETHEUS__PASSWORD_SECRET="gateway",
        SECRETS__GATEWAY=PLANTED,
    )


def leaks(text: str) -> bool:
    """Whether the key, or the head of it, or what basic authentication makes of it, is there."""
    return PLANTED[:12] in text or BASIC[:16] in text


@pytest.mark.parametrize("name", ["datadog", "prometheus"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "healthy" if fault is None else fault.kind)
def test_a_key_is_in_nothing_that_is_written_logged_raised_or_sent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, fault: Fault | None
) -> None:
    with datadog_intake(api_key=PLANTED) as intake, everything_logged() as logged:
        settings = settings_of(tmp_path, intake, patience_with(fault))
        sink = open_sink(name, settings)
        samples, context = run_samples(datetime.now(UTC))
        shown = [repr(settings), settings.model_dump_json(), repr(sink), repr(load_sinks(settings))]
        shown.append(json.dumps(encode(samples, context)))
        intake.script(fault and replace(fault, body=fault.body.replace(b"ECHOED", ECHOED[name])))
        try:
            shown.append(repr(sink.publish(samples, context)))
        except ModelHealthError as error:
            shown += [str(error), repr(error), repr(error.args), *traceback.format_exception(error)]
        open_sink("local", settings).publish(samples, context)
        assert wait_until(lambda: bool(intake.requests))  # a client may lose its patience before it is read
        sent = [f"{request.method} {request.path} {request.query}" for request in intake.requests]
        sent += [request.body.decode("utf-8", "replace") for request in intake.requests]
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert sent
    assert written
    assert any("127.0.0.1" in line or intake.url in line for line in [*logged, *shown])
    out = capfd.readouterr()
    for text in (*shown, *logged, *sent, *written, out.out, out.err):
        assert not leaks(text), text[:500]


def test_the_key_does_arrive_where_it_belongs(tmp_path: Path) -> None:
    with datadog_intake(api_key=PLANTED) as intake:
        open_sink("datadog", settings_of(tmp_path, intake)).publish(*run_samples(datetime.now(UTC)))
        assert set(intake.statuses()) == {202}
    with datadog_intake(api_key="another") as intake, pytest.raises(ModelHealthError, match="answered 403"):
        open_sink("datadog", settings_of(tmp_path, intake)).publish(*run_samples(datetime.now(UTC)))


def test_the_search_finds_a_key_that_leaks() -> None:
    assert leaks(f"... {PLANTED} ...")
    assert leaks(f"Authorization: Basic {BASIC}")
    assert not leaks("Authorization: [hidden]")
