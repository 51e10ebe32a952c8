"""What differs between two baselines, as plain facts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from model_health.baseline.artefact import Baseline, pack, unpack
from model_health.baseline.difference import difference
from model_health.baseline.observations import ReplayObservation
from support.replays import facts, made_up


def baseline(seen: ReplayObservation) -> Baseline:
    packed = pack(seen, facts())
    return unpack(packed.document, packed.arrays, packed.baseline_id, "here")


OLD = made_up()


def test_the_same_bits_have_no_difference() -> None:
    found = difference(baseline(OLD), baseline(replace(OLD, cpu_seconds=3.0)))
    assert found.identical
    assert (found.axes, found.why, found.items, found.compared) == ((), None, (), 2)


def test_a_changed_text_is_shown_with_its_first_state_flips_and_surprisal() -> None:
    item = OLD.items[1]
    moved = replace(
        item,
        logprobs=item.logprobs - np.float32(np.log(2)),
        argmax_ids=item.argmax_ids + np.asarray([1, 1, 0, 0, 0, 0, 0], np.int32),
        state_digests=(item.state_digests[0], "aa" * 16, "bb" * 16),
    )
    new = replace(OLD, items=(OLD.items[0], moved), key=replace(OLD.key, weights_digest="sha256:new"))
    found = difference(baseline(OLD), baseline(new))
    assert found.axes == ("weights",)
    assert not found.identical
    assert found.items is not None
    [one] = found.items
    assert (one.item_id, one.kind, one.first_state, one.flips, one.tokens) == ("one:golden", "golden", "layer.0", 2, 7)
    assert one.largest_logprob_difference == pytest.approx(np.log(2), rel=1e-5)
    assert one.surprisal_bits_difference == pytest.approx(1.0, rel=1e-5)
    assert json.dumps(found.to_json(), allow_nan=False)


def test_numbers_that_are_none_are_null() -> None:
    item = OLD.items[1]
    sick = replace(item, logprobs=item.logprobs * np.float32(np.nan), logits_digest="cc" * 16)
    found = difference(baseline(OLD), baseline(replace(OLD, items=(OLD.items[0], sick))))
    assert found.items is not None
    assert (found.items[0].first_state, found.items[0].surprisal_bits_difference) == ("logits", None)


def test_another_suite_tokenizer_or_architecture_is_not_comparable() -> None:
    for new, why in (
        (replace(OLD, key=replace(OLD.key, suite_digest="9" * 64)), "another suite"),
        (replace(OLD, key=replace(OLD.key, chat_template_digest="sha256:9")), "another tokenizer"),
        (replace(OLD, items=OLD.items[:1]), "other tokens were replayed"),
    ):
        found = difference(baseline(OLD), baseline(new))
        assert (found.why, found.items, found.identical) == (why, None, False)
