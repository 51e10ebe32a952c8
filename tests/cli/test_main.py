"""The command line as a person meets it: exit codes, one-line errors, tables and JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_health.cli.main import main
from model_health.config.settings import Settings
from model_health.config.thresholds import Thresholds
from model_health.delivery import status
from model_health.report.load import load_report
from model_health.report.serialise import to_json
from model_health.store.index.index import Index, utc_now
from model_health.store.index.records import RunStatus
from model_health.validate.examine import examine_source
from support import traces
from support.projects import configured, model, suite, tiny_project
from support.validation import healthy_telemetry, report_of, store_run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = tiny_project(tmp_path)
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    return settings


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def printed(code: str) -> str:
    """What a fresh interpreter prints."""
    argv = [sys.executable, "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, env=dict(os.environ), check=True).stdout.strip()


def check_one_line(error: str, *words: str) -> None:
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("model-health: ")
    for word in words:
        assert word in lines[0]


def test_run_prints_a_table_and_where_to_look_next(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "run", "--model", "tiny")
    assert code == 0
    for words in ("one", "two", "verdict: healthy", "peak memory", "reports: ", "next: "):
        assert words in out
    assert "2 of 2 prompts" in err
    shown = out.split("model-health show ")[1].split()[0]
    code, out, _ = call(capsys, "show", shown)
    assert code == 0
    assert "one" in out


def test_run_as_json_prints_one_object(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "run", "--model", "tiny", "--json", "--run-id", "r1")
    result = json.loads(out)
    assert code == result["exit_code"] == 0
    assert (result["run_id"], result["status"], result["verdict"], result["prompts"]) == (
        "r1",
        "measured",
        "healthy",
        2,
    )
    assert len(out) < 4096


def test_the_result_file_is_written_for_a_failure_too(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (project.home / "weights/tiny/config.json").unlink()
    file = project.home / "result.json"
    code, _, err = call(capsys, "run", "--model", "tiny", "--result-file", str(file))
    assert code == 2
    check_one_line(err.splitlines()[-1], "config.json")
    result = json.loads(file.read_text())
    assert (result["status"], result["exit_code"]) == ("could_not_measure", 2)
    assert result["reason"]


def test_an_unhealthy_run_ends_with_1_and_says_which_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_project(tmp_path, prompts=[{"id": "one", "text": "Hello", "tolerates": []}])
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    code, out, _ = call(capsys, "run", "--model", "tiny")
    assert code == 1
    assert "verdict: unhealthy" in out
    assert "! high entropy" in out


def test_the_store_can_be_chosen(project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "elsewhere"
    assert (
        call(capsys, "run", "--model", "tiny", "--out", str(target), "--no-prompt-telemetry", "--sink", "local")[0] == 0
    )
    [manifest] = target.rglob("manifest.json")
    code, out, _ = call(capsys, "show", str(manifest))
    assert code == 0
    assert "verdict: healthy" in out


def test_the_local_sink_gets_every_sample_at_once(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "run", "--model", "tiny", "--sink", "local", "--sink", "local")[0] == 0
    [file] = project.home.rglob("*.jsonl")
    metrics = [json.loads(line)["metric"] for line in file.read_text().splitlines()]
    with Index.open(project.index_url) as index:
        [run] = index.runs()
        # every point of the run, then what validation found
        points = sorted(point.metric for point in index.points(run.run_key))
        assert sorted(metrics[:-2]) == points
        assert metrics[-2:] == ["report_invalid", "last_valid_run_timestamp_seconds"]
        assert [row["outcome"] for row in status.ledger_rows(index)] == ["delivered"] * 2


def test_a_sink_that_fails_takes_no_measurement_back(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (project.home / ".model-health").mkdir(exist_ok=True)
    in_the_way = project.home / ".model-health" / "metrics"
    in_the_way.write_text("a file where the sink wants a folder")
    code, out, err = call(capsys, "run", "--model", "tiny", "--sink", "local")
    assert code == 0
    assert "verdict: healthy" in out
    [line] = [line for line in err.splitlines() if line.startswith("model-health: sink local")]
    assert "2 items waiting in the outbox" in line
    assert "model-health outbox deliver" in line
    with Index.open(project.index_url) as index:
        assert [run.status for run in index.runs()] == [RunStatus.MEASURED]
        rows = status.item_rows(index)[::-1]
    assert [(row["state"], row["attempts"]) for row in rows] == [("pending", 1), ("pending", 0)]
    assert "metrics" in rows[0]["last_error"]


def test_under_a_scheduler_nothing_is_sent_before_it_is_validated(
    project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "run", "--model", "tiny", "--airflow-dag-id", "d", "--airflow-run-id", "r")[0] == 0
    with Index.open(project.index_url) as index:
        assert [item.state for item in status.items(index)] == ["held"]
    assert not list(project.home.rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run", "--model", "tinny"], ["tinny", "tiny"]),
        (["run", "--model", "tiny", "--suite", "smok"], ["smok", "smoke"]),
        (["run", "--model", "tiny", "--device", "tpu"], ["tpu"]),
        (["run", "--model", "tiny", "--sink", "carrier-pigeon"], ["carrier-pigeon", "local"]),
        (["run", "--model", "tiny", "--out", "ftp://host/path"], ["ftp"]),
        (["show", "nowhere.json.gz"], ["nowhere.json.gz"]),
        (["show", "http://host/runs/x.json"], ["http"]),
        (["convert", "nowhere.json", "out.json"], ["nowhere.json"]),
        (["suites", "smok"], ["smok", "smoke"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    argv: list[str], words: list[str], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, *argv)
    assert code == 2
    check_one_line(err.splitlines()[-1], *words)
    assert "Traceback" not in err


@pytest.mark.parametrize("argv", [[], ["nothing"], ["run"], ["run", "--model", "tiny", "--batch-size", "0"]])
def test_a_wrong_command_line_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: model-health" in capsys.readouterr().err


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "3 could not measure" in " ".join(capsys.readouterr().out.split())


def test_validate_names_what_is_wrong_and_what_is_right(
    project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "good.json"
    good.write_bytes(to_json(report_of(healthy_telemetry())))
    bad = tmp_path / "bad.json"
    bad.write_text(good.read_text()[:200])
    code, out, err = call(capsys, "validate", str(bad), str(good))
    assert code == 2
    assert out.splitlines() == [f"{good}: valid"]
    warning, invalid = err.splitlines()
    check_one_line(invalid, "bad.json")
    check_one_line(warning, "model-health: warning: ", "good.json")  # it loops: a health matter, and a valid report


def test_validate_holds_a_single_report_to_what_a_run_is_held_to(
    project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(traces.trace("0.3.0")))  # well formed, and its numbers contradict each other
    assert load_report(path).schema_version == "0.3.0"
    code, out, err = call(capsys, "validate", str(path))
    found = examine_source(path, str(path), Thresholds(), utc_now()).result
    assert (code, out) == (2, "")
    critical = [failure.line for failure in found.failures if failure.severity == "critical"]
    assert critical
    assert [line.removeprefix(f"model-health: {path}: ") for line in err.splitlines()] == critical


def test_validate_takes_the_manifest_of_the_folder_that_one_stands_in(
    project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store_run(tmp_path / "elsewhere", [report_of(healthy_telemetry())])
    monkeypatch.chdir(run.path)
    assert call(capsys, "validate", "manifest.json")[0] == 0
    run.report("facts-01").unlink()
    code, _, err = call(capsys, "validate", "manifest.json")
    assert code == 2
    assert "facts-01" in err


def test_validate_records_runs_only(project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "good.json"
    path.write_bytes(to_json(report_of(healthy_telemetry())))
    code, _, err = call(capsys, "validate", str(path), "--record")
    assert code == 2
    check_one_line(err, "good.json", "is no run", "manifest")


def test_validate_without_a_file_checks_the_configuration(
    project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "validate")[:2] == (0, "1 models and 1 suites are valid\n")
    (project.configs_dir / "models/broken.yaml").write_text("name: broken\nbatch_sise: 3\n")
    code, out, err = call(capsys, "validate")
    assert code == 2
    assert "1 models" in out
    check_one_line(err, "broken.yaml", "batch_sise")


def test_convert_writes_todays_version(project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps(traces.trace("0.2.0")))
    new = tmp_path / "new.json.gz"
    code, out, _ = call(capsys, "convert", str(old), str(new))
    assert (code, out.strip()) == (0, str(new))
    assert load_report(new).schema_version == "0.3.0"
    assert call(capsys, "show", str(new))[0] == 0


def test_models_lists_the_healthy_ones_and_names_the_broken(
    project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.configs_dir / "models/broken.yaml").write_text("name: broken\n")
    code, out, err = call(capsys, "models", "--json")
    assert code == 2
    assert [row["name"] for row in json.loads(out)] == ["tiny"]
    check_one_line(err, "broken.yaml")


def test_suites_lists_suites_and_prompts(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "suites", "--json")
    assert [row["name"] for row in json.loads(out)] == ["smoke"]
    code, out, _ = call(capsys, "suites", "smoke")
    assert code == 0
    assert "one" in out
    assert "two" in out


def test_models_needs_no_torch(project: Settings) -> None:
    code = "import sys; from model_health.cli.main import main; main(['models']); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert done.stdout.strip().endswith("False")


def test_a_name_that_does_not_exist_costs_no_torch_import(project: Settings) -> None:
    code = (
        "import sys; from model_health.cli.main import main; code = main(['run', '--model', 'nope']);"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert done.stdout.strip() == "2 False"


def test_cyclic_yaml_is_refused_in_a_line(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (project.configs_dir / "models/cycle.yaml").write_text("a: &a [*a]\n")
    code, _, err = call(capsys, "run", "--model", "cycle")
    assert code == 2
    check_one_line(err.splitlines()[-1], "cycle.yaml")


def test_a_broken_model_leaves_the_others_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_project(tmp_path)
    configured(tmp_path, models=[model("tiny", "tiny"), model("gone", "gone")], suites=[suite()])
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    assert call(capsys, "run", "--model", "gone")[0] == 2
    assert call(capsys, "run", "--model", "tiny")[0] == 0


@pytest.mark.parametrize("argument", ["\udcff\udcfe", "a\ud800b", "a\x00b"])
def test_an_argument_that_is_no_text_is_refused_before_anything_is_done(
    argument: str, project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for argv in (("alerts", "list", "--history", "--model", argument), ("show", argument), (argument,)):
        code, _, err = call(capsys, *argv)
        assert code == 2
        check_one_line(err, "is not text")
