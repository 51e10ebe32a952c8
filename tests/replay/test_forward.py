"""Where logits come from: the head alone where that gives what the model gives, else all positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model_health.baseline.observations import bit_equal
from model_health.capture.head import HeadReplay
from model_health.runner.replay import replay_loaded
from model_health.runner.replay_plan import plan_replay
from support.replays import CONTINUATIONS, SUITE, key, largest, tiny


def test_a_head_that_gives_other_logits_for_states_alone_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny(tmp_path)
    items = plan_replay(SUITE, loaded, CONTINUATIONS)
    by_head = replay_loaded(loaded, items, key(loaded))
    whole: list[bool] = []
    forward = loaded.model.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        whole.append("logits_to_keep" not in kwargs)
        return forward(*args, **kwargs)

    original = HeadReplay.apply_to
    monkeypatch.setattr(HeadReplay, "apply_to", lambda self, states: original(self, states) * 1.1)
    monkeypatch.setattr(loaded.model, "forward", watched)
    by_model = replay_loaded(loaded, items, key(loaded))
    assert True in whole
    assert largest(by_head, by_model)["logprob"] < 1e-4
    assert [item.state_digests for item in by_head.items] == [item.state_digests for item in by_model.items]


def test_no_more_logits_are_made_at_once_than_fit_in_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_health.replay import logits

    loaded = tiny(tmp_path)
    items = plan_replay(SUITE, loaded, CONTINUATIONS)
    at_once: list[int] = []
    original = HeadReplay.apply_to

    def counted(self: HeadReplay, states: torch.Tensor) -> torch.Tensor:
        at_once.append(states.shape[1])
        return original(self, states)

    monkeypatch.setattr(HeadReplay, "apply_to", counted)
    monkeypatch.setattr(logits, "ELEMENTS_CPU", 10 * 320)
    replay_loaded(loaded, items, key(loaded))
    assert max(at_once) == 10


def test_a_full_batch_and_its_rows_one_by_one_agree_in_bfloat16_within_its_rounding(tmp_path: Path) -> None:
    loaded = tiny(tmp_path, dtype="bfloat16")
    items = plan_replay(SUITE, loaded, CONTINUATIONS)
    together, alone = replay_loaded(loaded, items, key(loaded)), replay_loaded(loaded, items, key(loaded, batch_size=1))
    assert together.key.dtype == "bfloat16"
    assert together.is_finite
    assert largest(together, alone)["logprob"] < 0.5
    assert bit_equal(together, replay_loaded(loaded, items, key(loaded)))
