"""What a cluster is given: the pod of a task as the executor builds it, and values that the chart's keys can hold.

No cluster is needed: Airflow's own pod generator and the Kubernetes client's models read the template.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_health.config.settings import INDEX_URL_FILE_VARIABLE, OVERRIDABLE, SETTING_VARIABLES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs/deploy/kubernetes"
TEMPLATE: dict[str, Any] = yaml.safe_load((FOLDER / "pod-template.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text())
GPU = "nvidia.com/gpu"


def local_settings() -> Any:
    spec = importlib.util.spec_from_file_location("shipped_local_settings", FOLDER / "airflow_local_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pod_of(task_id: str) -> dict[str, Any]:
    """The pod that the executor would start for a task, after the shipped hook, as the cluster is sent it."""
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from kubernetes.client import ApiClient

    template = PodGenerator.deserialize_model_file(str(FOLDER / "pod-template.yaml"))
    pod = PodGenerator.construct_pod(
        dag_id="run_canaries", task_id=task_id, pod_id="pod", try_number=1, kube_image="model-health/worker:local",
        date=None, args=["python", "-m", "work"], pod_override_object=None, base_worker_pod=template,
        namespace="model-health", scheduler_job_id="1", run_id="manual", map_index=0,
    )  # fmt: skip
    local_settings().pod_mutation_hook(pod)
    sent: dict[str, Any] = ApiClient().sanitize_for_serialization(pod)
    return sent


@pytest.mark.slow
def test_the_clients_models_read_every_key_of_the_template() -> None:
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from kubernetes.client import ApiClient

    sent = ApiClient().sanitize_for_serialization(
        PodGenerator.deserialize_model_file(str(FOLDER / "pod-template.yaml"))
    )
    assert sent == TEMPLATE  # a key that the models do not know would be gone


@pytest.mark.slow
@pytest.mark.parametrize("task_id", ["canary_gpu.measure", "create_gpu"])
def test_a_task_that_loads_a_model_on_cuda_gets_one_gpu_on_a_node_kept_for_that(task_id: str) -> None:
    pod = pod_of(task_id)
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"][GPU] == "1"
    assert container["resources"]["limits"]["memory"] == "64Gi"
    assert container["image"] == "model-health/gpu-worker:local"
    assert pod["spec"]["tolerations"] == [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["spec"]["nodeSelector"] == {f"{GPU}.present": "true"}
    assert container["command"] + container["args"] == ["tini", "-g", "--", "python", "-m", "work"]


@pytest.mark.slow
@pytest.mark.parametrize("task_id", ["canary_default.measure", "canary_gpu.validate", "choose_gpu"])
def test_any_other_task_takes_no_gpu(task_id: str) -> None:
    pod = pod_of(task_id)
    (container,) = pod["spec"]["containers"]
    assert GPU not in container["resources"]["limits"]
    assert container["image"] == "model-health/worker:local"
    assert "tolerations" not in pod["spec"]


@pytest.mark.slow
def test_the_hook_knows_the_tasks_of_the_queue_and_no_other() -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags")
    tasks = {(name, task.task_id): task.queue for name, dag in bag.dags.items() for task in dag.tasks}
    on_queue = {key for key, queue in tasks.items() if queue == "gpu"}
    assert len(on_queue) >= 4
    assert {key for key in tasks if local_settings().wants_gpu(key[1])} == on_queue


def test_a_pod_is_not_root_shares_the_models_and_mounts_what_its_variables_name() -> None:
    spec = TEMPLATE["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == VALUES["uid"] == 10001
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert mounts.keys() == volumes.keys()
    claims = {one["persistentVolumeClaim"]["claimName"] for one in volumes.values() if "persistentVolumeClaim" in one}
    made = {one["metadata"]["name"]: one for one in yaml.safe_load_all((FOLDER / "volumes.yaml").read_text())}
    assert claims == set(made)
    assert all(one["spec"]["accessModes"] == ["ReadWriteMany"] for one in made.values())
    environment = {one["name"]: one["value"] for one in container["env"]}
    places = [mount["mountPath"] for mount in mounts.values()] + ["/opt/model-health"]
    named = {name: value for name, value in environment.items() if value.startswith("/")}
    assert {name for name, value in named.items() if not value.startswith(tuple(places))} == set()
    assert environment["MODEL_HEALTH_CACHE_DIR"] == mounts["model-cache"]["mountPath"]


def test_tasks_and_control_plane_are_told_the_same_and_no_secret() -> None:
    (container,) = TEMPLATE["spec"]["containers"]
    in_pods = {one["name"]: one["value"] for one in container["env"]}
    in_control = {one["name"]: one["value"] for one in VALUES["env"]}
    assert {name: in_pods.get(name) for name in in_control} == in_control
    ours = {name for name in in_pods if name.startswith("MODEL_HEALTH_")}
    plain = {name for name in ours if name.removeprefix("MODEL_HEALTH_").split("__")[0].lower() not in OVERRIDABLE}
    assert plain <= {*SETTING_VARIABLES, INDEX_URL_FILE_VARIABLE}
    secrets = {name for name in {**in_pods, **in_control} if re.search("PASSWORD|SECRET|KEY|CONN", name)}
    assert secrets == {"MODEL_HEALTH_SECRETS_DIR"}


def test_the_chart_brings_no_database_and_no_default_password() -> None:
    assert (VALUES["executor"], VALUES["airflowVersion"]) == ("KubernetesExecutor", "3.3.2")
    assert VALUES["airflowVersion"] in (ROOT / "requirements.in").read_text()
    assert VALUES["postgresql"] == VALUES["redis"] == {"enabled": False}
    assert VALUES["data"].keys() == {"metadataSecretName"}
    assert all(VALUES[f"{name}SecretName"] for name in ("fernetKey", "apiSecretKey", "jwt"))
    repositories = {
        VALUES["images"]["airflow"]["repository"],
        VALUES["config"]["kubernetes_executor"]["worker_container_repository"],
    }
    assert repositories == {"model-health/airflow", "model-health/worker"}
    for name in ("scheduler", "apiServer", "dagProcessor", "triggerer"):
        assert VALUES[name]["resources"].keys() == {"requests", "limits"}


def test_what_the_chart_renders_holds_no_braces_of_its_template_language() -> None:
    for name in ("pod-template.yaml", "airflow_local_settings.py"):
        assert "{{" not in (FOLDER / name).read_text()
