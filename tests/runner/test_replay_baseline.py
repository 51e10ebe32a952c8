"""A baseline from a configured model's name: what it needs, what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.baseline.document import Provenance
from model_health.baseline.registry import current, load
from model_health.baseline.store import BaselineStore
from model_health.baseline.tolerance import Tolerance
from model_health.config.settings import Settings
from model_health.errors import BadInput
from model_health.runner import replay_baseline
from model_health.runner.canary import run_canaries, utc_now
from model_health.runner.replay_baseline import BaselineRequest, create_baseline
from model_health.runner.request import RunRequest
from support.models import poison
from support.projects import tiny_project

ME = Provenance(by="me", reason="a test")
PROMPTS = [{"id": "one", "text": "Hello there", "golden": " my friend"}, {"id": "two", "text": "The sun is a star"}]


def project(home: Path, family: str) -> Settings:
    settings = tiny_project(home, family=family, prompts=PROMPTS, batch_size=2)
    run_canaries(RunRequest(model="tiny", run_id="night-1"), settings)
    return settings


@pytest.mark.parametrize("family", ["llama", "t5", "mamba"])
def test_a_baseline_holds_what_the_run_generated_and_what_is_harmless(family: str, tmp_path: Path) -> None:
    settings = project(tmp_path, family)
    said: list[str] = []
    made = create_baseline(BaselineRequest("tiny", ME), settings, say=said.append, clock=utc_now)
    store = BaselineStore.open(settings.store_uri)
    found = load(store, f"{made.model}/{made.suite}/{made.baseline_id}")
    assert current(store, "tiny", "smoke") is None
    assert found.document.reproducible is True
    assert [run.run_id for run in found.document.runs] == ["night-1"]
    lengths = found.document.runs[0].generated_tokens
    continuations = {item.prompt_id: item.tokens for item in found.observation.of_kind("continuation")}
    assert continuations == lengths
    tolerance = Tolerance.model_validate(found.document.tolerances)
    learned = {axis for floor in tolerance.floors for axis in floor.axes}
    assert {"batch", "threads"} <= learned
    assert ("cache" in learned) == (family != "mamba")
    assert any("through a cache is left out" in line for line in said) == (family == "mamba")


def test_one_replay_cannot_tell_whether_bits_repeat_and_a_promotion_counts_at_once(tmp_path: Path) -> None:
    settings = project(tmp_path, "llama")
    request = BaselineRequest("tiny", ME, replays=1, tolerances=False, promote=True)
    made = create_baseline(request, settings, say=lambda line: None, clock=utc_now)
    store = BaselineStore.open(settings.store_uri)
    promoted = current(store, "tiny", "smoke")
    assert promoted is not None
    assert (promoted.baseline_id, promoted.provenance) == (made.baseline_id, ME)
    document = load(store, "tiny/smoke").document
    assert (document.reproducible, document.tolerances) == (None, None)


def test_weights_that_changed_since_the_run_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    settings = project(tmp_path, "llama")
    poison(tmp_path / "weights/tiny", "model.layers.1.mlp.down_proj.weight")
    with pytest.raises(BadInput, match="had other weights than the model has now"):
        create_baseline(BaselineRequest("tiny", ME), settings, say=lambda line: None, clock=utc_now)
    assert BaselineStore.open(settings.store_uri).baselines() == []


def test_a_model_is_not_loaded_where_no_run_can_stand_behind_its_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_project(tmp_path)
    monkeypatch.setattr(replay_baseline, "load_model", lambda *args, **options: pytest.fail("was loaded"))
    with pytest.raises(BadInput, match="0 healthy runs"):
        create_baseline(BaselineRequest("tiny", ME), settings, say=lambda line: None, clock=utc_now)
