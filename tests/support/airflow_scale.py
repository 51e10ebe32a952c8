"""Airflow under a thousand mapped tasks: in `tests`, `python -m support.airflow_scale --executor E --json F`.

Starts what `make stack` starts of Airflow (PostgreSQL, Redis, scheduler, API server, Dag processor, a Celery worker or
none), runs one Dag of no-op tasks and one of canary tasks whose child is a stub, and writes down what Airflow's own
database says of them, with the CPU time of every service. Owns the two Dags and the measuring; asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_health_airflow.stack.local import Stack, adopt_orphans, end_orphans
from support.airflow import FAKE_PYTHON
from support.airflow_services import AirflowApi
from support.children import FAKE
from support.stack import make_project

SERVICES = {"postgres", "redis", "init", "api-server", "scheduler", "dag-processor"}
TASK_SLOTS = 4
DAGS = """\
from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task, task_group

from model_health_airflow.operators.instrumentation import InstrumentationOperator
from model_health_airflow.targets import choose, chosen

COMMON = {{"schedule": None, "start_date": datetime(2026, 1, 1, tzinfo=UTC), "catchup": False, "max_active_tasks": 64}}


@dag(**COMMON, default_args={{"queue": "default", "retries": 0}})
def many_nothings() -> None:
    @task(task_id="places")
    def places() -> list[int]:
        return [0] * {tasks}

    @task(task_id="measured")
    def nothing(place: int) -> None:
        return None

    nothing.expand(place=places())


@dag(**COMMON, default_args={{"queue": "default", "retries": 0}})
def many_canaries() -> None:
    choice = task(task_id="places")(choose)(False)

    @task_group(group_id="canary")
    def canary(place: int) -> None:
        InstrumentationOperator(task_id="measured", model=chosen("places", "model"), suite=chosen("places", "suite"))

    canary.expand(place=choice)


