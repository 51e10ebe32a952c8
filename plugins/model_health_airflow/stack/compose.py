"""Reads docker-compose.yaml: the one description of a deployment, for whoever runs it without Docker.

Owns what of the compose format this project uses: variables, secrets, mounts, conditions. It knows no process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from model_health.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?::(?P<how>[-?])(?P<rest>[^}]*))?\})")


@dataclass(frozen=True)
class Mount:
    """A place in a container. `source` is a file or folder (it starts with `.` or `/`), or the name of a volume."""

    source: str
    target: str

    @property
    def is_volume(self) -> bool:
        """Whether it is a volume that outlives its container."""
        return not self.source.startswith((".", "/"))


@dataclass(frozen=True)
class Service:
    """One service, as the container sees it."""

    name: str
    command: tuple[str, ...]
    """Entrypoint and command, as one line of words."""
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    secrets: tuple[str, ...]
    health: tuple[str, ...]
    """The health check's words, `CMD` or `CMD-SHELL` first; empty where there is none."""
    needs: Mapping[str, str]
    """Service -> condition."""
    profiles: tuple[str, ...]
    grace_seconds: float
    """From asking it to stop to killing it."""


@dataclass(frozen=True)
class Compose:
    """The whole file, variables filled in."""

    services: Mapping[str, Service]
    secrets: Mapping[str, str]
    """Name -> file."""

    def in_order(self, names: set[str]) -> list[Service]:
        """These services, each after those of them that it depends on. Raises `ConfigError` for a circle."""
        needs = {name: set(self.services[name].needs) & names for name in sorted(names)}
        try:
            return [self.services[name] for name in TopologicalSorter(needs).static_order()]
        except CycleError as error:
            raise ConfigError(f"depend on each other: {error.args[1]}", subject="services") from error


def load_compose(path: Path, variables: Mapping[str, str]) -> Compose:
    """Read a compose file.

    Args:
        path: the file.
        variables: what a shell or `.env` would set.

    Raises:
        ConfigError: it cannot be read, or a variable that it requires is not set.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(str(error).splitlines()[0], subject=str(path)) from error
    filled = _fill(content, variables, str(path))
    services = {name: _service(name, body) for name, body in filled["services"].items()}
    secrets = {name: body["file"] for name, body in filled.get("secrets", {}).items()}
    return Compose(services=services, secrets=secrets)


def fill(text: str, variables: Mapping[str, str], subject: str) -> str:
    """Replace `${NAME}`, `${NAME:-default}` and `${NAME:?message}` as compose does; `$$` is a dollar."""

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$"
        given = variables.get(found["name"], "")
        if not given and found["how"] == "?":
            raise ConfigError(f"{found['name']} is not set: {found['rest']}", subject=subject)
        return given or (found["rest"] if found["how"] == "-" else "")

    return _VARIABLE.sub(value, text)


def _fill(content: Any, variables: Mapping[str, str], subject: str) -> Any:
    if isinstance(content, dict):
        return {key: _fill(value, variables, subject) for key, value in content.items()}
    if isinstance(content, list):
        return [_fill(value, variables, subject) for value in content]
    return fill(content, variables, subject) if isinstance(content, str) else content


def _service(name: str, body: Mapping[str, Any]) -> Service:
    grace = str(body.get("stop_grace_period", "10s"))
    return Service(
        name=name,
        command=(*body.get("entrypoint", ()), *body.get("command", ())),
        environment=body.get("environment", {}),
        mounts=tuple(_mount(one) for one in body.get("volumes", ())),
        secrets=tuple(body.get("secrets", ())),
        health=tuple(body.get("healthcheck", {}).get("test", ())),
        needs={other: rule["condition"] for other, rule in body.get("depends_on", {}).items()},
        profiles=tuple(body.get("profiles", ())),
        grace_seconds=float(grace.removesuffix("s")),
    )


def _mount(one: str | Mapping[str, Any]) -> Mount:
    if isinstance(one, str):
        source, target, *_ = one.split(":")
        return Mount(source, target)
    return Mount(one["source"], one["target"])
