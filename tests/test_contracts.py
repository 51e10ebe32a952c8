"""The import contracts and the ban on heavy imports fail when somebody breaks them.

Each contract is broken once in a copy of the packages; the real tools judge the copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

HEAVY = [
    "torch",
    "transformers",
    "great_expectations",
    "pandas",
    "streamlit",
    "datadog_api_client",
    "prometheus_client",
]


@dataclass(frozen=True)
class Violation:
    """One line that breaks one contract, and the module that it is added to (created if it does not exist)."""

    contract: str
    module: str
    line: str


VIOLATIONS = [
    Violation("layers", "include/model_health/errors.py", "import model_health.report.schema"),
    Violation("layers", "include/model_health/report/schema.py", "import model_health.store.files"),
    Violation("layers", "include/model_health/metrics/telemetry.py", "import model_health.cli.main"),
    Violation("layers", "include/model_health/sinks/base.py", "import model_health.delivery.policy"),
    Violation("layers", "include/model_health/delivery/policy.py", "import model_health.runner.request"),
    Violation("layers", "include/model_health/alerting/alert.py", "import model_health.sinks.base"),  # siblings
    Violation("layers", "include/model_health/gates/result.py", "import model_health.alerting.alert"),
    Violation("layers", "include/model_health/helpers/__init__.py", ""),  # a package that no layer names
    Violation("airflow-is-outside", "include/model_health/errors.py", "import model_health_airflow"),
    Violation("library-is-portable", "include/model_health/errors.py", "import airflow"),
    Violation("library-is-portable", "include/model_health/cli/main.py", "def late():\n    import streamlit"),
    Violation("torch-is-contained", "include/model_health/report/schema.py", "def late():\n    import torch"),
    Violation("torch-is-contained", "include/model_health/store/files.py", "import model_health.metrics.planted"),
    Violation("torch-is-contained", "include/model_health/delivery/policy.py", "def late():\n    import torch"),
    Violation("torch-is-contained", "include/model_health/baseline/store.py", "import model_health.metrics.planted"),
    Violation("layers", "include/model_health/replay/plan.py", "import model_health.monitors.text"),
    Violation("layers", "include/model_health/store/files.py", "import model_health.baseline.key"),
    Violation("operators-are-thin", "plugins/model_health_airflow/planted.py", "def late():\n    import torch"),
]


def copy_of_the_packages(repository: Path, folder: Path) -> Path:
    """Copy what the contracts look at, with one torch module that an indirect import can go through."""
    for name in ("include", "plugins"):
        shutil.copytree(repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", folder)
    (folder / "include/model_health/metrics/planted.py").write_text("import torch\n")
    return folder


def lint_imports(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the copy: the folder's own packages come before the installed ones."""
    paths = os.pathsep.join([str(folder / "include"), str(folder / "plugins")])
    program = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo", *arguments]
    return subprocess.run(
        program, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_packages_as_they_are_break_no_contract(repository: Path, tmp_path: Path) -> None:
    done = lint_imports(copy_of_the_packages(repository, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda v: f"{v.contract}:{v.module.rsplit('/', 2)[-2]}")
def test_a_contract_is_broken_by_one_line(repository: Path, tmp_path: Path, violation: Violation) -> None:
    folder = copy_of_the_packages(repository, tmp_path)
    module = folder / violation.module
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text((module.read_text() if module.exists() else "") + "\n" + violation.line + "\n")
    done = lint_imports(folder, "--contract", violation.contract)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


def test_every_contract_has_a_violation_that_proves_it(repository: Path) -> None:
    contracts = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["id"] for contract in contracts} == {violation.contract for violation in VIOLATIONS}


def ruff(repository: Path, name: str, code: str) -> list[str]:
    """Let ruff judge code as if it stood in the named file; the rules that it breaks."""
    program = [str(Path(sys.executable).with_name("ruff")), "check", "--output-format", "concise", "--no-cache"]
    program += ["--config", str(repository / "pyproject.toml"), "--stdin-filename", str(repository / name), "-"]
    done = subprocess.run(program, cwd=repository, input=code, capture_output=True, text=True, check=False)
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith(name)]


@pytest.mark.parametrize("library", HEAVY)
@pytest.mark.parametrize(
    "name",
    [
        "dags/planted.py",
        "plugins/model_health_airflow/planted.py",
        "include/model_health/report/planted.py",
        "include/model_health/store/planted.py",
        "include/model_health/sinks/planted.py",
        "include/model_health/validate/planted.py",
        "include/model_health/delivery/planted.py",
        "include/model_health/cli/planted.py",
    ],
)
def test_a_heavy_import_at_module_level_is_refused(repository: Path, name: str, library: str) -> None:
    assert "TID253" in ruff(repository, name, f'"""Docstring."""\n\nimport {library}.part\n\nprint({library})\n')
    late = (
        f'"""Docstring."""\n\n\ndef late() -> object:\n    """Late."""\n    import {library}\n\n    return {library}\n'
    )
    assert "TID253" not in ruff(repository, name, late)


@pytest.mark.parametrize(
    "name", [f"include/model_health/{part}/planted.py" for part in ("capture", "metrics", "replay")]
)
def test_the_torch_side_may_import_torch(repository: Path, name: str) -> None:
    assert "TID253" not in ruff(repository, name, '"""Docstring."""\n\nimport torch\n\nprint(torch)\n')