many_nothings()
many_canaries()
"""


class LocalApi(AirflowApi):
    """The REST API of a stack of this process."""

    def __init__(self, stack: Stack) -> None:
        self.url = stack.url("api-server")
        self._stack = stack
        self.log_in((stack.folder / "secrets/run/airflow_admin_password").read_text().strip())

    def wait(self, ready: Callable[[], Any], what: str, *, seconds: float = 600) -> Any:
        """Poll until `ready` gives something."""
        deadline = time.monotonic() + seconds
        while not (got := ready()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {what}")
            time.sleep(1)
        return got


def project(home: Path, executor: str, tasks: int) -> Path:
    """A project of `tasks` models whose capture child is a stub, and the two Dags."""
    python = home / "python"
    variables = {
        "AIRFLOW__CORE__EXECUTOR": executor,
        "AIRFLOW__CORE__PARALLELISM": str(TASK_SLOTS if executor == "LocalExecutor" else 32),
        "AIRFLOW__CORE__MAX_MAP_LENGTH": str(max(1024, tasks)),
        "MODEL_HEALTH_PYTHON": str(python),
        "MODEL_HEALTH_REQUIRE_PINNED_REVISION": "false",
        "OMP_NUM_THREADS": "1",
    }
    home.mkdir(parents=True, exist_ok=True)
    make_project(home, {"*": variables})
    python.write_text(FAKE_PYTHON.format(python=sys.executable, fake=FAKE))
    python.chmod(0o755)
    for number in range(tasks):
        name = f"synthetic-{number:04d}"
        model = {"name": name, "source": {"path": str(home)}, "suites": ["smoke"]}
        (home / f"configs/models/{name}.yaml").write_text(json.dumps(model))
    for path in (home / "dags").glob("*.py"):
        path.unlink()
    (home / "dags/many.py").write_text(DAGS.format(tasks=tasks))
    return home


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """CPU time that each service took so far, with all its children, those that ended included."""
    service_of = {one.process.pid: name for name, one in stack.running.items()}
    found = dict.fromkeys(service_of.values(), 0.0)
    parents, spent = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            rest = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(rest[1])
        spent[int(folder.name)] = sum(map(int, rest[11:15])) / os.sysconf("SC_CLK_TCK")
    for pid, seconds in spent.items():
        above: int | None = pid
        while above is not None and above not in service_of:
            above = parents.get(above)
        if above is not None:
            found[service_of[above]] += seconds
    return found


def run_tasks(stack: Stack, api: LocalApi, dag_id: str, limit_seconds: float) -> dict[str, Any]:
    """Run one Dag, at most for so long; what became of its mapped tasks, and what it cost."""
    api.wait(lambda: api.call("PATCH", f"/dags/{dag_id}", {"is_paused": False}), f"Dag {dag_id}")
    before, load = cpu_seconds(stack), os.getloadavg()[0]
    started = api.call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {}})
    run_id = started["dag_run_id"]
    path = f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id)}"
    loads = [load]

    def ended() -> bool:
        loads.append(os.getloadavg()[0])
        return (api.call("GET", path) or {}).get("state") in ("success", "failed")

    began = time.monotonic()
    whole = True
    try:
        api.wait(ended, "end of the run", seconds=limit_seconds)
    except TimeoutError:
        whole = False
    after = cpu_seconds(stack)
    facts = task_facts(stack, dag_id, run_id)
    if not whole:
        api.call("PATCH", path, {"state": "failed"})
    return {
        **facts,
        "dag": dag_id,
        "whole": whole,
        "waited_seconds": time.monotonic() - began,
        "cpu_seconds": {name: round(after[name] - before[name], 2) for name in sorted(after)},
        "load": [round(min(loads), 1), round(max(loads), 1)],
    }


def task_facts(stack: Stack, dag_id: str, run_id: str) -> dict[str, Any]:
    """What Airflow's database says of the mapped tasks of a run."""
    import psycopg2

    url = (stack.folder / "secrets/run/airflow_database_url").read_text().strip().replace("+psycopg2", "")
    query = """
        SELECT count(*), count(*) FILTER (WHERE state = 'success'), count(*) FILTER (WHERE state = 'failed'),
               extract(epoch FROM max(end_date) - min(scheduled_dttm)),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM end_date - start_date)),
               percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM end_date - start_date)),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM start_date - queued_dttm)),
               percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM start_date - queued_dttm)),
               sum(extract(epoch FROM end_date - start_date))
        FROM task_instance WHERE dag_id = %s AND run_id = %s AND task_id LIKE %s AND map_index >= 0
    """
    size = "SELECT max(length(value::text)) FROM xcom WHERE dag_id = %s AND run_id = %s"
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query, (dag_id, run_id, "%measured"))
        row = cursor.fetchone()
        cursor.execute(size, (dag_id, run_id))
        largest = cursor.fetchone()
    connection.close()
    assert row is not None
    assert largest is not None
    names = (
        "tasks",
        "succeeded",
        "failed",
        "seconds",
        "task_median",
        "task_p95",
        "wait_median",
        "wait_p95",
        "in_tasks",
    )
    facts = {name: None if value is None else float(value) for name, value in zip(names, row, strict=True)}
    return {**facts, "largest_xcom_bytes": largest[0]}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one executor."""
    parser = argparse.ArgumentParser(prog="python -m support.airflow_scale", description=__doc__)
    parser.add_argument("--executor", choices=("LocalExecutor", "CeleryExecutor"), required=True)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=15, help="at most, for each of the two Dags")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args(argv)
    adopt_orphans()
    # Not below a folder of root's own: PostgreSQL is another user.
    folder = Path(tempfile.mkdtemp(prefix="model-health-scale-"))
    folder.chmod(0o755)
    celery = arguments.executor == "CeleryExecutor"
    try:
        home = project(folder / "project", arguments.executor, arguments.tasks)
        (folder / "stack/secrets/made/sinks").mkdir(parents=True)
        stack = Stack(folder / "stack", home, {"CPU_WORKERS": str(TASK_SLOTS)})
        stack.names = SERVICES | ({"worker"} if celery else set())
        try:
            with stack:
                api = LocalApi(stack)
                runs = [
                    run_tasks(stack, api, dag_id, arguments.minutes * 60)
                    for dag_id in ("many_nothings", "many_canaries")
                ]
        except BaseException:
            for log in sorted((folder / "stack/logs").glob("*.log")):
                sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}\n")
            raise
        finally:
            end_orphans()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "executor": arguments.executor,
        "task_slots": TASK_SLOTS,
        "asked": arguments.tasks,
        "runs": runs,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
