"""The reduction of a comparison: the largest by family, the mean by state, one golden number per prompt."""

from __future__ import annotations

import numpy as np
import pytest

from model_health.baseline.distances import FAMILIES
from model_health.baseline.numbers import golden_differences, measure
from support.observations import observation, with_item

BASE = observation()


def test_one_token_of_one_item_is_enough_for_a_familys_number() -> None:
    logprobs = BASE.items[7].logprobs.copy()
    logprobs[4] -= 2.5
    numbers = measure(BASE, with_item(BASE, 7, logprobs=logprobs))
    assert numbers.families["logprob"] == pytest.approx(2.5)
    assert (numbers.worst["logprob"].item_id, numbers.worst["logprob"].row) == (BASE.items[7].item_id, 4)
    assert numbers.mean_logprob == pytest.approx(2.5 / numbers.tokens)


def test_a_sketched_row_is_named_by_its_scored_token() -> None:
    rows = np.array([1, 5], dtype=np.int32)
    old = with_item(BASE, 0, sketch_rows=rows, sketches=BASE.items[0].sketches[rows])
    moved = old.items[0].sketches.copy()
    moved[1] *= 1.5
    numbers = measure(old, with_item(old, 0, sketches=moved))
    assert numbers.worst["sketch"].row == 5


def test_prompts_are_clusters_however_long_their_golden_text() -> None:
    index = next(n for n, item in enumerate(BASE.items) if item.item_id == "p3:golden")
    item = BASE.items[index]
    lower = (item.logprobs - np.log(2) * np.arange(item.tokens)).astype(np.float32)
    found = golden_differences(BASE, with_item(BASE, index, logprobs=lower))
    assert found["p3"] == pytest.approx(np.arange(item.tokens).mean(), abs=1e-5)
    assert len(found) == 14  # twelve prompts, two passages
    assert sum(map(abs, found.values())) == pytest.approx(abs(found["p3"]))


def test_states_are_means_over_all_tokens() -> None:
    numbers = measure(BASE, observation(noise=1e-2, first_state=3))
    assert numbers.states[:3] == (0.0, 0.0, 0.0)
    assert 1e-3 < numbers.states[3] < 1e-1


def test_without_golden_text_there_is_no_golden_number() -> None:
    old = observation()
    plain = tuple(item for item in old.items if item.kind == "continuation")
    bare = type(old)(old.key, old.state_names, plain, 0.0, 0.0)
    numbers = measure(bare, bare)
    assert (dict(numbers.golden), numbers.golden_mean) == ({}, 0.0)
    assert set(numbers.families) == set(FAMILIES)


def test_its_json_has_every_number() -> None:
    content = measure(BASE, observation(noise=1e-2)).to_json()
    assert set(content["families"]) == set(FAMILIES)
    assert content["worst"]["logprob"]["item"] in BASE.by_id
    assert len(content["states"]) == len(BASE.state_names)
