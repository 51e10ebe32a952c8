"""Kills parts of a running stack: the processes of it, the moment of a kill, and the look at what came of the run.

One stack serves many moments. Runs are of the Dag `run_canaries` with a tiny model that waits for the pool `gpu`, so
that its one slot has to come back. Killed services are started again by the stack itself.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from model_health.config.settings import Settings, load_settings
from model_health.delivery.drain import drain
from model_health.runner.reap import reap
from model_health.store.index.index import Index, utc_now
from model_health.store.index.records import RunStatus
from model_health.store.names import RunFolder
from support.chaos_check import Clean, check_run, clean_run
from support.chaos_results import Moment
from support.chaos_whole import check_whole, not_back
from support.models import save_tiny_model
from support.stack import RunningStack, StackApi, make_project, running_stack

MODEL, SUITE, POOLS = "tiny", "smoke", ("default_pool", "gpu")
SINKS = ("local", "prometheus")
SERVICES = ("postgres", "redis", "scheduler", "worker", "gpu-worker", "api-server")
WHOLE, ONE_TASK = "run_canaries", "measure_only"
ONE_TASK_DAG = """\
from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag

from model_health_airflow.operators.instrumentation import InstrumentationOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, params={"model": ""})
def measure_only() -> None:
    InstrumentationOperator(
        task_id="measure", model="{{ params.model }}", suite="smoke", pool="gpu", queue="gpu",
        fail_on_unhealthy=False, retries=4, retry_delay=timedelta(seconds=2),
    )


measure_only()
"""
"""A Dag of the one task that measures: where restarts of services are the price already, eight more tasks are too many.

It validates nothing, so what its runs have for the sinks is held.
"""
RUN_SECONDS = 1800.0
AFTERWARDS_SECONDS = 600.0
NOTICES = {
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "120",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "20",
}
"""How soon Airflow notices a death: in minutes as it comes, which a suite of a thousand deaths cannot wait for."""


class ChaosApi(StackApi):
    """The REST API while its database may be away: what does not answer properly does not answer."""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """See `AirflowApi.call`; errors are None as well."""
        try:
            return super().call(method, path, body)
        except (AssertionError, OSError, ValueError):
            return None


# --------------------------------------------------------------------------------------------------------- processes
def children(pid: int) -> list[int]:
    """The processes that a process started."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, file.read_text().split())
        except OSError:
            continue
    return found


def family(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(one for child in children(pid) for one in family(child))]


def words(pid: int) -> str:
    """Its command line; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def service(stack: RunningStack, name: str) -> int | None:
    """The first process of a service: the one that leads a session and writes to the service's log."""
    for pid in children(stack.process.pid):
        try:
            log = Path(f"/proc/{pid}/fd/1").readlink().name
            if log == f"{name}.log" and os.getsid(pid) == pid:
                return pid
        except OSError:
            continue
    return None


def capture_child(stack: RunningStack) -> int | None:
    """The capture child that runs now."""
    return next((pid for pid, line in _of_workers(stack) if "model_health.cli.main" in line and " run " in line), None)


def tasks(stack: RunningStack) -> list[int]:
    """The processes of Airflow's tasks: a worker's slot supervises each, in a process group of its own."""
    found = []
    for pid, line in _of_workers(stack):
        try:
            own_group = os.getpgid(pid) == pid and os.getsid(pid) != pid
        except OSError:
            continue
        if own_group and "model_health.cli.main" not in line:
            found.append(pid)
    return found


def _of_workers(stack: RunningStack) -> list[tuple[int, str]]:
    mains = [main for name in ("worker", "gpu-worker") if (main := service(stack, name)) is not None]
    return [(pid, words(pid)) for main in mains for pid in family(main)[1:]]


def kill(pids: Sequence[int]) -> str:
    """SIGKILL all of these, and return what the first one was; empty where it was gone."""
    what = words(pids[0])
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return what[:80]


def victims(stack: RunningStack, victim: str, rng: Random) -> list[int]:
    """The processes to be killed now; none where the victim is not there.

    A worker is killed with all that it started, as a container ends with its first process. Of PostgreSQL, Redis and
    the scheduler the first process is killed, and what it started goes as it can.
    """
    if victim == "child":
        found = capture_child(stack)
    elif victim == "task":
        running = tasks(stack)
        found = rng.choice(running) if running else None
    elif victim == "worker":
        main = service(stack, rng.choice(("worker", "gpu-worker")))
        return family(main) if main is not None else []
    else:
        found = service(stack, victim)
    return [] if found is None else [found]


