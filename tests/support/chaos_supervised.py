"""Kills the capture child, or the task that supervises it, without a scheduler: hundreds of moments are affordable.

A task is a fork of this process that makes the one call which a scheduler's task makes. What production does after a
death is done here too: the task is tried again, or the reaper comes an hour later; then what waits is delivered.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from model_health.config.settings import Settings
from model_health.delivery.sinks import deliver_sinks
from model_health.errors import ModelHealthError
from model_health.report.manifest import AirflowIds
from model_health.runner.reap import reap
from model_health.runner.request import RunRequest
from model_health.runner.supervise_run import measure
from model_health.store.index import outbox
from model_health.store.index.index import Index, utc_now
from model_health.store.index.records import RunStatus
from model_health.store.names import RunFolder
from support import chaos_child
from support.chaos_check import Clean, check_run, clean_run, place_of
from support.chaos_results import Moment
from support.chaos_whole import check_whole
from support.children import is_running, wait_until
from support.configs import make_settings, write_files

LIMIT_SECONDS = 300.0
SINKS = ("local",)
# Stands for the interpreter of the capture child. The guard passes through it first, then the command itself, whose
# `-X faulthandler -m model_health.cli.main` is replaced.
_QUICK_PYTHON = """\
#!/bin/sh
if [ "$1" = "-I" ]; then exec {python} "$@"; fi
shift 4
PYTHONPATH={tests} exec {python} {child} "$@"
"""


@dataclass(frozen=True)
class Usual:
    """How long a run takes that nobody disturbs, in seconds: all of it, and from its first report to its end."""

    whole: float
    writing: float


@dataclass(frozen=True)
class Installation:
    """A project with one tiny model, and what its runs leave when nobody disturbs them."""

    settings: Settings
    model: str
    suite: str
    level: str = "made-up"

    @classmethod
    def make(cls, home: Path, *, quick: bool) -> Installation:
        """Make it. `quick` takes a child without torch, whose reports are made up."""
        if not quick:
            from support.projects import tiny_project  # loads torch

            return cls(tiny_project(home), "tiny", "smoke", "supervised")
        name = chaos_child.MODEL.name
        model = {"name": name, "source": {"path": "weights"}, "suites": [chaos_child.SUITE]}
        prompts = [{"id": "one", "group": "facts", "text": "Nobody asks this"}]
        suite = {"name": chaos_child.SUITE, "version": "1.0.0", "prompts": prompts}
        files = {f"models/{name}.yaml": json.dumps(model), f"canaries/{chaos_child.SUITE}.yaml": json.dumps(suite)}
        write_files(home, files)
        python = home / "python"
        tests = Path(__file__).resolve().parents[1]
        words = {"python": sys.executable, "tests": str(tests), "child": str(chaos_child.__file__)}
        python.write_text(_QUICK_PYTHON.format(**{key: shlex.quote(value) for key, value in words.items()}))
        python.chmod(0o755)
        return cls(make_settings(home, PYTHON=str(python)), name, chaos_child.SUITE)

    def folder(self, run_id: str) -> RunFolder:
        """Where a run lies."""
        return RunFolder.of(self.model, self.suite, run_id)

    def start(self, run_id: str, try_number: int) -> int:
        """Start a task, and return its process."""
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                # A session of its own, as Airflow's tasks have: what ends this process must not end the other.
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                ids = AirflowIds(dag_id="chaos", run_id=run_id, task_id="measure", map_index=0, try_number=try_number)
                status = int(
                    measure(RunRequest(self.model, run_id=run_id, airflow=ids), settings=self.settings).exit_code
                )
            except ModelHealthError as error:
                status = int(error.exit_code)
            finally:
                os._exit(status)
        return pid

    def calibrate(self, run_id: str) -> tuple[Clean, Usual]:
        """Run it undisturbed: what it leaves, and how long it takes."""
        began = time.monotonic()
        pid = self.start(run_id, 1)
        first = _first_report(self, run_id, lambda: _ended(pid))
        writing_from = time.monotonic()
        assert first, "it wrote no report"
        status = _wait(pid)
        assert status in (0, 1), f"an undisturbed run ended with {status}"
        ended = time.monotonic()
        with Index.open(self.settings.index_url) as index:
            clean = clean_run(index, self.folder(run_id).key)
        self.settle(run_id)
        return clean, Usual(ended - began, ended - writing_from)

    def status(self, run_id: str) -> RunStatus | None:
        """What the index says of a run."""
        with Index.open(self.settings.index_url) as index:
            row = index.run(self.folder(run_id).key)
        return None if row is None else row.status

    def settle(self, run_id: str) -> None:
        """What comes after a run: its reports are found valid, and what waits is delivered."""
        with Index.open(self.settings.index_url) as index, index.transaction("release a run") as connection:
            outbox.release(connection, self.folder(run_id).key)
        deliver_sinks(settings=self.settings)


def kill_at(place: Installation, victim: str, number: int, seed: int, clean: Clean, usual: Usual) -> Moment:
    """Start a run, kill `child` or `task` at a moment of it, let production's remedies work, and look."""
    rng, run_id = Random(f"{seed} {victim} {number}"), f"chaos {victim} {number}"
    began = time.monotonic()
    pid = place.start(run_id, 1)
    if number % 2:
        _first_report(place, run_id, lambda: _ended(pid))
        time.sleep(rng.uniform(0, usual.writing))
    else:
        time.sleep(rng.uniform(0, usual.whole))
    children = _children(pid)
    hit = children[0] if victim == "child" and children else pid if victim == "task" and not _ended(pid) else None
    words = _words(hit) if hit is not None else ""
    if hit is not None:
        os.kill(hit, signal.SIGKILL)
    after = time.monotonic() - began
    wrong = []
    if _wait(pid) is None:
        wrong.append(f"{run_id}: the task did not end within {LIMIT_SECONDS:.0f} s")
    left = [child for child in children if not wait_until(lambda child=child: not is_running(child), seconds=60)]
    wrong += [f"{run_id}: process {child} outlives its task" for child in left]
    remedy = "none"
    if place.status(run_id) in (None, RunStatus.STARTED):
        remedy = "tried again" if rng.random() < 0.5 else "reaped"
        if remedy == "tried again":
            if (status := _wait(place.start(run_id, 2))) not in (0, 1):
                wrong.append(f"{run_id}: its second try, which nobody disturbed, ended with {status}")
        else:
            later = timedelta(hours=2)
            reap(settings=place.settings, clock=lambda: utc_now() + later, sleep=lambda seconds: None)
    seconds = time.monotonic() - began
    place.settle(run_id)
    found = check_run(place.settings, place.folder(run_id), clean, SINKS, arrived=True)
    wrong += [*found.violations, *check_whole(place.settings)]
    notes = {"remedy": remedy, "writing": bool(number % 2)}
    return Moment(place.level, victim, number, after, words, found.ended, seconds, tuple(wrong), notes)


def _first_report(place: Installation, run_id: str, over: Callable[[], bool]) -> bool:
    """Wait for the first report of a run; False if the run is over without one."""
    folder = place_of(place.settings) / place.folder(run_id).path
    deadline = time.monotonic() + LIMIT_SECONDS
    while not any(folder.glob("*.json.gz")):
        if over() or time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def _ended(pid: int) -> bool:
    return not is_running(pid)


def _wait(pid: int) -> int | None:
    """The exit status of a task (a signal as its negative number); None, and dead, if it did not end in time."""
    in_time = wait_until(lambda: not is_running(pid), seconds=LIMIT_SECONDS)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if in_time else None


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80].strip()
    except OSError:
        return ""
