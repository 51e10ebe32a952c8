"""The key of a replay says what is true of the model as it is now; other ways to run leave it as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_health.baseline.key import changed_axes
from model_health.baseline.observations import bit_equal
from model_health.errors import ConfigError, GenerationError
from model_health.runner.identity import identify
from model_health.runner.loading import LoadedModel, attention_backend
from model_health.runner.replay import in_dtype, key_of, production_shape, replay_loaded, under_attention
from model_health.runner.replay_plan import plan_again, plan_replay
from model_health.runner.replay_variants import Variant, harmless_variants, replay_variants
from support.loading import suite
from support.replays import CONTINUATIONS, SUITE, flipped_bit, key, largest, tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("runner"))


def test_the_key_is_of_the_weights_in_memory(loaded: LoadedModel) -> None:
    before = key(loaded)
    with flipped_bit(loaded.model.get_submodule("model.layers.1.mlp.up_proj").weight):
        assert changed_axes(before, key(loaded)) == ("weights",)
    assert changed_axes(before, key(loaded)) == ()


def test_the_key_names_suite_dtype_backend_and_machine(loaded: LoadedModel) -> None:
    found = key(loaded)
    assert (found.suite_digest, found.suite) == (SUITE.digest(), "tests")
    assert (found.dtype, found.quantization, found.attention_backend) == ("float32", "none", "sdpa")
    assert found.libraries["torch"] == torch.__version__
    assert (found.device_kind, found.driver, found.device_uuid) == ("cpu", None, None)
    assert found.shape.threads == torch.get_num_threads()
    other = suite({"text": "another"})
    assert changed_axes(found, key(loaded, other)) == ("suite",)


def test_another_attention_backend_is_an_axis_and_is_put_back(loaded: LoadedModel) -> None:
    items = plan_replay(SUITE, loaded, CONTINUATIONS)
    before = replay_loaded(loaded, items, key(loaded))
    with under_attention(loaded, "eager"):
        eager = replay_loaded(loaded, plan_again(before), key(loaded))
    assert attention_backend(loaded.model) == "sdpa"
    assert changed_axes(before.key, eager.key) == ("attention_backend",)
    assert largest(before, eager)["logprob"] < 1e-4
    assert bit_equal(before, replay_loaded(loaded, items, key(loaded)))


def test_a_backend_that_does_not_exist_is_refused_and_nothing_changes(loaded: LoadedModel) -> None:
    with pytest.raises(ConfigError, match="attention backend 'imaginary'"), under_attention(loaded, "imaginary"):
        pass
    assert attention_backend(loaded.model) == "sdpa"


def test_a_copy_in_another_dtype_leaves_the_model_alone(loaded: LoadedModel) -> None:
    items = plan_replay(SUITE, loaded, CONTINUATIONS)
    half = in_dtype(loaded, torch.bfloat16)
    seen = replay_loaded(half, items, key(half))
    assert seen.is_finite
    assert "dtype" in changed_axes(key(loaded), seen.key)
    assert loaded.model.dtype == torch.float32


def test_a_model_that_raises_is_a_generation_error_that_names_it(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the far end\nof a kernel")

    items, known = plan_replay(SUITE, loaded, CONTINUATIONS), key(loaded)
    monkeypatch.setattr(loaded.model, "forward", explode)
    with pytest.raises(GenerationError, match="tiny: the replay failed: RuntimeError") as caught:
        replay_loaded(loaded, items, known)
    assert "\n" not in str(caught.value)


def test_memory_that_runs_out_says_what_to_do(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    items, known = plan_replay(SUITE, loaded, CONTINUATIONS), key(loaded)
    monkeypatch.setattr(loaded.model, "forward", explode)
    with pytest.raises(GenerationError, match=r"out of memory .*use a smaller batch_size"):
        replay_loaded(loaded, items, known)


def test_harmless_variants_change_one_axis_each(loaded: LoadedModel) -> None:
    production, identity = production_shape(loaded), identify(loaded)
    variants = harmless_variants(loaded, production, plan_replay(SUITE, loaded, CONTINUATIONS))
    before = replay_loaded(
        loaded, plan_replay(SUITE, loaded, CONTINUATIONS), key_of(loaded, SUITE, production, identity)
    )
    seen = {
        variant.name: observed
        for variant, observed in replay_variants(
            loaded, SUITE, plan_again(before), production, variants, identity=identity
        )
    }
    axes = []
    for observed in seen.values():
        assert not isinstance(observed, str)
        axes.append(changed_axes(before.key, observed.key))
        assert largest(before, observed)["logprob"] < 1e-4
    assert sorted(axes) == sorted(
        [("batch",), ("batch",), ("padding",), ("cache",), ("threads",), ("attention_backend",)]
    )
    assert bit_equal(before, replay_loaded(loaded, plan_again(before), before.key))


def test_a_variant_that_a_model_does_not_allow_says_why(tmp_path: Path) -> None:
    mamba = tiny(tmp_path, "mamba")
    production, identity = production_shape(mamba), identify(mamba)
    items = plan_replay(SUITE, mamba, CONTINUATIONS)
    variants = [Variant("through a cache", cache="chunked", chunk_tokens=8), Variant("one by one", batch_size=1)]
    first, second = replay_variants(mamba, SUITE, items, production, variants, identity=identity)
    assert isinstance(first[1], str)
    assert "keeps no key-value cache" in first[1]
    assert not isinstance(second[1], str)


def test_an_encoder_decoder_model_has_no_variant_of_padding(tmp_path: Path) -> None:
    model = tiny(tmp_path, "t5")
    shape = production_shape(model)
    assert shape.padding_side == "right"
    variants = harmless_variants(model, shape, plan_replay(SUITE, model, CONTINUATIONS))
    assert {variant.padding_side for variant in variants} == {None}
