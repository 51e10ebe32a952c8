"""A candidate against a promoted baseline, from two names to a verdict on record, on tiny models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.request import url2pathname

import pytest
import torch
from transformers import AutoModelForCausalLM

from model_health.config.settings import Settings
from model_health.errors import BadInput, ModelSourceError
from model_health.store.index.comparisons import comparison_history
from model_health.store.index.index import Index
from support.models import poison
from support.regressions import WORDS, accepted_project, candidate_of, compared, last_bit, round_trip

MIDDLE = "model.layers.2.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    torch.set_num_threads(1)
    return accepted_project(tmp_path_factory.mktemp("accepted"))


def stored(uri: str) -> str:
    return Path(url2pathname(uri.removeprefix("file://"))).read_text(encoding="utf-8")


@pytest.mark.parametrize("purpose", ["nightly", "promotion"])
def test_the_accepted_model_is_identical_and_passes(settings: Settings, purpose: str) -> None:
    found = compared(settings, None, purpose)
    assert (found["answer"], found["verdict"], found["exit_code"]) == ("identical", "pass", 0)
    assert found["axes"] == []
    assert found["cause"]["cause"] == "nothing"
    assert found["flips"] is None
    assert json.loads(stored(found["result_uri"]))["answer"] == "identical"


@pytest.mark.parametrize(("purpose", "code"), [("nightly", 1), ("revision", 0)])
def test_one_last_bit_of_one_weight_is_a_change_with_its_layer(settings: Settings, purpose: str, code: int) -> None:
    folder = candidate_of(settings, f"bit-{purpose}", last_bit(MIDDLE))
    found = compared(settings, folder, purpose)
    assert (found["answer"], found["exit_code"]) == ("changed", code)
    assert (found["place"]["state"], found["place"]["how"]) == ("layer.2", "bits")
    assert found["axes"] == ["weights"]
    assert found["cause"]["cause"] == "weights"
    profile = json.loads(stored(found["result_uri"]))["profile"]
    first = next(state["name"] for state in profile["states"] if state["mean"] > state["limit"])
    assert first == "layer.2"
    assert {one["prompt_id"] for one in profile["prompts"] if one["kind"] == "golden"} >= set(WORDS)


def test_nan_is_broken_and_named_and_fails_whatever_it_is_for(settings: Settings) -> None:
    folder = candidate_of(settings, "nan", lambda weights: None)
    poison(folder, MIDDLE)
    found = compared(settings, folder)
    assert (found["answer"], found["verdict"], found["exit_code"]) == ("broken", "fail", 1)
    assert found["non_finite"]["state"] == "layer.2"
    assert found["profile"] is None
    assert found["policy"]["page_now"] is True


def test_a_quantised_copy_is_changed_and_golden_text_shows_no_harm(settings: Settings) -> None:
    found = compared(settings, candidate_of(settings, "int8", round_trip(8)), "quantization")
    effect = found["harm"]["effect"]
    assert (found["answer"], found["exit_code"]) == ("changed", 0)
    assert effect["low"] < effect["mean"] < effect["high"] < found["harm"]["margin"]
    assert effect["clusters"] == len(WORDS)


def test_a_model_that_is_too_sure_is_degraded_with_effect_interval_and_flips(settings: Settings) -> None:
    def sharpen(weights: dict[str, torch.Tensor]) -> None:
        weights["model.norm.weight"] *= 8.0

    found = compared(settings, candidate_of(settings, "sure", sharpen), "revision")
    effect = found["harm"]["effect"]
    assert (found["answer"], found["exit_code"]) == ("degraded", 1)
    assert found["harm"]["margin"] < effect["low"] < effect["mean"] < effect["high"]
    assert found["place"]["state"] == "final"
    flips = json.loads(stored(found["result_uri"].replace("comparison.json", "flips.json")))
    assert (flips["tokens"], flips["flipped"]) == (found["flips"]["of"], found["flips"]["flipped"])
    assert stored(found["flips"]["page"]).startswith("# ")


def test_the_same_weights_in_another_file_layout_are_identical(settings: Settings) -> None:
    folder = settings.home / "weights" / "shards"
    shutil.copytree(settings.home / "weights" / "tiny", folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    found = compared(settings, folder)
    assert found["answer"] in ("identical", "equivalent")
    assert found["exit_code"] == 0
    assert "weights" not in found["axes"]


def test_another_batch_size_is_equivalent(settings: Settings) -> None:
    found = compared(settings, None, "upgrade", batch_size=3)
    assert (found["answer"], found["exit_code"]) == ("equivalent", 0)
    assert found["axes"] == ["batch"]


def test_a_candidate_without_a_tokenizer_takes_the_accepted_one(settings: Settings) -> None:
    folder = candidate_of(settings, "bare", lambda weights: None)
    for file in folder.glob("*token*"):
        file.unlink()
    assert compared(settings, folder)["answer"] == "identical"


def test_damaged_weights_are_broken(settings: Settings) -> None:
    folder = candidate_of(settings, "cut", lambda weights: None)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    found = compared(settings, folder)
    assert (found["answer"], found["exit_code"]) == ("broken", 1)
    assert "cannot load" in found["reason"]


@pytest.mark.parametrize("name", ["nowhere", "./weights", "a/b/c", "model.gguf"])
def test_a_candidate_that_is_not_there_is_the_callers_mistake(settings: Settings, name: str) -> None:
    with pytest.raises(ModelSourceError):
        compared(settings, name)


def test_a_folder_without_a_model_is_the_callers_mistake(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"no config\.json"):
        compared(settings, tmp_path)


def test_a_revision_belongs_to_a_hub_model(settings: Settings) -> None:
    with pytest.raises(BadInput, match="--revision"):
        compared(settings, None, revision="main")


def test_every_comparison_lands_in_the_index(settings: Settings) -> None:
    found = compared(settings, None, "nightly")
    with Index.open(settings.index_url) as index, index.reading("look") as connection:
        newest = comparison_history(connection, model="tiny", suite="smoke")[0]
    assert (newest.key, newest.of_run, newest.night) == (found["comparison"], False, None)
    assert (newest.answer, newest.outcome, newest.rule, newest.purpose) == ("identical", "pass", "nightly", "nightly")
    assert newest.result_uri == found["result_uri"]
    assert newest.tokens is not None
    assert newest.tokens > 12


def test_a_suite_that_changed_is_not_comparable(tmp_path: Path) -> None:
    prompts = [{"id": "one", "text": "Hello there", "golden": " my friend"}]
    settings = accepted_project(tmp_path, prompts=prompts)
    file = tmp_path / "configs/canaries/smoke.yaml"
    suite = json.loads(file.read_text())
    suite["prompts"][0]["text"] = "Hello you"
    file.write_text(json.dumps(suite))
    found = compared(settings, None, "nightly")
    assert (found["answer"], found["verdict"], found["exit_code"]) == ("not_comparable", "inconclusive", 4)
    assert "other suite" in found["reason"]
    assert compared(settings, None, "upgrade")["exit_code"] == 1


def test_too_few_prompts_are_inconclusive_and_say_how_many_would_decide(tmp_path: Path) -> None:
    prompts = [{"id": name, "text": f"The {name}", "golden": f" is {name}"} for name in ("sun", "moon")]
    settings = accepted_project(tmp_path, prompts=prompts)
    found = compared(settings, candidate_of(settings, "int4", round_trip(4)), "revision")
    assert (found["answer"], found["verdict"], found["exit_code"]) == ("inconclusive", "inconclusive", 4)
    assert found["moved"] is True
    assert found["needed"] > 2
    assert f"{found['needed']} prompts would decide" in found["reason"]


def test_text_stays_out_of_the_flip_report_where_the_configuration_hides_it(tmp_path: Path) -> None:
    settings = accepted_project(tmp_path, prompts=[{"id": "one", "text": "Hello there", "golden": " my friend"}])
    folder = candidate_of(settings, "int4", round_trip(2))
    page = stored(compared(settings, folder)["flips"]["page"])
    assert "Hello" in page
    gates = tmp_path / "configs/gates.yaml"
    gates.write_text(gates.read_text().replace("regression:\n", "regression:\n  quote_text: false\n"))
    hidden = compared(settings, folder)
    assert hidden["flips"]["flipped"] > 0
    for text in (
        stored(hidden["flips"]["page"]),
        stored(hidden["result_uri"].replace("comparison.json", "flips.json")),
    ):
        assert "Hello" not in text
