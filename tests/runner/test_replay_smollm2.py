"""Replay of real weights, SmolLM2-135M-Instruct on the small suite: what is promised of baselines holds there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_health.baseline.document import Provenance
from model_health.baseline.observations import bit_equal, first_difference
from model_health.baseline.registry import load
from model_health.baseline.store import BaselineStore
from model_health.config.load import load_project
from model_health.config.settings import Settings, load_settings
from model_health.runner.canary import run_canaries, utc_now
from model_health.runner.loading import load_model
from model_health.runner.replay import key_of, production_shape, replay_loaded, under_attention
from model_health.runner.replay_baseline import BaselineRequest, create_baseline
from model_health.runner.replay_plan import plan_again
from model_health.runner.request import RunRequest
from support.replays import flipped_bit, largest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The repository's own configuration and cache; reports, baselines and index elsewhere."""
    folder = tmp_path_factory.mktemp("smollm2-baseline")
    return load_settings(
        {
            "MODEL_HEALTH_HOME": str(REPOSITORY),
            "MODEL_HEALTH_STORE_URI": str(folder / "store"),
            "MODEL_HEALTH_INDEX_URL": f"sqlite:///{folder / 'index.db'}",
            "MODEL_HEALTH_MODELS__SMOLLM2_135M__THREADS": "1",
        }
    )


def test_a_baseline_repeats_its_bits_and_one_bit_of_one_weight_names_its_layer(settings: Settings) -> None:
    run_canaries(RunRequest(model="smollm2-135m", suite="smoke", run_id="night-1"), settings)
    request = BaselineRequest(
        "smollm2-135m", Provenance(by="a test", reason="real weights"), suite="smoke", replays=1, tolerances=False
    )
    made = create_baseline(request, settings, say=lambda line: None, clock=utc_now)
    baseline = load(BaselineStore.open(settings.store_uri), made.baseline_id)
    assert made.size_bytes < 600_000  # 9 items; the shipped suite has 71
    accepted = baseline.observation
    assert accepted.is_finite
    # what the model wrote greedily is what it finds most likely
    for item in accepted.of_kind("continuation"):
        assert (item.argmax_ids == item.token_ids).all(), item.item_id

    project = load_project(settings)
    suite = project.get_suite("smoke")
    loaded = load_model(project.get_model("smollm2-135m"), settings)  # anew, as in another night
    items, key = plan_again(accepted), key_of(loaded, suite, production_shape(loaded))
    assert key == accepted.key
    assert bit_equal(accepted, replay_loaded(loaded, items, key))

    for layer in (0, 29):
        # a weight on which every output of the block's MLP depends: five prompts are too few for one of a matrix
        weight = loaded.model.get_submodule(f"model.layers.{layer}.post_attention_layernorm").weight
        with flipped_bit(weight, int(weight.abs().argmax())):
            faulty = replay_loaded(loaded, items, key)
        places = [first_difference(old, new) for old, new in zip(accepted.items, faulty.items, strict=True)]
        assert {accepted.state_names[place] for place in places if place is not None} == {f"layer.{layer}"}

    with under_attention(loaded, "eager"):
        eager = replay_loaded(loaded, items, key_of(loaded, suite, production_shape(loaded)))
    found = largest(accepted, eager)
    assert found["flips"] == 0
    assert found["logprob"] < 1e-4
    assert found["sketch"] < 1e-4
    assert torch.get_num_threads() == 1
