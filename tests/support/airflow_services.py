"""A whole Airflow on loopback for one test: API server, scheduler and Dag processor, started and surely ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, Self

from support.airflow import Project

USER, PASSWORD = "admin", "only-for-this-test"
_STARTUP_SECONDS = 400


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class AirflowApi:
    """What an API server is asked over HTTP; how long somebody waits for an answer is up to the subclass."""

    url: str
    _token = ""

    def wait(self, ready: Callable[[], Any], what: str, *, seconds: float = _STARTUP_SECONDS) -> Any:
        """Poll until `ready` gives something, and return it."""
        raise NotImplementedError

    def log_in(self, password: str) -> None:
        """Get a token, once the server gives one."""
        # The execution API is built by its first call; tasks give up on it sooner than it is ready.
        self.wait(lambda: self._request("GET", "/execution/health/ping") is not None, "the execution API")
        login = {"username": USER, "password": password}
        self._token = self.wait(lambda: self._request("POST", "/auth/token", login), "a token")["access_token"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Answer of the public REST API; None while it is not there, or says that it has no such thing."""
        return self._request(method, f"/api/v2{path}", body)

    def run_dag(self, dag_id: str, conf: dict[str, Any], *, seconds: float = 600) -> dict[str, Any]:
        """Trigger a run, wait for its end, and return it."""
        self.wait(lambda: self.call("PATCH", f"/dags/{dag_id}", {"is_paused": False}), f"Dag {dag_id}")
        started = self.call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        path = f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(started['dag_run_id'])}"

        def ended() -> Any:
            run = self.call("GET", path)
            return run if run["state"] in ("success", "failed") else None

        run: dict[str, Any] = self.wait(ended, "end of the run", seconds=seconds)
        return run | {"tasks": self.call("GET", f"{path}/taskInstances")["task_instances"]}

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code in (404, 503):
                return None
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:500]}") from error
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None


class AirflowServices(AirflowApi):
    """Airflow's processes in `project`, whose database must have been migrated; a context manager."""

    COMPONENTS = (("api-server", "--workers", "1"), ("scheduler",), ("dag-processor",))

    def __init__(self, project: Project, **environment: Any) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._home = project.home / ".airflow"
        passwords = self._home / "passwords.json"
        passwords.write_text(json.dumps({USER: PASSWORD}))
        self._environment = project.environment(**environment) | {
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret that only this test's processes share, 64 bytes are enough",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            for component in self.COMPONENTS:
                with (self._home / f"{component[0]}.log").open("wb") as log:
                    self._processes.append(
                        subprocess.Popen(
                            [sys.executable, "-m", "airflow", *component],
                            env=self._environment,
                            stdout=log,
                            stderr=subprocess.STDOUT,
                            start_new_session=True,
                        )
                    )
            self.log_in(PASSWORD)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def wait(self, ready: Callable[[], Any], what: str, *, seconds: float = _STARTUP_SECONDS) -> Any:
        """Poll until `ready` gives something, and return it. The limit only keeps a broken test from hanging."""
        deadline = time.monotonic() + seconds
        while not (got := ready()):
            dead = [process.args for process in self._processes if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise AssertionError(f"no {what}; ended: {dead}\n{self.logs()}")
            time.sleep(0.5)
        return got

    def logs(self) -> str:
        """The ends of all logs, for a failed test."""
        files = [*self._home.glob("*.log"), *self._home.rglob("attempt=*.log")]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in files)

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self._processes:
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    continue
            for process in self._processes:
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    continue
