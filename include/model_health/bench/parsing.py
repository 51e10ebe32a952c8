"""How long Airflow takes to read the Dag folder with a thousand configured models, beyond its own imports.

A process of its own reads an ordinary Dag first, so that what Airflow needs by itself is loaded, then ours.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from model_health.config.settings import child_environment, load_settings
from model_health.errors import CouldNotMeasure

MODELS = 1000

_PLAIN = """\
from datetime import datetime
from airflow.sdk import Param, dag, task

@dag(schedule=None, start_date=datetime(2026, 1, 1), params={"x": Param(None, type=["null", "string"])})
def plain():
    @task
    def one():
        return [1]
    @task
    def two(x):
        return x
    two.expand(x=one())

plain()
"""
_PARSE = """\
import json, sys, time
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag

DagBag(Path(sys.argv[1]))
cpu, wall = time.process_time(), time.perf_counter()
bag = DagBag(Path(sys.argv[2]))
spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
print(json.dumps({**spent, "errors": list(bag.import_errors.values()), "dags": sorted(bag.dags)}))
"""


def can_parse() -> bool:
    """Whether Airflow and our part of it are installed, and a Dag folder is at hand."""
    return all(find_spec(name) for name in ("airflow", "model_health_airflow")) and _dags().is_dir()


def _dags() -> Path:
    return load_settings().home / "dags"


def parse_seconds(rounds: int, *, models: int = MODELS) -> dict[str, list[float]]:
    """CPU and wall seconds of reading the Dag folder, each in a fresh process.

    Raises:
        CouldNotMeasure: Airflow does not run, or a Dag does not load.
    """
    found: dict[str, list[float]] = {"parse_cpu": [], "parse_wall": []}
    with tempfile.TemporaryDirectory(prefix="model-health-bench-") as folder:
        home = Path(folder)
        _write_project(home, models)
        environment = child_environment(load_settings()) | {
            "MODEL_HEALTH_HOME": str(home),
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        }
        for _ in range(rounds):
            done = subprocess.run(
                [sys.executable, "-c", _PARSE, str(home / "plain"), str(home / "dags")],
                env=environment, cwd=home, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["no word"])[-1]
                raise CouldNotMeasure(f"Airflow could not read the Dags: {last}", subject="dags")
            spent = json.loads(done.stdout.splitlines()[-1])
            if spent["errors"] or not spent["dags"]:
                raise CouldNotMeasure(f"a Dag does not load: {spent['errors']}", subject="dags")
            found["parse_cpu"].append(spent["cpu"])
            found["parse_wall"].append(spent["wall"])
    return found


def _write_project(home: Path, models: int) -> None:
    shutil.copytree(_dags(), home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(_dags().parent / "configs", home / "configs")
    (home / "plain").mkdir()
    (home / "plain" / "plain.py").write_text(_PLAIN)
    for number in range(models):
        device = "cuda" if number % 2 else "cpu"
        entry = {"name": f"model-{number}", "source": {"path": str(home)}, "suites": ["smoke"], "device": device}
        (home / f"configs/models/model-{number}.yaml").write_text(json.dumps(entry))  # JSON is YAML
