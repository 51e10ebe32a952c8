"""`python -m model_health_airflow.health ...`: is a service well? What the health checks of a deployment run.

Owns the answer of one check: exit code 0, or 1 and one line that says why. Loads no Airflow: its own checks import all
of it, some seconds of computing for each service and each minute.

    page URL             the address answers with a good status
    component API NAME   Airflow's API server saw a heartbeat of a component: scheduler, dag_processor, triggerer
    worker NAME          the Celery worker NAME@<this host> answers through the broker
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from typing import Any

SECONDS = 30.0
_BROKER = "AIRFLOW__CELERY__BROKER_URL"


def page(url: str) -> None:
    """Return if a GET of `url` ends well. Raises OSError."""
    with _get(url):
        return


def component(api: str, name: str) -> None:
    """Return if the component's newest heartbeat is a recent one. Raises OSError or ValueError."""
    with _get(f"{api}/api/v2/monitor/health") as answer:
        status = json.load(answer).get(name, {}).get("status")
    if status != "healthy":
        raise ValueError(f"{name} is {status or 'unknown'}")


def _get(url: str) -> Any:
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an address")
    return urllib.request.urlopen(url, timeout=SECONDS)  # noqa: S310 - its scheme was just looked at


def worker(name: str) -> None:
    """Return if the worker answers a ping. Raises ValueError where it does not, OSError without a broker."""
    from celery import Celery
    from kombu.exceptions import KombuError

    broker = os.environ.get(_BROKER)
    if broker is None:
        command = shlex.split(os.environ[f"{_BROKER}_CMD"])
        broker = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    node = f"{name}@{socket.gethostname()}"
    with Celery(broker=broker) as app:
        try:
            answers = app.control.ping(destination=[node], timeout=SECONDS / 3)
        except KombuError as error:
            raise OSError(str(error)) from error
    if not answers:
        raise ValueError(f"{node} does not answer")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one check."""
    parser = argparse.ArgumentParser(prog="health", description="Is a service of a deployment well?")
    checks = parser.add_subparsers(dest="check", required=True)
    checks.add_parser("page").add_argument("url")
    one = checks.add_parser("component")
    one.add_argument("api")
    one.add_argument("name")
    checks.add_parser("worker").add_argument("name")
    asked = parser.parse_args(argv)
    try:
        if asked.check == "page":
            page(asked.url)
        elif asked.check == "component":
            component(asked.api, asked.name)
        else:
            worker(asked.name)
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{asked.check}: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
