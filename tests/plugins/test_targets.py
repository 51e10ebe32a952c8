"""Which runs a Dag run consists of, how their names reach the mapped tasks, and that no XCom grows with them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import jinja2
import pytest
from airflow.sdk.exceptions import AirflowFailException

from model_health_airflow.targets import SHARD, choose, chosen, queue_of
from model_health_airflow.xcom import MAX_BYTES
from support.airflow import Project

FIELDS: tuple[Literal["model", "suite"], ...] = ("model", "suite")
TEMPLATES = {
    name: jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(chosen("choose_default", name))
    for name in FIELDS
}


class Xcoms:
    """The task instance of `choose`, and of each task that is mapped over what it returned."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value

    def at(self, map_index: int) -> dict[str, str]:
        """The model and suite that the templates give the task at one place."""

        def pull(*, task_ids: str, key: str, map_indexes: None) -> Any:
            assert task_ids == "choose_default"
            return self.values[key]

        ti = SimpleNamespace(map_index=map_index, xcom_pull=pull)
        return {name: template.render(ti=ti) for name, template in TEMPLATES.items()}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project.make(tmp_path / "project")
    made.add_model("tiny")
    made.add_model("big", device="cuda")
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(made.home))
    return made


def runs(wants_cuda: bool, params: dict[str, Any] | None = None) -> list[dict[str, str]]:
    xcoms: Any = Xcoms()
    return [xcoms.at(place) for place in range(len(choose(wants_cuda, params, xcoms)))]


def test_without_params_every_enabled_model_is_chosen() -> None:
    assert runs(False) == [{"model": "tiny", "suite": "smoke"}]
    assert runs(True, {}) == [{"model": "big", "suite": "smoke"}]


def test_params_choose_one_model_and_one_suite() -> None:
    params = {"model": "tiny", "suite": "core"}
    assert runs(False, params) == [{"model": "tiny", "suite": "core"}]
    assert runs(True, params) == []


def test_a_project_without_configs_fails_the_task_for_good(project: Project) -> None:
    (project.home / "configs").rename(project.home / "elsewhere")
    with pytest.raises(AirflowFailException, match="is not a directory"):
        runs(False)


@pytest.mark.parametrize("count", [SHARD - 1, SHARD, SHARD + 1, 2 * SHARD])
def test_every_place_gets_its_own_model_also_at_the_ends_of_a_shard(project: Project, count: int) -> None:
    names = sorted(["tiny", *(f"model-{number:02}" for number in range(count - 1))])
    for name in names:
        project.add_model(name)
    assert [run["model"] for run in runs(False)] == names


def test_a_thousand_models_with_the_longest_names_keep_every_xcom_under_its_limit(project: Project) -> None:
    from model_health.runner import supervise_targets

    suite = "s" * 64
    pairs = [{"model": f"{number:04}".ljust(64, "m"), "suite": suite} for number in range(1000)]
    xcoms: Any = Xcoms()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervise_targets, "choose_targets", lambda **_: pairs)
        mapped_over = choose(False, {}, xcoms)
    assert len(mapped_over) == 1000
    assert [xcoms.at(place) for place in range(1000)] == pairs
    sizes = [len(json.dumps(value)) for value in [mapped_over, *xcoms.values.values()]]
    assert max(sizes) <= MAX_BYTES
    assert len(json.dumps(pairs)) > 30 * MAX_BYTES  # what it would have been in one piece


def test_a_name_is_data_and_never_a_template() -> None:
    xcoms = Xcoms()
    xcoms.values["shard_0"] = [{"model": "{{ 7 * 7 }}", "suite": "s"}]
    assert xcoms.at(0) == {"model": "{{ 7 * 7 }}", "suite": "s"}


def test_a_model_runs_on_the_queue_of_its_resource() -> None:
    assert [queue_of(model) for model in ("tiny", "big")] == ["default", "gpu"]
    with pytest.raises(AirflowFailException, match="nobody"):
        queue_of("nobody")
