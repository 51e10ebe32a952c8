"""`model-health store`: one command each, one line where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_health.cli.main import main
from model_health.runner import reap as reaping
from model_health.store.index.index import Index
from support.full_index import fill


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "configs").mkdir()
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    (tmp_path / ".model-health").mkdir()
    fill(f"sqlite:///{tmp_path}/.model-health/index.db")
    return tmp_path


def test_a_backup_is_one_command_and_so_is_the_way_back(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "backup.tar"
    assert main(["store", "backup", str(file)]) == 0
    assert "rows of" in capsys.readouterr().out
    assert main(["store", "restore", str(file)]) == 3
    assert "the index is not empty" in capsys.readouterr().err
    monkeypatch.setenv("MODEL_HEALTH_INDEX_URL", f"sqlite:///{home}/new.db")
    monkeypatch.setenv("MODEL_HEALTH_STORE_URI", str(home / "new"))
    assert main(["store", "restore", str(file)]) == 0
    with Index.open(f"sqlite:///{home}/new.db") as index:
        assert len(index.runs()) == 1


def test_pruning_shows_first_and_needs_to_be_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "prune"]) == 2
    assert "nothing says what is old" in capsys.readouterr().err
    assert main(["store", "prune", "--days", "1", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == []
    assert "0 runs would be forgotten (--delete does it)" in shown.err
    assert main(["store", "prune", "--runs", "1", "--delete"]) == 0
    assert "0 runs are forgotten" in capsys.readouterr().err


@pytest.mark.parametrize("asked", ["0", "-1", "many"])
def test_a_limit_that_is_no_number_is_a_usage_error(home: Path, asked: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["store", "prune", "--days", asked])
    assert caught.value.code == 2


def test_dead_runs_are_named(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reaping, "reap", lambda: reaping.Reaped(("m/s/1",), ("m/s/2",)))
    assert main(["store", "reap"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "m/s/1 could not be measured: its process died without a word\n"
    assert shown.err == "1 runs were dead, 1 silent ones live\n"
