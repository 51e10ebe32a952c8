"""`make stack` in a project of a test: tiny models, shipped configuration, a compose file with a few changes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.airflow_services import AirflowApi
from support.projects import suite

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 1200
END_SECONDS = 300


def make_project(home: Path, environment: Mapping[str, Mapping[str, str]]) -> Path:
    """Make a project of the repository's own files, with the suite `smoke` and no model.

    `environment` adds variables to services of the compose file, as an override file would; `*` stands for all of them.
    """
    shutil.copytree(REPOSITORY / "configs", home / "configs", ignore=shutil.ignore_patterns("models", "canaries"))
    for folder in ("configs/models", "configs/canaries"):
        (home / folder).mkdir()
    (home / "configs/canaries/smoke.yaml").write_text(yaml.safe_dump(suite()))
    shutil.copytree(REPOSITORY / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("plugins", "dashboard", ".streamlit"):
        (home / name).symlink_to(REPOSITORY / name)
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
    for name, service in compose["services"].items():
        if "environment" in service:
            service["environment"] = {**service["environment"], **environment.get("*", {}), **environment.get(name, {})}
    (home / "docker-compose.yaml").write_text(yaml.safe_dump(compose))
    return home


@dataclass(frozen=True)
class RunningStack:
    """A stack that is ready. `project` is the folder with its configs and Dags, `folder` where it writes."""

    project: Path
    folder: Path
    process: subprocess.Popen[bytes]
    urls: Mapping[str, str]

    def end(self, number: int) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(END_SECONDS)

    def logs(self) -> str:
        """The ends of all logs, for a failed test."""
        files = [*self.folder.glob("logs/*.log"), *self.folder.rglob("attempt=*.log")]
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-2500:]}" for log in files)

    def wait(self, ready: Callable[[], Any], what: str, *, seconds: float = 600) -> Any:
        """Poll until `ready` gives something. The limit only keeps a broken test from hanging."""
        deadline = time.monotonic() + seconds
        while not (got := ready()):
            assert self.process.poll() is None, f"the stack ended\n{self.logs()}"
            assert time.monotonic() < deadline, f"no {what}\n{self.logs()}"
            time.sleep(0.5)
        return got


class StackApi(AirflowApi):
    """The REST API of a running stack, as its admin."""

    def __init__(self, stack: RunningStack) -> None:
        self.url = stack.urls["api-server"]
        self._stack = stack
        self.log_in((stack.folder / "secrets/run/airflow_admin_password").read_text().strip())

    def wait(self, ready: Callable[[], Any], what: str, *, seconds: float = 600) -> Any:
        """Poll as long as the stack runs."""
        return self._stack.wait(ready, what, seconds=seconds)


def leftovers(folder: Path) -> list[str]:
    """Command lines of processes that work in this folder or were told of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(folder).encode() in words and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


@contextmanager
def running_stack(project: Path, secrets: Mapping[str, str]) -> Iterator[RunningStack]:
    """Start the stack, wait until it is ready, and stop it. `secrets` are those that configs name."""
    # Not pytest's folder: that belongs to root alone where root runs the tests, and PostgreSQL refuses to be root.
    folder = Path(tempfile.mkdtemp(prefix="model-health-stack-"))
    sinks = folder / "secrets/made/sinks"
    sinks.mkdir(parents=True)
    for name, value in secrets.items():
        (sinks / name).write_text(value)
    output = folder / "output"
    command = [sys.executable, "-m", "model_health_airflow.stack", "--folder", str(folder), "--project", str(project)]
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "ready" not in output.read_text():
            stack = RunningStack(project, folder, process, {})
            assert process.poll() is None, output.read_text() + stack.logs()
            assert time.monotonic() < deadline, output.read_text() + stack.logs()
            time.sleep(0.5)
        yield RunningStack(project, folder, process, json.loads((folder / "stack.json").read_text()))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder)
