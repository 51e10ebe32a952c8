"""SCALE.md says what the result files say, cites every source, and is refused where a part lacks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from model_health.bench.scale.command import main
from model_health.bench.scale.sources import SOURCES
from model_health.bench.scale.words import quantity
from model_health.errors import ExitCode

MADE = {"made_at": "2026-01-02T03:04:05+00:00", "machine": "a machine", "versions": {"python": "3"}, "load": [1.0, 2.0]}
ROUND = {"known": True, "runs": 10, "wall": 4.0, "cpu": 0.2, "server_cpu": 0.12, "index_bytes": 1_000_000}
HOUR = {
    "hour": 1, "resident_bytes": 2**20, "open_files": 6, "sockets": 0, "threads": 1, "files": 9, "bytes": 10,
    "rows": {"runs": 5, "metric_points": 50, "outbox": 7}, "runs": 5, "reaped": 0, "pruned": 0, "delivered": 4,
    "failed": 1, "alerts": 2,
}  # fmt: skip
TASKS = {
    "tasks": 1000.0, "succeeded": 500.0, "failed": 0.0, "seconds": 250.0, "task_median": 1.0, "task_p95": 2.0,
    "wait_median": 3.0, "wait_p95": 4.0, "in_tasks": 5.0, "largest_xcom_bytes": 3000, "whole": False,
    "waited_seconds": 300.0, "load": [1.0, 2.0],
}  # fmt: skip
PARTS = {
    "facts": {
        "report_bytes": 64_000, "tokens": 64, "layers": 10, "manifest_bytes_per_prompt": 500.0, "points_per_prompt": 45,
        "points_per_run": 31, "prometheus_series": 234, "prometheus_pushes": 2, "datadog_series": 137,
        "datadog_bytes": 1800, "config_cpu": {"10": 0.004, "1000": 0.3}, "import_cpu": 4.0,
    },
    "ingest": {"database": "SQLite 3", "prompts": 16, "points": 751, "batch": 10,
               "rounds": [ROUND, {**ROUND, "index_bytes": 8_510_000}]},
    "hour": {
        "database": "SQLite 3", "asked": 10_000, "models": 100, "prompts": 6, "wall": 36.0,
        "cpu": {"index": 1.0, "outbox": 2.0, "gates": 3.0}, "server_cpu": 0.0, "gates": 1000, "delivered": 200,
        "requests": 400, "rows": {"metric_points": 30_100}, "index_bytes": 3_010_000,
        "table_bytes": {"outbox": 300_000}, "waiting": 0,
    },
    "soak": {
        "database": "SQLite 3", "models": 5, "prompts": 3, "minutes": 10, "keep": 10, "wall": 9.0, "cpu": 3.0,
        "requests": {"all": 90, "refused": 2},
        "hours": [{**HOUR, "hour": hour, "resident_bytes": hour * 2**20} for hour in range(1, 6)],
    },
    "airflow": {
        "executor": "LocalExecutor", "task_slots": 4, "asked": 1000,
        "runs": [{**TASKS, "dag": "many_nothings", "cpu_seconds": {"scheduler": 150.0, "api-server": 50.0}},
                 {**TASKS, "dag": "many_canaries", "cpu_seconds": {"scheduler": 400.0}}],
    },
}  # fmt: skip


def save(folder: Path, *without: str) -> list[str]:
    for name, content in PARTS.items():
        if name not in without:
            (folder / f"{name}.json").write_text(json.dumps({"what": name, "made": MADE, **content}))
    return [str(path) for path in sorted(folder.glob("*.json"))]


def test_the_page_says_what_the_results_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--results", *save(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    page = " ".join(lines)
    assert "SQLite 3 500 a second (met)" in page
    assert "| LocalExecutor | 4 | nothing | 500 of 1000 | 250 s | 2.00 |" in page
    assert "10,000 models an hour take 0.17 cores" in page
    assert "resident MiB +1.00, open files +0.00" in page
    assert "values x 1000 B + runs x 3 kB" in page
    assert "| runs | 240 | 24,000 | 2,400,000 | models x runs a day |" in page
    assert "0.40 CPU seconds for a task that does nothing (scheduler 0.30, api-server 0.10), 0.80 for a" in page


def test_every_source_is_cited_and_every_citation_has_a_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["render", "--results", *save(tmp_path)])
    text = capsys.readouterr().out
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", text)}
    assert cited == set(range(1, len(SOURCES) + 1))
    assert all(source.address in text for source in SOURCES.values())


@pytest.mark.parametrize("lacking", ["facts", "hour", "ingest", "airflow"])
def test_a_page_without_a_part_that_the_cost_model_needs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lacking: str
) -> None:
    assert main(["render", "--results", *save(tmp_path, lacking)]) == ExitCode.BAD_INPUT
    assert f"no result of '{lacking}'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", '{"what": "weather"}', '{"what": "hour"}'])
def test_a_file_that_is_no_result_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert main(["render", "--results", str(path)]) == ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is no result of a measurement of scale" in said


def test_the_cost_of_another_fleet_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--models", "7", "8", "--prompts", "2", "--runs", "1", "--tokens-per-second", "1000"]
    assert main(["cost", *options, "--results", *save(tmp_path)]) == 0
    assert "| reports | 14 | 16 | runs x prompts |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(999, "B", "999 B"), (1500, "B", "1.5 kB"), (3e15, "B", "3,000.0 TB"), (0.5, "s", "0.5 s")],
)
def test_quantities_are_readable(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown
