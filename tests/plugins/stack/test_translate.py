"""What runs here without Docker is what docker-compose.yaml says, word for word, but for addresses and places."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from model_health_airflow.stack.compose import Compose, Service, load_compose
from model_health_airflow.stack.local import NOT_HERE
from model_health_airflow.stack.translate import DEBIAN, PORTS, Here, write_translated

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path("/scratch")
COMPOSE: Compose = load_compose(ROOT / "docker-compose.yaml", {"SECRETS_DIR": "/scratch/secrets/made"})
HERE = Here(
    FOLDER, ROOT, {(name, ports[0]): 20_000 + number for number, (name, ports) in enumerate(sorted(PORTS.items()))}
)
RUN = sorted(set(COMPOSE.services) - set(NOT_HERE))


def back(text: str, service: Service) -> str:
    """Undo the translation: ports and places of the container, with loopback for every address."""
    for (_, port), here in HERE.ports.items():
        text = re.sub(rf"\b{here}\b", str(port), text)
    text = text.replace(f"{FOLDER}/files/{service.name}", "").replace(f"{FOLDER}/secrets/run", "/run/secrets")
    for mount in service.mounts:
        if mount.is_volume:
            text = text.replace(f"{FOLDER}/volumes/{mount.source}", mount.target)
        elif mount.source.startswith("/scratch"):
            text = text.replace(mount.source, mount.target)
    text = text.replace(f"{FOLDER}/volumes/airflow-home", "/opt/airflow")
    return text.replace(str(ROOT), "/opt/model-health")


def on_loopback(text: str) -> str:
    """The container's text with loopback for every name of a service."""
    for name, ports in PORTS.items():
        text = re.sub(rf"(?<![\w-]){name}:{ports[0]}\b", f"127.0.0.1:{ports[0]}", text)
    return text.replace("0.0.0.0", "127.0.0.1")


@pytest.mark.parametrize("name", RUN)
def test_a_command_is_the_containers_own(name: str) -> None:
    service = COMPOSE.services[name]
    words = service.command
    expected = list(words[words.index("--") + 1 :] if words[0] == "tini" else words)
    expected[0] = DEBIAN.get(expected[0], expected[0])
    assert [back(word, service) for word in HERE.words(words, service)] == [on_loopback(word) for word in expected]


@pytest.mark.parametrize("name", RUN)
def test_the_variables_are_the_containers_own(name: str) -> None:
    service = COMPOSE.services[name]
    found = {key: back(value, service) for key, value in HERE.environment(service).items()}
    assert found == {key: on_loopback(str(value)) for key, value in service.environment.items()}


@pytest.mark.parametrize("name", [name for name in RUN if COMPOSE.services[name].health])
def test_the_health_check_is_the_containers_own(name: str) -> None:
    service = COMPOSE.services[name]
    how, *words = service.health
    found = [back(word, service) for word in HERE.health(service)]
    if how == "CMD-SHELL":
        assert found == ["sh", "-c", on_loopback(words[0])]
    elif words[0] == "wget":
        python = back(sys.executable, service)
        assert found == [python, "-m", "model_health_airflow.health", "page", on_loopback(words[-1])]
    else:
        assert found == [on_loopback(word) for word in words]


@pytest.mark.parametrize("name", RUN)
def test_no_place_and_no_name_of_a_container_remains(name: str) -> None:
    service = COMPOSE.services[name]
    texts = [*HERE.words(service.command, service), *HERE.environment(service).values()]
    texts += HERE.health(service) if service.health else []
    for text in texts:
        # Everything that is written lies in the folder; the rest is the project, and programs.
        assert not re.search(r"(?<![\w./-])/(?:etc|run|var|data|prometheus|alertmanager|pushgateway)(?:/|$)", text), (
            text
        )
        assert not re.search(rf"\b(?:{'|'.join(PORTS)}):\d", text), text
        assert "0.0.0.0" not in text
        assert not re.search(r"(?<!\d)/opt/(?:airflow|model-health)\b", text) or str(ROOT) in text


def test_mounted_files_are_the_repositorys_own_but_for_addresses_and_places(tmp_path: Path) -> None:
    made, here = tmp_path / "made/stack", Here(tmp_path, ROOT, HERE.ports)
    made.mkdir(parents=True)
    secrets = {name for one in RUN for name in COMPOSE.services[one].secrets}
    for name in secrets:
        (made / name).write_text("redis://:word@redis:6379/0\n")
    compose = load_compose(ROOT / "docker-compose.yaml", {"SECRETS_DIR": str(made.parent)})
    write_translated(compose, here, set(RUN))
    files = {
        str(path.relative_to(tmp_path / "files")): path for path in (tmp_path / "files").rglob("*") if path.is_file()
    }
    mounted = {
        f"{name}{mount.target}": (compose.services[name], ROOT / mount.source)
        for name in RUN
        for mount in compose.services[name].mounts
        if not mount.is_volume and (ROOT / mount.source).is_file()
    }
    assert len(mounted) == 4
    assert files.keys() == mounted.keys()
    for name, (service, source) in mounted.items():
        found = files[name].read_text().replace(str(tmp_path), str(FOLDER))
        assert back(found, service) == on_loopback(source.read_text())
    port = HERE.ports["redis", 6379]
    assert {path.name for path in here.secrets.iterdir()} == secrets
    assert {path.read_text() for path in here.secrets.iterdir()} == {f"redis://:word@127.0.0.1:{port}/0\n"}


def test_what_does_not_run_here_is_said_with_its_reason_and_needed_by_nothing_that_does() -> None:
    assert set(NOT_HERE) < set(COMPOSE.services)
    assert {need for name in RUN for need in COMPOSE.services[name].needs} <= set(RUN)
    order = [service.name for service in COMPOSE.in_order(set(RUN))]
    assert sorted(order) == RUN
    assert order.index("postgres") < order.index("init") < order.index("api-server") < order.index("gpu-worker")
