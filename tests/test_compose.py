"""docker-compose.yaml and the Dockerfile keep their laws: checked, limited, no root, no password, on loopback.

No Docker engine is needed: the compose file is held against the published schema, its commands against the programs'
own argument parsers, its mounted files against the tools of the servers that read them.
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

from model_health.config.settings import INDEX_URL_FILE_VARIABLE, OVERRIDABLE, SETTING_VARIABLES
from model_health_airflow.local_home import GPU_POOL
from model_health_airflow.stack.secret_files import write_secrets
from support.prometheus_servers import program

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("airflow", "worker", "gpu-worker", "dashboard")
AIRFLOW = {
    name: service for name, service in SERVICES.items() if "AIRFLOW__CORE__EXECUTOR" in service.get("environment", {})
}
# A line of the Dockerfile with its continuations.
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:[-?][^}]*)?\}")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|FERNET|CONN|BROKER")


def test_the_compose_file_follows_the_published_schema() -> None:
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, "docker-compose.yaml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_part_of_a_deployment_is_there() -> None:
    airflow = {"init", "api-server", "scheduler", "dag-processor", "triggerer", "worker", "gpu-worker"}
    watching = {"pushgateway", "prometheus", "alertmanager", "grafana", "datadog-agent", "dashboard"}
    assert set(AIRFLOW) == airflow
    assert set(SERVICES) == airflow | watching | {"postgres", "redis", "object-store", "bucket"}
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {
        "gpu-worker": ["gpu"],
        "object-store": ["object-store"],
        "bucket": ["object-store"],
        "datadog-agent": ["datadog"],
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_lasting_service_is_checked_and_restarted(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] == "no":
        waiting = [other["depends_on"][name] for other in SERVICES.values() if name in other.get("depends_on", {})]
        assert name == "bucket" or waiting, f"{name} ends, and nobody waits for it"
        assert all(rule["condition"] == "service_completed_successfully" for rule in waiting)
    else:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_limited_and_its_log_rotates(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert "max-size" in SERVICES[name]["logging"]["options"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_root_and_gains_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_a_published_port_is_bound_to_loopback_unless_asked(name: str) -> None:
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:${") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_what_holds_data_or_passwords_is_not_published(name: str) -> None:
    assert name not in ("postgres", "redis", "pushgateway", "object-store") or "ports" not in SERVICES[name]


def sources(service: dict[str, Any]) -> list[str]:
    return [mount["source"] if isinstance(mount, dict) else mount.split(":")[0] for mount in service.get("volumes", [])]


@pytest.mark.parametrize("name", SERVICES)
def test_a_mounted_path_or_volume_exists(name: str) -> None:
    # The folder of the secrets cannot be part of the repository.
    mounted = [source for source in sources(SERVICES[name]) if not source.startswith("${SECRETS_DIR")]
    missing = [s for s in mounted if (not (ROOT / s).exists() if s.startswith(".") else s not in COMPOSE["volumes"])]
    assert missing == []
    assert set(SERVICES[name].get("secrets", ())) <= set(COMPOSE["secrets"])


def test_what_is_declared_is_used() -> None:
    assert {s for service in SERVICES.values() for s in sources(service)} >= set(COMPOSE["volumes"])
    assert {s for service in SERVICES.values() for s in service.get("secrets", ())} == set(COMPOSE["secrets"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_build_target_exists(name: str) -> None:
    if build := SERVICES[name].get("build"):
        assert re.search(rf"^FROM \S+ AS {build['target']}$", DOCKERFILE, re.MULTILINE)
        assert set(build.get("args", {})) <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))


@pytest.mark.parametrize("name", SERVICES)
def test_no_variable_holds_a_secret(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    by_file = ("_FILE", "_CMD", "_DIR")
    plain = {
        key: value
        for key, value in environment.items()
        if SECRET.search(key)
        and not key.endswith(by_file)
        and not str(value).startswith(("/", "ENC[file@/run/secrets/"))
    }
    assert plain.keys() <= {"DD_SECRET_BACKEND_COMMAND"}
    read = [path for value in environment.values() for path in re.findall(r"/run/secrets/([a-z_]+)\b", str(value))]
    assert {one for one in read if one != "model"} <= set(SERVICES[name].get("secrets", ()))


def test_without_a_folder_of_secrets_nothing_starts_and_no_secret_has_a_default() -> None:
    assert all(one["file"].startswith("${SECRETS_DIR:?") for one in COMPOSE["secrets"].values())
    used = dict(VARIABLE.findall(TEXT))
    assert {name for name, rest in used.items() if not rest.startswith(":-")} == {"SECRETS_DIR"}
    assert {name for name in used if SECRET.search(name)} == {"SECRETS_DIR"}
    bound = [m for service in SERVICES.values() for m in service.get("volumes", []) if isinstance(m, dict)]
    # A folder that is missing is refused, not made.
    assert bound
    assert all(mount["bind"] == {"create_host_path": False} and mount["read_only"] for mount in bound)


def test_the_example_names_every_variable_with_its_default_and_no_secret() -> None:
    text = (ROOT / ".env.example").read_text()
    example = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", text, re.MULTILINE))
    used = dict(VARIABLE.findall(TEXT))
    assert set(used) | {"COMPOSE_PROFILES"} == set(example)
    assert {name: rest[2:] for name, rest in used.items() if rest.startswith(":-")}.items() <= example.items()
    profiles = {one for service in SERVICES.values() for one in service.get("profiles", ())}
    assert set(example["COMPOSE_PROFILES"].split(",")) == profiles


def test_the_secrets_are_those_that_are_made_up(tmp_path: Path) -> None:
    made = set(write_secrets(tmp_path))
    named = {one["file"].partition("}/")[2] for one in COMPOSE["secrets"].values()}
    assert {f"stack/{name}" for name in made} == named - {"sinks/datadog_api_key"}


@pytest.mark.parametrize("path", [".env", "secrets/stack/any", "secrets/sinks/any"])
def test_git_ignores_what_holds_secrets(path: str) -> None:
    done = subprocess.run(["git", "check-ignore", path], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0


def test_the_dashboard_knows_no_password_but_that_of_the_role_that_only_reads() -> None:
    assert SERVICES["dashboard"]["secrets"] == ["index_reader_url", "object_store_credentials"]
    assert not any("SECRETS_DIR" in source for source in sources(SERVICES["dashboard"]))
    assert all(mount.endswith(":ro") for mount in SERVICES["dashboard"]["volumes"])


def airflow_commands() -> list[list[str]]:
    """Every Airflow command line: of the services and of the init script."""
    commands = [service["command"] for name, service in AIRFLOW.items() if name != "init"]
    commands = [[VARIABLE.sub("1", word) for word in command] for command in commands]
    lines = [line.strip() for script in SERVICES["init"]["command"] for line in script.splitlines()]
    words = [shlex.split(line.replace("$$GPU_SLOTS", "1")) for line in lines]
    return commands + [line[1:] for line in words if line and line[0] == "airflow"]


@pytest.mark.slow
def test_airflow_itself_accepts_every_command_and_knows_every_option(tmp_path: Path) -> None:
    commands = airflow_commands()
    assert len(commands) >= 8
    options = [
        key.removeprefix("AIRFLOW__").removesuffix("_CMD").lower().split("__")
        for service in AIRFLOW.values()
        for key in service["environment"]
        if key.startswith("AIRFLOW__")
    ]
    options += [name.lower().split("__") for name in re.findall(r"\bAIRFLOW__(\w+__\w+)=", DOCKERFILE)]
    by_command = [
        key.removeprefix("AIRFLOW__").removesuffix("_CMD").lower().split("__")
        for key in AIRFLOW["scheduler"]["environment"]
        if key.endswith("_CMD")
    ]
    assert len(by_command) == 5
    program = (
        "import json, sys\n"
        "from airflow.cli import cli_parser\n"
        "from airflow.configuration import conf\n"
        "commands, options, by_command = json.load(sys.stdin)\n"
        "parser = cli_parser.get_parser()\n"
        "for command in commands: assert parser.parse_args(command).func\n"
        "known = conf.configuration_description\n"
        "wrong = [o for o in options if o[1] not in known[o[0]]['options']]\n"
        "wrong += [o for o in by_command if tuple(o) not in conf.sensitive_config_values]\n"
        "print(json.dumps(wrong))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps([commands, options, by_command]),
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_our_own_variables_are_ones_that_the_library_reads() -> None:
    environments = [service.get("environment", {}) for service in SERVICES.values()]
    names = {key for one in environments for key in one if key.startswith("MODEL_HEALTH_")}
    assert len(names) > 4
    plain = {name for name in names if name.removeprefix("MODEL_HEALTH_").split("__")[0].lower() not in OVERRIDABLE}
    assert plain <= {*SETTING_VARIABLES, INDEX_URL_FILE_VARIABLE}


def test_pool_queue_and_worker_agree_on_how_many_models_share_the_devices() -> None:
    pools = [command for command in airflow_commands() if command[:2] == ["pools", "set"]]
    assert [command[2] for command in pools] == [GPU_POOL[0]]
    slots = "${GPU_SLOTS:-1}"
    worker = SERVICES["gpu-worker"]
    assert SERVICES["init"]["environment"]["GPU_SLOTS"] == slots
    assert worker["command"][worker["command"].index("--concurrency") + 1] == slots
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["count"], device["capabilities"]) == (slots, ["gpu"])
    queues = {name: service["command"][service["command"].index("--queues") + 1]
              for name, service in AIRFLOW.items() if "--queues" in service["command"]}  # fmt: skip
    assert queues == {"worker": "default", "gpu-worker": "gpu"}
    for name in set(AIRFLOW) - {"init"}:
        assert SERVICES[name]["depends_on"]["init"]["condition"] == "service_completed_successfully"


def test_only_workers_carry_torch() -> None:
    assert {SERVICES[name]["image"] for name in ("worker", "gpu-worker")} == {
        "model-health/worker:local",
        "model-health/gpu-worker:local",
    }
    others = {service["image"] for name, service in AIRFLOW.items() if "worker" not in name}
    assert others == {"model-health/airflow:local"}
    assert "torch" not in stages()["airflow-build"]
    assert "torch" not in stages()["dashboard-build"]


@pytest.mark.services
def test_the_servers_themselves_accept_the_files_that_they_mount(tmp_path: Path) -> None:
    text = (ROOT / "configs/deploy/prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus/rules", str(ROOT / "configs/monitoring/prometheus")))
    alertmanager = ROOT / "configs/monitoring/prometheus/model-health.alertmanager.yml"
    for words in ((program("promtool"), "check", "config", config), (program("amtool"), "check-config", alertmanager)):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_scraped_probed_or_shown_is_a_service_at_the_port_it_listens_on() -> None:
    from model_health_airflow.stack.translate import PORTS

    known = {f"{name}:{port}" for name, ports in PORTS.items() for port in ports} | {"object-store:9000"}
    files = [*(ROOT / "configs/deploy").rglob("*.yml")]
    assert len(files) == 4
    named = {one for file in files for one in re.findall(r"\b[a-z-]+:\d{4}\b", file.read_text())}
    assert named
    assert named <= known


def test_grafana_finds_its_data_source_and_its_dashboard() -> None:
    folder = ROOT / "configs/deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    (provider,) = yaml.safe_load((folder / "dashboards/model-health.yml").read_text())["providers"]
    targets = [mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"] if ".json" in mount]
    assert [str(Path(target).parent) for target in targets] == [provider["options"]["path"]]
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == targets[0]


def stages() -> dict[str, str]:
    """The text of each stage of the Dockerfile, by name."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[2::3], parts[3::3], strict=True))


