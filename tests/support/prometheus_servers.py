"""Real Pushgateway, Prometheus and Alertmanager from Debian's packages, each on a free port of the loopback.

Each is a context manager: it starts its program in a folder of the test, waits until that answers, and stops it at
the end. A program that is not installed fails the test and names its package: it never skips.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import yaml

START_SECONDS = 180
WAIT_SECONDS = 180
PASSWORD = "gateway-password"
# bcrypt of PASSWORD with the smallest cost.
PASSWORD_HASH = "$2b$04$Uym7pl1e9nnGCmsW9oyiTeAssukcHEVPpCa0MlvbsZXr3ZoqTrsEe"

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-pushgateway": "prometheus-pushgateway",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
"""Program -> Debian package."""


def program(name: str) -> str:
    """The path of a program. Fails with the name of its package where it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is missing: install the Debian package (apt-get install {PACKAGES[name]})")
    return found


def get_json(url: str) -> Any:
    """What a server answers to GET, as JSON."""
    with urlopen(url, timeout=60) as answer:
        return json.load(answer)


@dataclass(frozen=True)
class Server:
    """A running server. `url` is its base address, prefix included; `log` is what it wrote."""

    url: str
    log: Path

    @property
    def address(self) -> str:
        """Host and port, as a scrape configuration wants it."""
        return self.url.removeprefix("http://").partition("/")[0]


@dataclass(frozen=True)
class Gateway(Server):
    """A running Pushgateway."""

    def groups(self) -> list[dict[str, str]]:
        """The labels of its groups, sorted."""
        found = [group["labels"] for group in get_json(f"{self.url}/api/v1/metrics")["data"]]
        return sorted(found, key=lambda labels: sorted(labels.items()))

    def text(self) -> str:
        """What it shows to a scrape, without what it tells of itself."""
        with urlopen(f"{self.url}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return "".join(f"{line}\n" for line in lines if "model_health_" in line)


@dataclass(frozen=True)
class Prometheus(Server):
    """A running Prometheus that scrapes and evaluates every second."""

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and value of each series of an instant query."""
        answer = get_json(f"{self.url}/api/v1/query?{urlencode({'query': expression})}")
        return [(found["metric"], float(found["value"][1])) for found in answer["data"]["result"]]

    def wait_for(
        self, expression: str, until: Callable[[list[tuple[dict[str, str], float]]], bool] = bool
    ) -> list[tuple[dict[str, str], float]]:
        """The result of a query, once it satisfies `until` (by default: once there is any)."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not until(found := self.query(expression)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{expression} stayed {found}\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Its pending and firing alerts."""
        found: list[dict[str, Any]] = get_json(f"{self.url}/api/v1/alerts")["data"]["alerts"]
        return found

    def reload(self) -> None:
        """Read configuration and rules again."""
        with urlopen(Request(f"{self.url}/-/reload", method="POST"), timeout=60):
            pass


@dataclass(frozen=True)
class Alertmanager(Server):
    """A running Alertmanager."""

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that it holds."""
        found: list[dict[str, Any]] = get_json(f"{self.url}/api/v2/alerts")
        return found

    def wait_for_alerts(self, number: int) -> list[dict[str, Any]]:
        """The alerts that it holds, once there are so many."""
        deadline = time.monotonic() + WAIT_SECONDS
        while len(found := self.alerts()) != number:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} alerts instead of {number}: {found}")
            time.sleep(0.2)
        return found


@contextmanager
def pushgateway(folder: Path, *, prefix: str = "", user: str | None = None) -> Iterator[Gateway]:
    """Start a gateway; with a `prefix` such as `/push` below that path, with a `user` behind `PASSWORD`."""
    # Debian builds it with a default file below /var, which would carry groups from one test to the next.
    arguments = [f"--web.route-prefix={prefix or '/'}", f"--persistence.file={folder / 'pushgateway.data'}"]
    if user is not None:
        web = folder / "pushgateway-web.yml"
        web.write_text(yaml.safe_dump({"basic_auth_users": {user: PASSWORD_HASH}}))
        arguments.append(f"--web.config.file={web}")
    with _running("prometheus-pushgateway", folder, arguments, prefix=prefix, ready="/-/ready") as (url, log):
        yield Gateway(url, log)


@contextmanager
def prometheus(
    folder: Path,
    scrape: Mapping[str, str] | None = None,
    *,
    rules: Sequence[Path] = (),
    alertmanagers: Sequence[str] = (),
) -> Iterator[Prometheus]:
    """Start a Prometheus.

    Args:
        folder: of the test.
        scrape: name of a scrape job -> host and port; labels of what is scraped are honoured.
        rules: rule files.
        alertmanagers: hosts and ports.
    """
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]},
        "scrape_configs": [
            {"job_name": job, "honor_labels": True, "static_configs": [{"targets": [address]}]}
            for job, address in (scrape or {}).items()
        ],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    arguments = [f"--config.file={path}", f"--storage.tsdb.path={folder / 'tsdb'}", "--web.enable-lifecycle"]
    # An alert that fires before the Alertmanager is discovered is lost, and would be sent again after a minute only.
    arguments.append("--rules.alert.resend-delay=1s")
    with _running("prometheus", folder, arguments, ready="/-/ready") as (url, log):
        yield Prometheus(url, log)


@contextmanager
def alertmanager(folder: Path, config: Path) -> Iterator[Alertmanager]:
    """Start an Alertmanager with this configuration file."""
    arguments = [f"--config.file={config}", f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address="]
    with _running("prometheus-alertmanager", folder, arguments, ready="/-/ready") as (url, log):
        yield Alertmanager(url, log)


@contextmanager
def _running(
    name: str, folder: Path, arguments: Sequence[str], *, ready: str, prefix: str = ""
) -> Iterator[tuple[str, Path]]:
    """Start a program on a free port, wait until it is ready, give its base address and log, and stop it."""
    path = program(name)
    log = folder / f"{name}.log"
    # Between choosing a port and using it, somebody else may take it: then another one is tried.
    for _ in range(5):
        port = free_port()
        with log.open("wb") as output:
            command = [path, f"--web.listen-address=127.0.0.1:{port}", *arguments]
            environment = {"PATH": os.environ["PATH"], "GOMAXPROCS": "1"}
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env=environment)
        try:
            url = f"http://127.0.0.1:{port}{prefix}"
            if _wait_until_ready(process, url + ready, log):
                yield url, log
                return
        finally:
            _stop(process)
        if "address already in use" not in log.read_text(errors="replace"):
            break
    raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')}")


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=60):
                return True
        except HTTPError as error:
            if error.code == 401:
                return True  # It answers, to those who may ask.
        except OSError:
            pass
        time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
