"""What every test may rely on: no network, no home directory, none of the settings of whoever runs it.

This runs before any test module is imported, because Airflow, Hugging Face's libraries and our own settings read
the environment while they are imported.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

for _name in [name for name in os.environ if name.startswith(("MODEL_HEALTH_", "AIRFLOW"))]:
    del os.environ[_name]

_airflow_home = tempfile.mkdtemp(prefix="model-health-airflow-")
os.environ.update(
    AIRFLOW_HOME=_airflow_home,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    DO_NOT_TRACK="1",
    GX_ANALYTICS_ENABLED="False",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_OFFLINE="1",
    # Threads of torch that wait must not take the core from the one they wait for: CI has two.
    OMP_WAIT_POLICY="PASSIVE",
    STREAMLIT_BROWSER_GATHER_USAGE_STATS="false",
    TOKENIZERS_PARALLELISM="false",
)


# Tiny models gain nothing from a second thread, and several processes of tests share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_unconfigure() -> None:
    """Remove the Airflow home of this run."""
    shutil.rmtree(_airflow_home, ignore_errors=True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root folder."""
    return ROOT
