"""A project of its own for tests of the Dag: configs, an Airflow home, and a capture child that does as it is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from model_health_airflow.local_home import airflow_variables
from support.children import FAKE

REPOSITORY = Path(__file__).resolve().parents[2]

SUITE = """\
name: smoke
version: 1.0.0
defaults: {max_new_tokens: 4}
prompts:
  - {id: one, group: facts, text: "Hello there"}
  - {id: two, group: facts, text: "And again"}
"""

# Stands for the interpreter of the capture child. The guard passes through it first, then the command itself, whose
# `-X faulthandler -m model_health.cli.main` is replaced by the fake child.
FAKE_PYTHON = """\
#!/bin/sh
if [ "$1" = "-I" ]; then exec {python} "$@"; fi
shift 4
exec {python} -S {fake} "$@"
"""


@dataclass(frozen=True)
class Project:
    """A project folder outside the repository, with the repository's Dags."""

    home: Path

    @classmethod
    def make(cls, home: Path) -> Project:
        """Make the folder, with the suite `smoke` and no model."""
        for folder in ("configs/models", "configs/canaries", "plugins"):
            (home / folder).mkdir(parents=True)
        (home / "configs/canaries/smoke.yaml").write_text(SUITE)
        for name in ("gates.yaml", "sinks.yaml"):
            shutil.copy(REPOSITORY / "configs" / name, home / "configs")
        (home / "dags").mkdir()
        shutil.copy(REPOSITORY / "dags" / "run_canaries.py", home / "dags")
        shutil.copy(REPOSITORY / "plugins" / ".airflowignore", home / "plugins")
        python = home / "python"
        python.write_text(FAKE_PYTHON.format(python=sys.executable, fake=FAKE))
        python.chmod(0o755)
        return cls(home)

    def add_model(self, name: str, **keys: object) -> None:
        """Configure a model; `keys` are further keys of its file."""
        content = {"name": name, "source": {"path": str(self.home)}, "suites": ["smoke"], **keys}
        (self.home / f"configs/models/{name}.yaml").write_text(json.dumps(content))  # JSON is YAML

    def environment(self, *, fake_child: dict[str, object] | None = None) -> dict[str, str]:
        """The environment of a process in this project; without orders for a fake child, the real one is used."""
        variables = {**os.environ, **airflow_variables(self.home), "MODEL_HEALTH_HOME": str(self.home)}
        variables["OMP_NUM_THREADS"] = "1"
        if fake_child is not None:
            variables |= {"MODEL_HEALTH_PYTHON": str(self.home / "python"), "FAKE_CHILD": json.dumps(fake_child)}
        return variables

    def python(self, *arguments: str, timeout: float = 600, **options: object) -> subprocess.CompletedProcess[str]:
        """Run this interpreter in the project to its end."""
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environment(**options),  # type: ignore[arg-type]
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
