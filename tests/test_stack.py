"""`make stack`: the services of docker-compose.yaml as processes, and a sick model found on the queue `gpu`.

Nothing on the way is fake but the device: the GPU worker's own variable says `cpu` for the model that asks for CUDA.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml

from model_health.store.index.index import Index
from support.chaos_check import clean_run
from support.chaos_stack import NOTICES, ONE_TASK, ONE_TASK_DAG, Scene, Usual, kill_during_one_run
from support.models import poison, save_tiny_model
from support.stack import RunningStack, StackApi, leftovers, make_project, running_stack
from support.webhook import Webhook, webhook_server

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.services, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    with webhook_server() as one:
        yield one


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, hook: Webhook) -> Iterator[RunningStack]:
    on_gpu_worker = {"MODEL_HEALTH_MODELS__SICK__DEVICE": "cpu"}
    everywhere = {"OMP_NUM_THREADS": "1", **NOTICES}
    home = make_project(tmp_path_factory.mktemp("stack"), {"*": everywhere, "gpu-worker": on_gpu_worker})
    for name, device in (("well", "cpu"), ("sick", "cuda")):
        save_tiny_model(home / "weights" / name)
        model = {"name": name, "source": {"path": f"weights/{name}"}, "suites": ["smoke"], "device": device}
        content = {**model, "dtype": "float32", "threads": 1, "timeout_seconds": 600}
        (home / f"configs/models/{name}.yaml").write_text(json.dumps(content))
    dag = home / "dags/run_canaries.py"
    # The clock starts nothing: an hour that ends during the test would add a run.
    text = dag.read_text().replace('schedule="@hourly"', "schedule=None")
    dag.write_text(text.replace("timedelta(minutes=1)", "timedelta(seconds=2)"))
    (home / f"dags/{ONE_TASK}.py").write_text(ONE_TASK_DAG)
    poison(home / "weights/sick", "model.layers.2.mlp.down_proj.weight")
    gates = yaml.safe_load((home / "configs/gates.yaml").read_text())
    gates["transports"] = {"webhook": {"team": {"url_secret": "team_webhook_url"}}}
    gates["routes"] = [{"transports": ["webhook:team", "alertmanager"], "gates": "non-finite"}]
    (home / "configs/gates.yaml").write_text(yaml.safe_dump(gates))
    scraped = home / "configs/deploy/prometheus.yml"
    scraped.write_text(scraped.read_text().replace("30s", "1s"))
    with running_stack(home, {"team_webhook_url": hook.url}) as running:
        yield running


@pytest.fixture(scope="module")
def run(stack: RunningStack) -> dict[str, Any]:
    return StackApi(stack).run_dag("run_canaries", {}, seconds=1200)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def test_each_queue_has_its_worker_and_one_model_is_sick(stack: RunningStack, run: dict[str, Any]) -> None:
    measured = {task["rendered_map_index"]: task for task in run["tasks"] if task["task_id"].endswith(".measure")}
    found = {name: (task["queue"], task["pool"], task["state"]) for name, task in measured.items()}
    assert found == {
        "well (smoke)": ("default", "default_pool", "success"),
        "sick (smoke)": ("gpu", "gpu", "success"),
    }, stack.logs()
    judged = {task["task_id"]: task["state"] for task in run["tasks"] if "evaluate_gates" in task["task_id"]}
    expected = {"canary_default.evaluate_gates": "success", "canary_gpu.evaluate_gates": "failed"}
    assert judged == expected, stack.logs()
    log = {name: (stack.folder / f"logs/{name}.log").read_text(errors="replace") for name in ("worker", "gpu-worker")}
    # The GPU worker took the one task of its queue, and nothing else.
    assert log["gpu-worker"].count(" received") == 1, log["gpu-worker"]
    assert log["worker"].count(" received") > 10


@pytest.mark.usefixtures("run")
def test_the_alert_reaches_the_webhook_and_alertmanager(stack: RunningStack, hook: Webhook) -> None:
    (text,) = stack.wait(hook.texts, "message at the webhook")
    assert "sick" in text
    url = f"{stack.urls['alertmanager']}/api/v2/alerts"
    alerts = stack.wait(lambda: get(url), "alert in Alertmanager")
    assert ("non-finite", "sick") in {(one["labels"]["gate"], one["labels"]["model"]) for one in alerts}


@pytest.mark.usefixtures("run")
def test_the_numbers_of_both_models_are_in_prometheus(stack: RunningStack) -> None:
    query = urllib.parse.urlencode({"query": "model_health_run_measured"})
    url = f"{stack.urls['prometheus']}/api/v1/query?{query}"

    def both() -> bool:
        return {one["metric"]["model"] for one in get(url)["data"]["result"]} == {"well", "sick"}

    assert stack.wait(both, "series of both models in Prometheus")
    groups = get(f"{stack.urls['prometheus']}/api/v1/rules")["data"]["groups"]
    assert sum(len(group["rules"]) for group in groups) > 10  # the shipped rules


@pytest.mark.usefixtures("run")
def test_the_dashboard_answers_and_its_role_can_read_and_not_write(stack: RunningStack) -> None:
    with urllib.request.urlopen(stack.urls["dashboard"], timeout=60) as answer:
        assert b"<html" in answer.read()
    url = (stack.folder / "secrets/run/index_reader_url").read_text().strip()
    with Index.open(url, migrate_up=False) as read:
        assert {record.model for record in read.models()} == {"well", "sick"}
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute("COMMIT")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM runs")
    connection.close()


def test_whatever_is_killed_during_a_run_it_ends_whole_and_its_slots_come_back(
    stack: RunningStack, run: dict[str, Any]
) -> None:
    scene = Scene.of(stack, "sick", ONE_TASK)
    with Index.open(scene.settings.index_url) as index:
        clean = clean_run(index, scene.folder(run["dag_run_id"]).key)
    # Children and tasks are killed in tests/chaos, which is cheaper; `make chaos` kills them here, too.
    victims = [(0, victim) for victim in ("worker", "scheduler", "postgres", "redis")]
    seen = kill_during_one_run(scene, victims, 1, clean, Usual(whole=15.0, child=0.0))
    assert [text for one in seen for text in one.violations] == [], stack.logs()
    assert {one.ended for one in seen} <= {"measured", "could_not_measure"}
    assert all(one.hit for one in seen), seen


# The last one: it ends the stack.
@pytest.mark.usefixtures("run")
def test_what_dies_is_started_again_and_at_the_end_nothing_is_left(stack: RunningStack) -> None:
    output = stack.folder / "output"
    (gateway,) = [pid for pid in Path("/proc").glob("[0-9]*") if is_gateway_of(pid, stack.folder)]
    os.kill(int(gateway.name), signal.SIGKILL)
    assert stack.wait(lambda: "pushgateway ended and is started again" in output.read_text(), "restart")
    assert len(leftovers(stack.folder)) > 10
    assert stack.end(signal.SIGTERM) == 0
    assert leftovers(stack.folder) == []
    assert "stopping" in output.read_text()


def is_gateway_of(process: Path, folder: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return b"prometheus-pushgateway" in words and str(folder).encode() in words
