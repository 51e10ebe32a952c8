"""From a container's view to this machine's: addresses, paths, programs. All that differs without Docker is here.

Owns three tables: which port each service listens on, which places a container has, and what a program is called here.
Whatever a service's command, variables, health check and mounted files say is taken as it stands, except for these.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_health_airflow.stack.compose import Compose, Service

PORTS: dict[str, tuple[int, ...]] = {
    "postgres": (5432,),
    "redis": (6379,),
    "api-server": (8080,),
    "scheduler": (8974,),
    "pushgateway": (9091,),
    "prometheus": (9090,),
    "alertmanager": (9093,),
    "dashboard": (8501,),
}
"""What listens, and where, in its container. Others reach it as NAME:PORT."""
LOOPBACK = "127.0.0.1"
SECRETS_DIR = "/run/secrets"
HOME = "/opt/model-health"
AIRFLOW_HOME = "/opt/airflow"
DEBIAN = {
    "/bin/prometheus": "prometheus",
    "/bin/pushgateway": "prometheus-pushgateway",
    "/bin/alertmanager": "prometheus-alertmanager",
}
"""A program in its image -> Debian's name for it."""
_GET = ("wget", "-q", "-O-")
_PLACE = re.compile(r"(?<![\w./-])/(?:etc|opt|run|var|data|prometheus|alertmanager|pushgateway)(?:/[\w./-]*)?(?![\w-])")


@dataclass(frozen=True)
class Here:
    """This machine's ports and places.

    Args:
        folder: where everything that is written goes: `volumes`, `files`, `secrets`.
        project: what the repository is in the images.
        ports: (service, port in its container) -> port here.
    """

    folder: Path
    project: Path
    ports: Mapping[tuple[str, int], int]

    def address(self, service: str) -> str:
        """Host and port of a service here."""
        return f"{LOOPBACK}:{self.ports[service, PORTS[service][0]]}"

    def places(self, service: Service) -> dict[str, str]:
        """Path in the service's container -> path here, longest first."""
        places = {HOME: str(self.project), SECRETS_DIR: str(self.secrets)}
        # An image's own folder, where no volume lies on it.
        places[AIRFLOW_HOME] = str(self.folder / "volumes/airflow-home")
        for mount in service.mounts:
            if mount.is_volume:
                places[mount.target] = str(self.folder / "volumes" / mount.source)
            elif (self.project / mount.source).is_dir():
                places[mount.target] = str(self.project / mount.source)
            else:  # a file: its folder is ours to make, and holds what is mounted there
                folder = str(Path(mount.target).parent)
                places[folder] = f"{self.folder}/files/{service.name}{folder}"
        return dict(sorted(places.items(), key=lambda pair: -len(pair[0])))

    @property
    def secrets(self) -> Path:
        """Where the secrets of services lie, translated: some are URLs."""
        return self.folder / "secrets/run"

    def addresses(self, text: str) -> str:
        """The text with the services' names and ports replaced by addresses here."""
        for (name, port), here in self.ports.items():
            text = re.sub(rf"(?<![\w.-]){name}:{port}\b", f"{LOOPBACK}:{here}", text)
        return text

    def text(self, text: str, service: Service) -> str:
        """The text with the container's addresses and places replaced by those here."""
        text = self.addresses(text)
        for port in PORTS.get(service.name, ()):
            text = re.sub(rf"(?<![\w.]){port}\b", str(self.ports[service.name, port]), text)
        text = text.replace("0.0.0.0", LOOPBACK)  # noqa: S104 - this is what takes it away
        places = self.places(service)

        def place(found: re.Match[str]) -> str:
            path = found[0]
            for target, here in places.items():
                if path == target or path.startswith(f"{target}/"):
                    return here + path[len(target) :]
            return path

        return _PLACE.sub(place, text)

    def words(self, words: tuple[str, ...], service: Service) -> list[str]:
        """A command line as it is run here: translated, without tini, by this machine's programs."""
        translated = [self.text(word, service) for word in words]
        if words[:1] == ("tini",):
            translated = translated[words.index("--") + 1 :]
        if tuple(words[:3]) == _GET:
            return [sys.executable, "-m", "model_health_airflow.health", "page", *translated[3:]]
        # The program's own name is no place of a volume.
        if words[0] in DEBIAN:
            translated[0] = DEBIAN[words[0]]
        return translated

    def environment(self, service: Service) -> dict[str, str]:
        """The service's variables as they are here."""
        return {name: self.text(str(value), service) for name, value in service.environment.items()}

    def health(self, service: Service) -> list[str]:
        """The command line of its health check."""
        how, *words = service.health
        return ["sh", "-c", self.text(words[0], service)] if how == "CMD-SHELL" else self.words(tuple(words), service)


def write_translated(compose: Compose, here: Here, names: set[str]) -> None:
    """Write the files and the secrets that these services mount, translated: they may hold addresses and places."""
    here.secrets.mkdir(parents=True, exist_ok=True)
    for service in (compose.services[name] for name in sorted(names)):
        for name in service.secrets:
            secret = here.secrets / name
            secret.unlink(missing_ok=True)
            secret.write_text(here.addresses(Path(compose.secrets[name]).read_text(encoding="utf-8")), encoding="utf-8")
        for mount in service.mounts:
            source = here.project / mount.source
            if mount.is_volume:
                (here.folder / "volumes" / mount.source).mkdir(parents=True, exist_ok=True)
            elif source.is_file():
                copy = Path(f"{here.folder}/files/{service.name}{mount.target}")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(here.text(source.read_text(encoding="utf-8"), service), encoding="utf-8")
    Path(here.folder / "volumes/airflow-home").mkdir(exist_ok=True)
