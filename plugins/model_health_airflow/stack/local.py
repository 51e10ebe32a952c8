"""The services of docker-compose.yaml as processes: started in order, waited for, restarted, ended.

Owns processes and their ends. What each is called and told stands in docker-compose.yaml, read through `translate`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from model_health.errors import CouldNotMeasure
from model_health_airflow.stack.compose import Compose, Service, load_compose
from model_health_airflow.stack.database import binaries, identity, initialise, socket_folder
from model_health_airflow.stack.secret_files import write_secrets
from model_health_airflow.stack.translate import LOOPBACK, PORTS, Here, write_translated

NOT_HERE = {
    "grafana": "Debian has no package of it",
    "object-store": "the store is a folder",
    "bucket": "the store is a folder",
    "datadog-agent": "it needs an account",
}
"""Services that only run in containers, and why."""
PACKAGES = {
    "redis-server": "redis-server",
    "prometheus": "prometheus",
    "prometheus-pushgateway": "prometheus-pushgateway",
    "prometheus-alertmanager": "prometheus-alertmanager",
}
"""Program -> Debian package."""
START_SECONDS = 900.0
_STOP_SIGNALS = {"postgres": signal.SIGINT}  # as in its image: connections are ended, not waited for
_SUBREAPER = 36


@dataclass
class Running:
    """A service, the process that it is now, and how often it was started."""

    service: Service
    process: subprocess.Popen[bytes]
    starts: int = 1


@dataclass
class Stack:
    """The whole deployment on this machine; a context manager.

    Args:
        folder: for everything that is written.
        project: the folder with docker-compose.yaml, configs and dags.
        variables: what `.env` would set.
    """

    folder: Path
    project: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        secrets = self.folder / "secrets/made"
        self.compose: Compose = load_compose(
            self.project / "docker-compose.yaml", {**self.variables, "SECRETS_DIR": str(secrets)}
        )
        self.names = set(self.compose.services) - set(NOT_HERE)
        self.here = Here(self.folder, self.project, _free_ports())

    def url(self, service: str) -> str:
        """Base address of a service."""
        return f"http://{self.here.address(service)}"

    def __enter__(self) -> Self:
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_all(self) -> None:
        for name, package in PACKAGES.items():
            if shutil.which(name) is None:
                raise CouldNotMeasure("is not installed", subject=name, hint=f"apt-get install {package}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # PostgreSQL is another user, who must get to its own folder
        (self.folder / "logs").mkdir(exist_ok=True)
        write_secrets(self.folder / "secrets/made")
        write_translated(self.compose, self.here, self.names)
        healthy: set[str] = set()
        for service in self.compose.in_order(self.names):
            for name, condition in service.needs.items():
                if condition == "service_healthy" and name not in healthy:
                    self.wait_healthy(name)
                    healthy.add(name)
            if service.name == "postgres":
                initialise(service, self.here, self.here.environment(service))
            self.running[service.name] = Running(service, self._start(service))
            if self._waited_for(service):
                self._wait_ended(service)
        for name in sorted(set(self.running) - healthy):
            self.wait_healthy(name)

    def _waited_for(self, service: Service) -> bool:
        conditions = {self.compose.services[name].needs.get(service.name) for name in self.names}
        return "service_completed_successfully" in conditions

    def _environment(self, service: Service) -> dict[str, str]:
        own = str(Path(sys.executable).parent)
        base = {name: os.environ[name] for name in ("LANG", "TZ", "TMPDIR") if name in os.environ}
        base |= {"PATH": f"{own}:{binaries()}:{os.environ['PATH']}", "HOME": str(self.folder), "PYTHONUNBUFFERED": "1"}
        return base | self.here.environment(service)

    def _start(self, service: Service) -> subprocess.Popen[bytes]:
        words = self.here.words(service.command, service)
        environment = self._environment(service)
        options: dict[str, Any] = {}
        if service.name == "postgres":
            words = [str(binaries() / words[0]), *words[1:]]
            words += ["-c", f"unix_socket_directories={socket_folder(environment)}"]
            options = identity()
        with ExitStack() as stack:
            log = stack.enter_context((self.folder / "logs" / f"{service.name}.log").open("ab"))
            place = self.folder if service.name == "postgres" else self.project
            return subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place,
                                    start_new_session=True, **options)  # fmt: skip

    def healthy(self, name: str) -> bool:
        """Run the service's own health check once."""
        service = self.compose.services[name]
        with (self.folder / "logs" / f"{name}.health.log").open("ab") as log:
            done = subprocess.run(self.here.health(service), env=self._environment(service), stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log, cwd=self.project, check=False)  # fmt: skip
        return done.returncode == 0

    def wait_healthy(self, name: str, seconds: float = START_SECONDS) -> None:
        """Wait until a service is well. Raises `CouldNotMeasure` where it ends, or takes too long."""
        one = self.running[name]
        if not one.service.health:
            return
        deadline = time.monotonic() + seconds
        while not self.healthy(name):
            if (status := one.process.poll()) is not None:
                raise CouldNotMeasure(f"ended with status {status}: {self.last_words(name)}", subject=name)
            if time.monotonic() > deadline:
                raise CouldNotMeasure(f"was not well within {seconds:.0f} s: {self.last_words(name)}", subject=name)
            time.sleep(0.5)

    def _wait_ended(self, service: Service) -> None:
        status = self.running[service.name].process.wait(START_SECONDS)
        if status:
            raise CouldNotMeasure(f"ended with status {status}: {self.last_words(service.name)}", subject=service.name)
        del self.running[service.name]

    def restart_ended(self) -> list[str]:
        """Start every service again that has ended, as `restart: unless-stopped` would, and return their names."""
        ended = [one for one in self.running.values() if one.process.poll() is not None]
        for one in ended:
            one.process = self._start(one.service)
            one.starts += 1
        return [one.service.name for one in ended]

    def last_words(self, name: str, lines: int = 1) -> str:
        """The end of a service's log."""
        with suppress(OSError):
            text = (self.folder / "logs" / f"{name}.log").read_text(errors="replace").strip()
            return "\n".join(text.splitlines()[-lines:])
        return ""

    def stop(self) -> None:
        """Stop every service, those first that need others; whatever they left behind is killed."""
        while self.running:
            needed = {name for one in self.running.values() for name in one.service.needs}
            wave = [one for name, one in self.running.items() if name not in needed]
            for one in wave:
                _signal(one.process, _STOP_SIGNALS.get(one.service.name, signal.SIGTERM))
            for one in wave:
                with suppress(subprocess.TimeoutExpired):
                    one.process.wait(one.service.grace_seconds)
                _signal(one.process, signal.SIGKILL)
                one.process.wait()
                del self.running[one.service.name]


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def adopt_orphans() -> None:
    """Become the parent of what services leave behind when they end, so that it can be found and ended too (Linux)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def end_orphans() -> None:
    """Kill what services left behind, their children's children included, and reap it."""
    while orphans := list(_children(os.getpid())):
        for pid in orphans:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children(parent: int) -> Iterable[int]:
    tasks = Path(f"/proc/{parent}/task")
    for file in tasks.glob("*/children") if tasks.exists() else ():
        with suppress(OSError):
            yield from map(int, file.read_text().split())


def _free_ports() -> dict[tuple[str, int], int]:
    wanted = [(name, port) for name, ports in PORTS.items() for port in ports]
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in wanted]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return {pair: int(one.getsockname()[1]) for pair, one in zip(wanted, sockets, strict=True)}
