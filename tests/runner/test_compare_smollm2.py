"""Real weights, SmolLM2-135M-Instruct on a small suite: what four bits do to it shows as harm, with an interval."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from model_health.baseline.registry import load
from model_health.baseline.store import BaselineStore
from model_health.config.gates import load_gates
from model_health.config.load import load_project
from model_health.config.settings import Settings, load_settings
from model_health.runner.canary import run_canaries, utc_now
from model_health.runner.compare import compare_loaded
from model_health.runner.loading import load_model
from model_health.runner.replay_baseline import BaselineRequest, create_baseline
from model_health.runner.request import RunRequest
from support.projects import suite
from support.regressions import ME, round_trip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = "smollm2-135m"
GOLDEN = {
    "The capital of France": " is Paris, a city on the river Seine.",
    "Water boils": " at one hundred degrees Celsius at sea level.",
    "The sun rises": " in the east and sets in the west.",
    "A week has": " seven days, and a year has twelve months.",
    "Bees": " make honey from the nectar of flowers.",
    "The opposite of hot": " is cold, and the opposite of big is small.",
    "Two plus two": " is four, and four plus four is eight.",
    "Fish live": " in water and breathe through their gills.",
    "In winter": " it often snows, and the days are short.",
    "The moon": " moves around the earth once a month.",
    "Shakespeare wrote": " plays such as Hamlet and Romeo and Juliet.",
    "Bread is made": " of flour, water, salt and yeast.",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The shipped model, with a suite of its own; converted weights come from the repository's cache."""
    for folder in ("models", "canaries"):
        (tmp_path / "configs" / folder).mkdir(parents=True)
    shutil.copy(REPOSITORY / "configs/gates.yaml", tmp_path / "configs")
    shutil.copy(REPOSITORY / "configs/sinks.yaml", tmp_path / "configs")
    model = yaml.safe_load((REPOSITORY / f"configs/models/{MODEL}.yaml").read_text())
    (tmp_path / f"configs/models/{MODEL}.yaml").write_text(json.dumps({**model, "suites": ["smoke"], "threads": 1}))
    prompts = [
        {"id": f"p{place}", "text": text, "golden": golden} for place, (text, golden) in enumerate(GOLDEN.items())
    ]
    (tmp_path / "configs/canaries/smoke.yaml").write_text(json.dumps(suite(prompts=prompts)))
    cache = load_settings({"MODEL_HEALTH_HOME": str(REPOSITORY)}).cache_dir
    return load_settings({"MODEL_HEALTH_HOME": str(tmp_path), "MODEL_HEALTH_CACHE_DIR": str(cache)})


def test_a_round_trip_through_four_bits_is_degraded_with_effect_and_interval(settings: Settings) -> None:
    run_canaries(RunRequest(model=MODEL, run_id="night-0"), settings)
    request = BaselineRequest(MODEL, ME, replays=1, tolerances=False, promote=True)
    create_baseline(request, settings, say=lambda line: None, clock=utc_now)
    baseline = load(BaselineStore.open(settings.store_uri), f"{MODEL}/smoke")
    project = load_project(settings)
    loaded = load_model(project.get_model(MODEL), settings)
    policy, asked = load_gates(settings).regression, project.get_suite("smoke")

    same = compare_loaded(loaded, asked, baseline, policy, purpose="nightly")
    assert (same.comparison.answer, same.verdict.effective) == ("identical", "pass")

    weights = {name: value for name, value in loaded.model.state_dict().items() if "layers" in name}
    changed = dict(weights)
    round_trip(4)(changed)
    for name, value in weights.items():
        value.copy_(changed[name])
    found = compare_loaded(loaded, asked, baseline, policy, purpose="quantization")
    assert found.comparison.answer == "degraded"
    assert found.verdict.effective == "fail"
    harm = found.comparison.harm
    assert harm is not None
    assert harm.effect is not None
    assert harm.margin < harm.effect.low < harm.effect.mean < harm.effect.high
    assert found.comparison.place is not None
    assert found.comparison.place.state == "layer.0"
    assert found.flips is not None
    assert found.flips.flipped > 0