def parents() -> dict[str, str]:
    return {name: source for source, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)}


@pytest.mark.parametrize("target", OURS)
def test_an_image_does_not_run_as_root(target: str) -> None:
    users: list[str] = []
    stage: str | None = target
    while stage in parents() and not users:
        users = re.findall(r"^USER (\S+)$", stages()[stage], re.MULTILINE)
        stage = parents()[stage]
    assert users == ["model-health"]


def test_what_the_dockerfile_copies_exists_and_is_sent_to_the_builder() -> None:
    copies = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    copied = [source for line in copies for source in line.split()[:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert len(copied) > 8
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert [source for source in copied if not any(fnmatch(source.split("/")[0], one) for one in allowed)] == []


def test_an_image_installs_the_locks_own_lines_and_hashes(tmp_path: Path) -> None:
    assert all("--require-hashes --no-deps" in line for line in DOCKERFILE.splitlines() if "-r /tmp/part.lock" in line)
    (tmp_path / "names").write_text("# a comment\nuv==0\nApache-Airflow[celery]==3\npydantic==2\nnot-locked==1\n")
    script, lock = ROOT / "configs/deploy/lock-part.awk", ROOT / "requirements.lock"
    command = ["awk", "-f", str(script), str(tmp_path / "names"), str(lock)]
    part = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {re.split(r"[=\[]", line)[0] for line in part.splitlines() if not line.startswith(" ")}
    assert names == {"uv", "apache-airflow", "pydantic"}
    assert part.count("--hash=sha256:") > 3
    assert part in lock.read_text() or all(line in lock.read_text() for line in part.splitlines())


def test_the_dashboard_image_starts_a_page_that_exists() -> None:
    command = json.loads(re.findall(r"^CMD (\[.*\])$", stages()["dashboard"], re.MULTILINE)[-1])
    assert (ROOT / command[0]).is_file()
    assert command[:1] == SERVICES["dashboard"]["command"][:1]
