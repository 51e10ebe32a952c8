"""Passwords are made up once, agree with each other, and are said to nobody."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from model_health_airflow.stack import secret_files
from model_health_airflow.stack.secret_files import PASSWORDS, main, write_secrets


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in (folder / "stack").iterdir()}


def test_every_password_is_another_and_long(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    made = read(tmp_path)
    values = [made[name] for name in (*PASSWORDS, "airflow_fernet_key")]
    assert len(set(values)) == len(values)
    assert min(map(len, values)) >= 44


def test_urls_hold_the_passwords_of_their_roles(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    made = read(tmp_path)
    assert f":{made['index_password']}@postgres:5432/model_health" in made["index_url"]
    assert f"model_health_reader:{made['index_reader_password']}@" in made["index_reader_url"]
    assert f"airflow:{made['airflow_database_password']}@postgres:5432/airflow" in made["airflow_database_url"]
    assert f":{made['redis_password']}@redis:" in made["celery_broker_url"]
    assert made["redis_conf"] == f"requirepass {made['redis_password']}"


def test_a_second_time_keeps_what_is_there_and_adds_what_is_missing(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    before = read(tmp_path)
    assert write_secrets(tmp_path) == []
    (tmp_path / "stack/index_url").unlink()
    assert write_secrets(tmp_path) == ["index_url"]
    assert read(tmp_path) == before


def test_nobody_else_on_the_host_gets_to_them(tmp_path: Path) -> None:
    write_secrets(tmp_path / "secrets")
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets/stack").iterdir()} == {0o444}


def test_it_runs_with_nothing_but_python_and_says_no_password(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", secret_files.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "files made" in done.stdout
    assert not any(value in done.stdout + done.stderr for value in read(tmp_path).values())


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file/below")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
