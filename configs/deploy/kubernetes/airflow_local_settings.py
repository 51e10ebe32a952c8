"""Gives the pods of tasks that load a model on CUDA a GPU. Airflow on the scheduler imports it.

A pod is not told its task's queue, so the task is known by its name: a test holds this equal to the queue `gpu`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernetes.client import V1Pod

RESOURCE = "nvidia.com/gpu"


def wants_gpu(task_id: str) -> bool:
    """Whether a task waits on the queue `gpu`."""
    group, _, step = task_id.rpartition(".")
    return step == "create_gpu" or (group.endswith("_gpu") and step in ("measure", "self_test"))


def pod_mutation_hook(pod: V1Pod) -> None:
    """Ask for one GPU and for a node that is kept for those who do. Airflow calls this for each pod it starts."""
    from kubernetes.client import models

    if not wants_gpu((pod.metadata.annotations or {}).get("task_id", "")):
        return
    pod.spec.node_selector = {**(pod.spec.node_selector or {}), f"{RESOURCE}.present": "true"}
    toleration = models.V1Toleration(key=RESOURCE, operator="Exists", effect="NoSchedule")
    pod.spec.tolerations = [*(pod.spec.tolerations or []), toleration]
    base = next(container for container in pod.spec.containers if container.name == "base")
    base.image = base.image.replace("model-health/worker", "model-health/gpu-worker")
    base.resources.limits = {**(base.resources.limits or {}), RESOURCE: "1"}
