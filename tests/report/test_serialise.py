"""Bytes: legal JSON, and the same for the same content."""

from __future__ import annotations

import gzip
import hashlib
import json

from model_health.report.builder import build_report
from model_health.report.serialise import digest, to_gzip, to_json
from model_health.report.trace import Trace
from support.telemetry import decode, make_facts, make_findings, make_telemetry


def report() -> Trace:
    return build_report(make_telemetry(), make_findings(), make_facts(output_text="Größe — 你好"), decode)


def test_the_same_content_gives_the_same_bytes() -> None:
    assert to_gzip(report()) == to_gzip(report())
    assert to_gzip(report())[4:8] == bytes(4)  # the gzip header's time


def test_a_report_of_64_tokens_and_12_layers_takes_at_most_60_kilobytes() -> None:
    telemetry = make_telemetry(steps=64, layers=12, heads=12)
    assert len(to_gzip(build_report(telemetry, make_findings(), make_facts(), decode))) <= 60_000


def test_gzip_holds_the_compact_json() -> None:
    assert gzip.decompress(to_gzip(report())) == to_json(report())
    assert b": " not in to_json(report()).replace(b"France?: ", b"")
    assert "你好".encode() in to_json(report())


def test_the_indented_form_says_the_same() -> None:
    assert json.loads(to_json(report(), indent=2)) == json.loads(to_json(report()))


def test_the_digest_is_of_the_bytes() -> None:
    assert digest(b"abc") == "sha256:" + hashlib.sha256(b"abc").hexdigest()
