"""The dashboard in Airflow's menu: there where its address is configured, and found by Airflow's own loader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_health.config.settings import load_settings
from model_health_airflow.views import external_views

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import json
from airflow.plugins_manager import get_plugin_info
found = {one["name"]: one["external_views"] for one in get_plugin_info()}
print("VIEWS" + json.dumps(found["model_health_dashboard"], default=str))
"""


def test_without_an_address_airflow_s_menu_stays_as_it_is(tmp_path: Path) -> None:
    assert external_views(load_settings({}, cwd=tmp_path)) == []


def test_with_an_address_there_is_one_entry_that_leads_there(tmp_path: Path) -> None:
    settings = load_settings({"MODEL_HEALTH_DASHBOARD_URL": "https://ops.example.org/model-health/"}, cwd=tmp_path)
    (view,) = external_views(settings)
    assert view["href"] == "https://ops.example.org/model-health/"
    assert view["destination"] == "nav"
    assert view["url_route"] == "model-health"


@pytest.mark.slow
def test_airflow_s_own_loader_finds_the_view(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "MODEL_HEALTH_DASHBOARD_URL": "https://ops.example.org/model-health",
    }
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("VIEWS")]
    views = json.loads(line.removeprefix("VIEWS"))
    assert [(view["name"], view["href"]) for view in views] == [
        ("Model Health", "https://ops.example.org/model-health/")
    ]
