"""The measurements of scale, small: they do what they say, and write down what they did. No figure is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.baseline import prune
from model_health.bench.scale import soak
from model_health.bench.scale.hour import measure_hour
from model_health.bench.scale.ingest import measure_ingest
from model_health.bench.scale.process import slope
from model_health.bench.scale.recorded import SUITE, Recording, model_name
from model_health.bench.scale.world import START
from model_health.config.gates import GateRule, load_gates
from model_health.config.settings import load_settings
from model_health.errors import BadInput
from model_health.store.index.index import Index

SHIPPED = Path(__file__).resolve().parents[3] / "configs"


def say(line: str) -> None:
    assert line


def test_ingest_counts_what_the_index_holds_and_refuses_one_that_holds_runs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/index.db"
    found = measure_ingest(url, prompts=2, models=3, rounds=2, batch=2, say=say)
    assert [(one.known, one.runs) for one in found.rounds] == [(False, 3), (True, 3)]
    with Index.open(url) as index:
        kept = index.runs()
        assert len(kept) == 6
        assert {len(index.points(run.run_key)) for run in kept} == {found.points}
        assert {len(index.samples(run.run_key)) for run in kept} == {2}
    with pytest.raises(BadInput, match="holds runs"):
        measure_ingest(url, prompts=2, models=1, rounds=1, batch=1, say=say)


def test_an_hour_judges_every_model_and_leaves_nothing_undelivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_health.bench.scale.hour.SICK_EVERY", 2)
    url = f"sqlite:///{tmp_path}/index.db"
    found = measure_hour(tmp_path / "home", SHIPPED, url, models=3, prompts=1, limit_seconds=3600, say=say)
    assert (found.models, found.waiting) == (3, 0)
    rules = [rule for rule in load_gates_of(tmp_path / "home") if rule.covers(model_name(0), SUITE.name)]
    judged = [rule for rule in rules if not (rule.by_clock or rule.by_comparison)]
    assert found.gates == 3 * len(judged)
    # Samples and verdicts of each, and one alert for the model that is sick.
    assert found.delivered == 3 * 2 + 1
    assert found.requests > found.delivered
    assert found.rows["runs"] == 3
    assert found.rows["alert_history"] == 1


def load_gates_of(home: Path) -> list[GateRule]:
    return list(load_gates(load_settings({"MODEL_HEALTH_HOME": str(home)})).rules.values())


def test_hours_of_operation_keep_what_retention_keeps_and_hold_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "DIES_EVERY", 5)
    monkeypatch.setattr(soak, "REFUSE_EVERY", 20)
    monkeypatch.setattr(prune, "SPARED", 2)
    found = soak.measure_soak(tmp_path / "home", SHIPPED, models=2, prompts=1, hours=3, minutes=20, keep=2, say=say)
    first, _, last = found.hours
    assert last.runs == 2 * 3 * 3
    assert last.pruned > 0
    assert last.reaped > 0
    assert last.failed > 0
    assert last.alerts > 0
    assert found.requests["hook"] > 0
    assert last.rows["runs"] + last.pruned == last.runs
    assert last.rows["runs"] < last.runs
    assert (last.open_files, last.sockets, last.threads) == (first.open_files, 0, first.threads)


def test_a_sick_run_says_so_in_its_manifest_its_rows_and_its_verdict() -> None:
    recording = Recording(prompts=2, tokens=4, layers=2)
    well, sick = (recording.play(model_name(1), "r", START, sick=sick) for sick in (False, True))
    assert (well.manifest.verdict, sick.manifest.verdict) == ("healthy", "unhealthy")
    assert [record.unhealthy_flags for record in sick.records] == [("nan_detected",), ()]
    assert {sample.labels["model"] for sample in sick.samples} == {model_name(1)}


@pytest.mark.parametrize(("values", "expected"), [([], 0.0), ([3.0], 0.0), ([1.0, 1.0], 0.0), ([0, 2, 4, 6], 2.0)])
def test_growth_is_the_line_through_the_values(values: list[float], expected: float) -> None:
    assert slope(values) == expected
