"""Grafana's dashboard: panels that do not overlap, queries that Prometheus takes, nothing bound to one server."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_health.catalog.loader import catalogue
from model_health.monitors.charts import rows
from model_health.monitors.grafana import render_dashboard
from model_health.monitors.target import RenderInput
from support.monitor_inputs import made, shipped
from support.prometheus_servers import program

INPUTS = pytest.mark.parametrize(
    "given", [shipped(), made(prometheus_labels={"env": "prod"})], ids=["shipped", "awkward"]
)


def dashboard(given: RenderInput) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(render_dashboard(given))
    return content


@INPUTS
def test_panels_have_ids_of_their_own_and_do_not_overlap(given: RenderInput) -> None:
    panels = dashboard(given)["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@INPUTS
def test_every_query_asks_the_chosen_data_source(given: RenderInput) -> None:
    content = dashboard(given)
    assert [variable["name"] for variable in content["templating"]["list"]] == ["datasource", "model", "suite"]
    for panel in content["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        if panel["type"] != "row":
            refs = [target["refId"] for target in panel["targets"]]
            assert len(set(refs)) == len(refs) > 0
            assert panel["description"]
            assert "\n" not in panel["description"]
    assert "http" not in json.dumps(content["panels"]).replace("https://git.example.org", "")


@pytest.mark.services
@INPUTS
def test_every_query_is_promql(given: RenderInput, tmp_path: Path) -> None:
    content = dashboard(given)
    queries = [target["expr"] for panel in content["panels"] for target in panel.get("targets", [])]
    queries += [one["expr"] for one in content["annotations"]["list"]]
    rules = [{"record": f"q{place}", "expr": query} for place, query in enumerate(queries)]
    (tmp_path / "q.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    command = [program("promtool"), "check", "rules", "q.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout


@INPUTS
def test_every_series_that_is_shown_is_published(given: RenderInput) -> None:
    known = {metric.prometheus_name for metric in catalogue().emitted()}
    known |= {"model_health_not_measured"}
    text = render_dashboard(given)
    assert set(re.findall(r"\bmodel_health_[a-z0-9_]+", text)) <= known


def test_each_row_and_each_gate_is_there() -> None:
    titles = [panel["title"] for panel in dashboard(shipped())["panels"]]
    assert {row.title for row in rows()} <= set(titles)
    by_clock = {name for name, rule in shipped().gates.rules.items() if rule.by_clock}
    assert set(shipped().gates.rules) - by_clock <= set(titles)


def test_an_import_replaces_the_dashboard_of_its_installation_only() -> None:
    first, other = dashboard(made()), dashboard(made(monitors={"installation": "eu-1"}))
    assert "id" not in first
    assert first["uid"] != other["uid"]
    assert render_dashboard(made()) == render_dashboard(made())