# ------------------------------------------------------------------------------------------------------- installation
@dataclass(frozen=True)
class Scene:
    """A running stack with what is needed to look past it."""

    stack: RunningStack
    api: ChaosApi
    settings: Settings
    model: str = MODEL
    dag: str = WHOLE

    @classmethod
    def of(cls, stack: RunningStack, model: str = MODEL, dag: str = WHOLE) -> Scene:
        """Look at a stack that is ready."""
        index_url = (stack.folder / "secrets/run/index_url").read_text().strip()
        variables = {
            "MODEL_HEALTH_HOME": str(stack.project),
            "MODEL_HEALTH_STORE_URI": str(stack.folder / "volumes/model-health-data/store"),
            "MODEL_HEALTH_INDEX_URL": index_url,
            "MODEL_HEALTH_SECRETS_DIR": str(stack.folder / "secrets/made/sinks"),
            "MODEL_HEALTH_SINKS__PROMETHEUS__ENABLED": "true",
            "MODEL_HEALTH_SINKS__PROMETHEUS__URL": stack.urls["pushgateway"],
        }
        return cls(stack, ChaosApi(stack), load_settings(variables), model, dag)

    def folder(self, run_id: str) -> RunFolder:
        """Where a run lies."""
        return RunFolder.of(self.model, SUITE, run_id)

    def trigger(self, run_id: str) -> None:
        """Start a run of the Dag."""
        path = f"/dags/{self.dag}"
        self.api.wait(lambda: self.api.call("PATCH", path, {"is_paused": False}), "the Dag")
        body = {"dag_run_id": run_id, "logical_date": None, "conf": {"model": self.model}}
        # An answer may be lost: then the run is there all the same.
        self.api.wait(lambda: self.api.call("POST", f"{path}/dagRuns", body) or self.run(run_id), "a Dag run")

    def run(self, run_id: str) -> Any:
        """What Airflow says of a run; None where it does not answer."""
        return self.api.call("GET", f"/dags/{self.dag}/dagRuns/{urllib.parse.quote(run_id)}")

    def over(self, run_id: str) -> bool:
        """Whether a run has ended."""
        found = self.run(run_id)
        return found is not None and found["state"] in ("success", "failed")

    def tries(self, run_id: str) -> dict[str, Any]:
        """State and try of each task that needed more than one try, or failed."""
        found = self.api.call("GET", f"/dags/{self.dag}/dagRuns/{urllib.parse.quote(run_id)}/taskInstances") or {}
        tried = {one["task_id"]: one for one in found.get("task_instances", ())}
        odd = {name: one for name, one in tried.items() if one["try_number"] > 1 or one["state"] == "failed"}
        return {name: f"{one['state']}, try {one['try_number']}" for name, one in odd.items()}

    def occupied(self) -> dict[str, int] | None:
        """Slots of each pool that are taken; None where Airflow does not answer."""
        found = {name: self.api.call("GET", f"/pools/{name}") for name in POOLS}
        return None if None in found.values() else {name: pool["occupied_slots"] for name, pool in found.items()}

    def look(self, run_id: str, clean: Clean) -> tuple[str, list[str]]:
        """What became of a run that is over, once production's remedies have worked: the reaper, and what is late.

        Both are called as an hour later, when they would act: the lease of a deliverer that was killed has ended then.
        """
        later = timedelta(hours=2)
        with Index.open(self.settings.index_url) as index:
            row = index.run(self.folder(run_id).key)
            if row is not None and row.status is RunStatus.STARTED:
                reap(settings=self.settings, clock=lambda: utc_now() + later, sleep=lambda seconds: None)
            left = timedelta(minutes=11)
            drain(index, self.settings, targets=SINKS, clock=lambda: utc_now() + left)
        found = check_run(self.settings, self.folder(run_id), clean, SINKS, arrived=self.dag == WHOLE)
        return found.ended, [*found.violations, *check_whole(self.settings)]

    def afterwards(self) -> tuple[float, list[str]]:
        """Wait until slots and services are back and no capture child is left: how many seconds, and what is not."""
        began = time.monotonic()

        def wrong() -> list[str]:
            gone = [name for name in SERVICES if service(self.stack, name) is None]
            return not_back(self.occupied(), gone, capture_child(self.stack) is not None)

        while (found := wrong()) and time.monotonic() - began < AFTERWARDS_SECONDS:
            time.sleep(1)
        return time.monotonic() - began, found


@dataclass(frozen=True)
class Usual:
    """Seconds that a Dag run takes which nobody disturbs, and its capture child."""

    whole: float
    child: float


def calibrate(scene: Scene, run_id: str) -> tuple[Clean, Usual]:
    """Let a run end undisturbed: what it leaves, and how long it takes."""
    began = time.monotonic()
    scene.trigger(run_id)
    lives: list[float] = []

    def over() -> bool:
        if capture_child(scene.stack) is not None:
            lives.append(time.monotonic())
        return scene.over(run_id)

    scene.stack.wait(over, f"end of {run_id}", seconds=RUN_SECONDS)
    usual = Usual(time.monotonic() - began, max(1.0, lives[-1] - lives[0]) if lives else 1.0)
    with Index.open(scene.settings.index_url) as index:
        clean = clean_run(index, scene.folder(run_id).key)
    ended, wrong = scene.look(run_id, clean)
    assert (ended, wrong) == ("measured", []), f"undisturbed, it breaks promises: {wrong}"
    return clean, usual


