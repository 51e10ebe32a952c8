"""Real weights, SmolLM2-135M-Instruct on a small suite: four bits are harm, one training step is not."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from model_health.baseline.artefact import Baseline
from model_health.baseline.registry import load
from model_health.baseline.store import BaselineStore
from model_health.config.gates import load_gates
from model_health.config.load import load_project
from model_health.config.regression import RegressionConfig
from model_health.config.settings import load_settings
from model_health.config.suites import CanarySuite
from model_health.runner.canary import run_canaries, utc_now
from model_health.runner.compare import Compared, Purpose, compare_loaded
from model_health.runner.loading import LoadedModel, load_model
from model_health.runner.replay_baseline import BaselineRequest, create_baseline
from model_health.runner.request import RunRequest
from model_health.selftest.faults_model import TrainingStep
from model_health.selftest.subject import Subject, borrowed
from support.projects import suite
from support.regressions import ME, round_trip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

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


@dataclass(frozen=True)
class Accepted:
    """The shipped model, loaded, with a promoted baseline on a suite of its own."""

    loaded: LoadedModel
    suite: CanarySuite
    baseline: Baseline
    policy: RegressionConfig

    def compared(self, purpose: Purpose) -> Compared:
        return compare_loaded(self.loaded, self.suite, self.baseline, self.policy, purpose=purpose)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Accepted:
    """Converted weights come from the repository's cache."""
    home = tmp_path_factory.mktemp("smollm2")
    for folder in ("models", "canaries"):
        (home / "configs" / folder).mkdir(parents=True)
    shutil.copy(REPOSITORY / "configs/gates.yaml", home / "configs")
    shutil.copy(REPOSITORY / "configs/sinks.yaml", home / "configs")
    model = yaml.safe_load((REPOSITORY / f"configs/models/{MODEL}.yaml").read_text())
    (home / f"configs/models/{MODEL}.yaml").write_text(json.dumps({**model, "suites": ["smoke"], "threads": 1}))
    prompts = [
        {"id": f"p{place}", "text": text, "golden": golden} for place, (text, golden) in enumerate(GOLDEN.items())
    ]
    (home / "configs/canaries/smoke.yaml").write_text(json.dumps(suite(prompts=prompts)))
    cache = load_settings({"MODEL_HEALTH_HOME": str(REPOSITORY)}).cache_dir
    settings = load_settings({"MODEL_HEALTH_HOME": str(home), "MODEL_HEALTH_CACHE_DIR": str(cache)})
    run_canaries(RunRequest(model=MODEL, run_id="night-0"), settings)
    request = BaselineRequest(MODEL, ME, replays=1, tolerances=False, promote=True)
    create_baseline(request, settings, say=lambda line: None, clock=utc_now)
    project = load_project(settings)
    return Accepted(
        load_model(project.get_model(MODEL), settings),
        project.get_suite("smoke"),
        load(BaselineStore.open(settings.store_uri), f"{MODEL}/smoke"),
        load_gates(settings).regression,
    )


def test_a_round_trip_through_four_bits_is_degraded_with_effect_and_interval(accepted: Accepted) -> None:
    same = accepted.compared("nightly")
    assert (same.comparison.answer, same.verdict.effective) == ("identical", "pass")
    weights = {name: value for name, value in accepted.loaded.model.state_dict().items() if "layers" in name}
    changed = dict(weights)
    round_trip(4)(changed)
    with borrowed(*weights.values()):
        for name, value in weights.items():
            value.copy_(changed[name])
        found = accepted.compared("quantization")
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


def test_one_training_step_on_something_else_is_changed_and_no_worse(accepted: Accepted) -> None:
    with TrainingStep().injected(Subject(accepted.loaded, accepted.suite)):
        found = accepted.compared("revision")
    assert (found.comparison.answer, found.verdict.effective) == ("changed", "warn")
    assert found.comparison.weights_differ
    assert accepted.compared("nightly").comparison.answer == "identical"
