"""A replay as a whole, on tiny models: what it measures is what the model computes, and its bits repeat."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_health.baseline.key import changed_axes
from model_health.baseline.observations import ReplayObservation, bit_equal, first_difference
from model_health.errors import CaptureError, UnsupportedGeneration
from model_health.replay.plan import ReplayItem
from model_health.runner.loading import LoadedModel
from model_health.runner.replay import replay_loaded
from model_health.runner.replay_plan import plan_again, plan_replay
from support.loading import load_folder
from support.models import poison
from support.replays import CONTINUATIONS, SUITE, flipped_bit, key, largest, tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("replay"))


@pytest.fixture(scope="module")
def items(loaded: LoadedModel) -> tuple[ReplayItem, ...]:
    return plan_replay(SUITE, loaded, CONTINUATIONS)


@pytest.fixture(scope="module")
def seen(loaded: LoadedModel, items: tuple[ReplayItem, ...]) -> ReplayObservation:
    return replay_loaded(loaded, items, key(loaded))


def naive(loaded: LoadedModel, item: Any) -> torch.Tensor:
    """Log-probabilities [T, V] of the scored rows: one sequence, one call of the model, every logit kept."""
    ids = torch.tensor([[*item.context_ids.tolist(), *item.token_ids.tolist()]])
    with torch.inference_mode():
        if loaded.encoder_decoder:
            fed = torch.tensor([[*item.decoder_start.tolist(), *item.token_ids.tolist()[:-1]]])
            context = torch.tensor([item.context_ids.tolist()])
            logits = loaded.model(input_ids=context, decoder_input_ids=fed).logits[0]
            return logits.float().log_softmax(-1)[len(item.decoder_start) - 1 :]
        logits = loaded.model(input_ids=ids).logits[0]
    return logits.float().log_softmax(-1)[len(item.context_ids) - 1 : -1]


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "bloom", "mistral", "mamba", "gemma2", "gpt_oss", "qwen3_moe", "opt", "t5", "bart"]
)
def test_every_number_is_what_one_call_of_the_model_gives(family: str, tmp_path: Path) -> None:
    loaded = tiny(tmp_path, family)
    observed = replay_loaded(loaded, plan_replay(SUITE, loaded, CONTINUATIONS), key(loaded))
    assert observed.is_finite
    for item in observed.items:
        expected = naive(loaded, item)
        rows = np.arange(item.tokens)
        np.testing.assert_allclose(item.logprobs, expected.numpy()[rows, item.token_ids], atol=2e-4)
        bits = -(expected.exp() * expected).sum(-1) / math.log(2)
        np.testing.assert_allclose(item.entropy_bits, bits.numpy(), atol=2e-4)
        np.testing.assert_allclose(item.top_logprobs, expected.topk(20).values.numpy(), atol=2e-4)
        np.testing.assert_allclose(item.top_logprobs, expected.numpy()[rows[:, None], item.top_ids], atol=2e-4)
        np.testing.assert_array_equal(item.argmax_ids, expected.argmax(-1).numpy())
        np.testing.assert_allclose(item.surprisal_bits, -item.logprobs / math.log(2), rtol=1e-6)


def test_norms_and_sketches_are_those_of_the_models_own_states(loaded: LoadedModel, seen: ReplayObservation) -> None:
    assert seen.state_names == ("embedding", "layer.0", "layer.1", "layer.2", "layer.3", "final")
    item = seen.by_id["long:continuation"]
    ids = torch.tensor([[*item.context_ids.tolist(), *item.token_ids.tolist()[:-1]]])
    with torch.inference_mode():
        states = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states
    first = len(item.context_ids) - 1
    # transformers' list: the embedding, every block but the last, and the state after the final norm
    for ours, theirs in ((0, 0), (1, 1), (3, 3), (5, 4)):
        rows = states[theirs][0, first:]
        np.testing.assert_allclose(item.norms[:, ours], rows.norm(dim=-1).numpy(), rtol=1e-4)
    generator = torch.Generator().manual_seed(seen.key.sketch_seed)
    matrix = torch.randn(64, 32, generator=generator) / 32**0.5
    np.testing.assert_allclose(
        item.sketches[:, 1], (states[1][0, first:] @ matrix).numpy()[item.sketch_rows], atol=1e-3
    )
    assert len(item.sketch_rows) == 16
    assert {int(item.sketch_rows[0]), int(item.sketch_rows[-1])} == {0, item.tokens - 1}


def test_the_same_configuration_gives_the_same_bits(
    loaded: LoadedModel, seen: ReplayObservation, items: tuple[ReplayItem, ...]
) -> None:
    again = replay_loaded(loaded, plan_again(seen), key(loaded))
    assert again.key == seen.key
    assert bit_equal(seen, again)
    assert largest(seen, again) == {"logprob": 0.0, "sketch": 0.0, "norm": 0.0, "flips": 0.0}
    assert all(item.reference_logprobs is None for item in seen.items)
    for old, new in zip(seen.items, again.items, strict=True):
        np.testing.assert_array_equal(new.reference_logprobs, old.top_logprobs)


@pytest.mark.parametrize(
    "shape",
    [{"batch_size": 1}, {"batch_size": 7}, {"padding_side": "right"}, {"cache": "chunked", "chunk_tokens": 5}],
    ids=str,
)
def test_another_shape_of_batches_differs_in_the_last_bits_only(
    loaded: LoadedModel, seen: ReplayObservation, shape: dict[str, Any]
) -> None:
    other = replay_loaded(loaded, plan_again(seen), key(loaded, **shape))
    found = largest(seen, other)
    assert not bit_equal(seen, other)
    assert found["flips"] == 0
    assert found["logprob"] < 1e-4
    assert found["sketch"] < 1e-4
    assert found["norm"] < 1e-5
    assert set(changed_axes(seen.key, other.key)) <= {"batch", "padding", "cache"}


@pytest.mark.parametrize("layer", range(4))
def test_one_last_bit_of_one_weight_shows_first_in_its_own_layer(
    loaded: LoadedModel, seen: ReplayObservation, layer: int
) -> None:
    weight = loaded.model.get_submodule(f"model.layers.{layer}.mlp.down_proj").weight
    largest_weight = int(weight.abs().argmax())
    with flipped_bit(weight, largest_weight):
        faulty = replay_loaded(loaded, plan_again(seen), seen.key)
    first = {first_difference(old, new) for old, new in zip(seen.items, faulty.items, strict=True)} - {None}
    assert min(first) == seen.state_names.index(f"layer.{layer}")
    assert bit_equal(seen, replay_loaded(loaded, plan_again(seen), seen.key))


def test_a_changed_head_shows_in_the_logits_alone(loaded: LoadedModel, seen: ReplayObservation) -> None:
    with flipped_bit(loaded.model.lm_head.weight, at=70, bit=20):
        faulty = replay_loaded(loaded, plan_again(seen), seen.key)
    assert {first_difference(old, new) for old, new in zip(seen.items, faulty.items, strict=True)} == {6}


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_fault_of_the_encoder_shows_in_the_encoder_first(family: str, tmp_path: Path) -> None:
    loaded = tiny(tmp_path, family)
    before = replay_loaded(loaded, plan_replay(SUITE, loaded, CONTINUATIONS), key(loaded))
    assert before.state_names[:2] == ("encoder.embedding", "encoder.layer.0")
    assert before.state_names[-1] == "final"
    block = loaded.model.get_encoder().block[2] if family == "t5" else loaded.model.get_encoder().layers[2]
    weight = next(module for module in reversed(list(block.modules())) if isinstance(module, torch.nn.Linear)).weight
    with flipped_bit(weight, int(weight.abs().argmax()), bit=18):
        after = replay_loaded(loaded, plan_again(before), before.key)
    places = {first_difference(old, new) for old, new in zip(before.items, after.items, strict=True)}
    assert {before.state_names[place] for place in places if place is not None} == {"encoder.layer.2"}


def test_an_encoder_decoder_model_may_be_replayed_through_its_cache_but_not_padded_on_the_left(tmp_path: Path) -> None:
    loaded = tiny(tmp_path, "bart")
    whole = replay_loaded(loaded, plan_replay(SUITE, loaded, CONTINUATIONS), key(loaded))
    pieces = replay_loaded(loaded, plan_again(whole), key(loaded, cache="chunked", chunk_tokens=3))
    assert largest(whole, pieces)["logprob"] < 1e-4
    with pytest.raises(UnsupportedGeneration, match="padding on the left"):
        replay_loaded(loaded, plan_again(whole), key(loaded, padding_side="left"))


def test_shapes_that_make_no_sense_are_refused(loaded: LoadedModel, items: tuple[ReplayItem, ...]) -> None:
    for shape in ({"cache": "chunked"}, {"cache": "chunked", "chunk_tokens": 0}, {"batch_size": 0}):
        with pytest.raises(UnsupportedGeneration):
            replay_loaded(loaded, items, key(loaded, **shape))


def test_a_model_without_a_key_value_cache_cannot_be_replayed_in_pieces(tmp_path: Path) -> None:
    loaded = tiny(tmp_path, "mamba")
    with pytest.raises(CaptureError, match="keeps no key-value cache"):
        replay_loaded(loaded, plan_replay(SUITE, loaded, CONTINUATIONS), key(loaded, cache="chunked", chunk_tokens=4))


def test_weights_that_are_not_numbers_are_counted_where_they_strike(tmp_path: Path, seen: ReplayObservation) -> None:
    tiny(tmp_path)
    poison(tmp_path / "llama", "model.layers.2.mlp.down_proj.weight")
    sick = load_folder(tmp_path / "llama", batch_size=3, threads=1)
    observed = replay_loaded(sick, plan_replay(SUITE, sick, CONTINUATIONS), key(sick))
    assert not observed.is_finite
    for item in observed.items:
        assert not item.is_finite
        assert item.non_finite[:3].tolist() == [0, 0, 0]
        read = len(item.context_ids) + item.tokens - 1
        assert item.non_finite[3] == read  # one element of each token: the row of the weight that is broken
        assert (item.non_finite[4:] == 64 * read).all()
        assert np.isnan(item.logprobs).all()
        assert item.logits_non_finite == 320 * item.tokens
    assert [item.token_ids.tolist() for item in observed.items] == [item.token_ids.tolist() for item in seen.items]


def test_a_state_so_large_that_its_square_overflows_has_a_true_norm(
    loaded: LoadedModel, seen: ReplayObservation
) -> None:
    """The final norm makes ordinary numbers of it: logits alone would show nothing."""
    down = loaded.model.get_submodule("model.layers.3.mlp.down_proj").weight
    before = down.data.clone()
    try:
        down.data *= 1e30
        observed = replay_loaded(loaded, plan_again(seen), seen.key)
    finally:
        down.data.copy_(before)
    for item in observed.items:
        assert item.is_finite
        assert np.isfinite(item.norms).all()
        assert (item.norms[:, 4] > 1e25).all()


def test_what_is_computed_for_padding_is_never_looked_at(loaded: LoadedModel, seen: ReplayObservation) -> None:
    again = dataclasses.replace(loaded)
    weight = loaded.model.get_input_embeddings().weight
    pad = int(loaded.tokenizer.pad_token_id)
    assert all(pad not in item.context_ids and pad not in item.token_ids for item in seen.items)
    kept = weight.data[pad].clone()
    try:
        weight.data[pad] = 7.0
        other = replay_loaded(again, plan_again(seen), seen.key)
    finally:
        weight.data[pad] = kept
    # tied or not, the logits' digest sees the row of the padding token: it is a token like any other there
    assert [item.state_digests for item in other.items] == [item.state_digests for item in seen.items]


def test_the_model_is_left_as_it_was(loaded: LoadedModel, items: tuple[ReplayItem, ...]) -> None:
    threads = torch.get_num_threads()
    before = {name: len(module._forward_hooks) for name, module in loaded.model.named_modules()}
    replay_loaded(loaded, items, key(loaded, threads=2))
    with pytest.raises(UnsupportedGeneration):
        replay_loaded(loaded, items, key(loaded, batch_size=0))
    assert {name: len(module._forward_hooks) for name, module in loaded.model.named_modules()} == before
    assert torch.get_num_threads() == threads
    assert all("forward" not in module.__dict__ for module in loaded.model.modules())


@pytest.mark.slow
def test_a_new_process_gives_the_same_bits(loaded: LoadedModel, seen: ReplayObservation) -> None:
    program = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from support.loading import load_folder\n"
        "from support.replays import SUITE, CONTINUATIONS, key\n"
        "from model_health.runner.replay import replay_loaded\n"
        "from model_health.runner.replay_plan import plan_replay\n"
        "loaded = load_folder(Path(sys.argv[1]), batch_size=3, threads=1)\n"
        "seen = replay_loaded(loaded, plan_replay(SUITE, loaded, CONTINUATIONS), key(loaded))\n"
        "print([(item.state_digests, item.logits_digest) for item in seen.items])\n"
    )
    tests = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program, loaded.source.label],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": tests},
    )
    assert done.stdout.splitlines()[-1] == str([(item.state_digests, item.logits_digest) for item in seen.items])