@dataclass
class Plan:
    """One kill to come: of whom, and when. A child's moment counts from its own start, the others' from the run's."""

    victim: str
    number: int
    rng: Random
    delay: float
    due: float | None
    after: float = 0.0
    hit: str = ""

    @classmethod
    def draw(cls, victim: str, number: int, seed: int, usual: Usual, began: float) -> Plan:
        """Draw the moment: the same for the same seed and the same usual length."""
        rng = Random(f"{seed} stack {victim} {number}")
        delay = rng.uniform(0, usual.child if victim == "child" else usual.whole)
        return cls(victim, number, rng, delay, None if victim == "child" else began + delay)

    def act(self, stack: RunningStack, began: float) -> bool:
        """Kill, if it is time and the victim is there; whether that is done. Between two tasks there is none."""
        now = time.monotonic()
        if self.due is None and capture_child(stack) is not None:
            self.due = now + self.delay
        if self.due is None or now < self.due or not (found := victims(stack, self.victim, self.rng)):
            return False
        self.hit, self.after = kill(found), now - began
        return True


def kill_during_one_run(
    scene: Scene, order: Sequence[tuple[int, str]], seed: int, clean: Clean, usual: Usual
) -> list[Moment]:
    """Start a Dag run, kill each victim at a moment of it, wait until the run is over, and look."""
    run_id = f"chaos__{'-'.join(f'{victim}{number}' for number, victim in order)}-{os.getpid()}"
    began = time.monotonic()
    scene.trigger(run_id)
    plans = [Plan.draw(victim, number, seed, usual, began) for number, victim in order]
    waiting = list(plans)

    def over() -> bool:
        waiting[:] = [plan for plan in waiting if not plan.act(scene.stack, began)]
        return scene.over(run_id)

    wrong = []
    if not _until(over, RUN_SECONDS):
        wrong.append(f"{run_id}: the Dag run did not end within {RUN_SECONDS:.0f} s")
    seconds = time.monotonic() - began
    waited, left = scene.afterwards()
    wrong += [f"{run_id}: {text} {AFTERWARDS_SECONDS:.0f} s after the run" for text in left]
    ended, broken = scene.look(run_id, clean)
    state = (scene.run(run_id) or {}).get("state")
    notes = {"run_id": run_id, "dag_run": state, "tries": scene.tries(run_id), "back_after": round(waited, 1)}
    # What is wrong with the run is told once, with the first of the kills.
    told = [(*wrong, *broken), *((),) * (len(plans) - 1)]
    return [
        Moment("stack", plan.victim, plan.number, plan.after, plan.hit, ended, seconds, mine, notes)
        for plan, mine in zip(plans, told, strict=True)
    ]


def _until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def make_chaos_project(home: Path) -> Path:
    """A project with the tiny model on the queue `gpu`, whose tasks are tried again soon."""
    everywhere: Mapping[str, str] = {"OMP_NUM_THREADS": "1", **NOTICES}
    on_gpu_worker = {"MODEL_HEALTH_MODELS__TINY__DEVICE": "cpu"}
    make_project(home, {"*": everywhere, "gpu-worker": on_gpu_worker})
    save_tiny_model(home / "weights" / MODEL)
    model = {"name": MODEL, "source": {"path": f"weights/{MODEL}"}, "suites": [SUITE], "device": "cuda"}
    content = {**model, "dtype": "float32", "threads": 1, "timeout_seconds": 600}
    (home / f"configs/models/{MODEL}.yaml").write_text(json.dumps(content))
    dag = home / f"dags/{WHOLE}.py"
    text = dag.read_text().replace('schedule="@hourly"', "schedule=None")
    dag.write_text(text.replace("timedelta(minutes=1)", "timedelta(seconds=2)"))
    return home


def kill_in_turn(order: Sequence[tuple[int, str]], seed: int, together: int) -> Iterator[Moment]:
    """Start a stack, and see these moments of it, each a number and a victim; so many of them during one Dag run."""
    home = Path(tempfile.mkdtemp(prefix="model-health-chaos-"))
    try:
        project = make_chaos_project(home)
        with running_stack(project, {}) as stack:
            scene = Scene.of(stack)
            calibrate(scene, "undisturbed-1")  # the first run of each service is slower
            clean, usual = calibrate(scene, "undisturbed-2")
            for begin in range(0, len(order), together):
                yield from kill_during_one_run(scene, order[begin : begin + together], seed, clean, usual)
    finally:
        shutil.rmtree(home)
