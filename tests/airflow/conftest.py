"""Projects with a migrated Airflow database, which is made once and copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.airflow import Project


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project.make(tmp_path_factory.mktemp("airflow") / "template")
    code = "from pathlib import Path; from model_health_airflow.local_home import prepare; prepare(Path.cwd())"
    project.python("-c", code).check_returncode()
    return project.home / ".airflow"


@pytest.fixture
def make_project(tmp_path: Path, airflow_home: Path) -> Callable[..., Project]:
    """Makes a project with the named models."""

    def make(*models: str) -> Project:
        project = Project.make(tmp_path / "project")
        for model in models:
            project.add_model(model, timeout_seconds=600)
        shutil.copytree(airflow_home, project.home / ".airflow")
        return project

    return make
