"""docker-compose.yaml and the Dockerfile name things that exist, keep secrets out, and listen on loopback only.

No Docker engine is needed: the compose file is held against the published schema, its commands against the programs'
own argument parsers.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_health.config.settings import SETTING_VARIABLES

ROOT = Path(__file__).resolve().parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW = {name: service for name, service in SERVICES.items() if service["image"].startswith("model-health/airflow")}
# A line of the Dockerfile with its continuations.
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:[-?][^}]*)?\}")


def test_the_compose_file_follows_the_published_schema() -> None:
    program = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*program, "docker-compose.yaml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_of_an_airflow_on_postgresql_are_there() -> None:
    expected = {"init", "api-server", "scheduler", "dag-processor", "triggerer"}
    assert set(AIRFLOW) == expected
    assert set(SERVICES) == expected | {"postgres", "dashboard"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_lasting_service_is_checked_and_restarted(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] == "no":
        waiting = [other for other in SERVICES.values() if name in other.get("depends_on", {})]
        assert waiting, f"{name} ends, and nobody waits for it"
        assert all(other["depends_on"][name]["condition"] == "service_completed_successfully" for other in waiting)
    else:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_published_port_is_bound_to_loopback(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_a_mounted_path_or_volume_exists(name: str) -> None:
    # A folder that is missing is made by compose; that of the secrets cannot be part of the repository.
    sources = [source for mount in SERVICES[name].get("volumes", []) if (source := mount.split(":")[0]) != "./secrets"]
    assert sources or name == "postgres"
    missing = [s for s in sources if (not (ROOT / s).exists() if s.startswith(".") else s not in COMPOSE["volumes"])]
    assert missing == []
    assert all(entry["source"] in COMPOSE["configs"] for entry in SERVICES[name].get("configs", []))


@pytest.mark.parametrize("name", SERVICES)
def test_a_build_target_exists(name: str) -> None:
    if build := SERVICES[name].get("build"):
        assert re.search(rf"^FROM \S+ AS {build['target']}$", DOCKERFILE, re.MULTILINE)


def test_every_secret_is_required_and_none_has_a_value_here() -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    secret = re.compile(r"PASSWORD|SECRET|_KEY$")
    used = [(match.group(1), match.group(2) or "") for match in VARIABLE.finditer(text)]
    assert [name for name, rest in used if secret.search(name) and not rest.startswith(":?")] == []
    assert {name for name, rest in used if not rest} == set()
    example = dict(re.findall(r"^(?:# )?(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert {name for name, _ in used} == set(example)
    assert {name: value for name, value in example.items() if secret.search(name) and value} == {}
    assert {name: rest[2:] for name, rest in used if rest.startswith(":-")}.items() <= example.items()


def test_git_ignores_the_file_with_the_secrets() -> None:
    done = subprocess.run(["git", "check-ignore", ".env"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0


def airflow_commands() -> list[list[str]]:
    """Every Airflow command line: of the services, of their health checks and of the init script."""
    commands = [service["command"] for name, service in AIRFLOW.items() if name != "init"]
    scripts = [service["healthcheck"]["test"][1] for service in AIRFLOW.values() if "healthcheck" in service]
    lines = [line.strip() for script in [*scripts, *SERVICES["init"]["command"]] for line in script.splitlines()]
    words = [shlex.split(line.replace("$$GPU_SLOTS", "1")) for line in lines]
    return commands + [line[1:] for line in words if line and line[0] == "airflow"]


@pytest.mark.slow
def test_airflow_itself_accepts_every_command_and_knows_every_option(tmp_path: Path) -> None:
    commands = airflow_commands()
    assert len(commands) >= 8
    options = [
        key.removeprefix("AIRFLOW__").lower().split("__")
        for service in AIRFLOW.values()
        for key in service["environment"]
        if key.startswith("AIRFLOW__")
    ]
    options += [name.lower().split("__") for name in re.findall(r"\bAIRFLOW__(\w+__\w+)=", DOCKERFILE)]
    program = (
        "import json, sys\n"
        "from airflow.cli import cli_parser\n"
        "from airflow.configuration import conf\n"
        "commands, options = json.load(sys.stdin)\n"
        "parser = cli_parser.get_parser()\n"
        "for command in commands: assert parser.parse_args(command).func\n"
        "known = conf.configuration_description\n"
        "print(json.dumps([o for o in options if o[1] not in known[o[0]]['options']]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps([commands, options]),
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_our_own_variables_are_ones_that_the_library_reads() -> None:
    names = {key for service in SERVICES.values() for key in service["environment"] if key.startswith("MODEL_HEALTH_")}
    assert len(names) > 4
    assert names <= set(SETTING_VARIABLES)


def test_the_secrets_that_configs_name_reach_airflow_as_files() -> None:
    for service in AIRFLOW.values():
        mounts = dict(mount.split(":")[:2] for mount in service["volumes"])
        assert service["environment"]["MODEL_HEALTH_SECRETS_DIR"] == mounts["./secrets"]
    assert not any("secrets" in mount for mount in SERVICES["dashboard"]["volumes"])
    done = subprocess.run(["git", "check-ignore", "secrets/any"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0


def test_the_pool_that_gpu_tasks_wait_in_is_made_before_any_of_them_starts() -> None:
    pools = [command for command in airflow_commands() if command[:2] == ["pools", "set"]]
    assert [command[2] for command in pools] == ["gpu"]
    for name in ("scheduler", "dag-processor", "triggerer", "api-server"):
        assert SERVICES[name]["depends_on"]["init"]["condition"] == "service_completed_successfully"


def stages() -> dict[str, str]:
    """The text of each stage of the Dockerfile, by name."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[2::3], parts[3::3], strict=True))


@pytest.mark.parametrize("target", ["airflow", "dashboard"])
def test_an_image_does_not_run_as_root(target: str) -> None:
    users = re.findall(r"^USER (\S+)$", stages()[target], re.MULTILINE)
    assert users == ["model-health"]


def test_what_the_dockerfile_copies_exists_and_is_sent_to_the_builder() -> None:
    copies = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in copies for source in line.split()[:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert len(sources) > 8
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if not any(fnmatch(source, pattern) for pattern in allowed)] == []


def test_the_dashboard_image_starts_a_page_that_exists() -> None:
    command = json.loads(re.findall(r"^CMD (\[.*\])$", stages()["dashboard"], re.MULTILINE)[-1])
    assert command[:2] == ["streamlit", "run"]
    assert (ROOT / command[2]).is_file()
