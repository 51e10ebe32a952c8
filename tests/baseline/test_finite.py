"""Where a replay stops being finite: the earliest state of all items, then the first token."""

from __future__ import annotations

import numpy as np

from model_health.baseline.finite import first_non_finite
from support.observations import STATES, observation, with_item

BASE = observation(prompts=3)


def counts(state: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    found = np.zeros(len(STATES), dtype=np.int32)
    found[state:] = 4
    return found


def test_a_finite_replay_has_no_such_place() -> None:
    assert first_non_finite(BASE) is None


def test_the_earliest_state_wins_over_the_earliest_item() -> None:
    norms = BASE.items[4].norms.copy()
    norms[2:, 1:] = np.inf
    seen = with_item(with_item(BASE, 1, non_finite=counts(3)), 4, non_finite=counts(1), norms=norms)
    found = first_non_finite(seen)
    assert found is not None
    assert (found.state, found.item_id, found.row) == (STATES[1], BASE.items[4].item_id, 2)
    assert found.token_id == BASE.items[4].token_ids[2]
    assert str(found) == f"layer.0 of {BASE.items[4].item_id}, scored token 2"


def test_nan_in_the_context_alone_has_no_token() -> None:
    found = first_non_finite(with_item(BASE, 0, non_finite=counts(2)))
    assert found is not None
    assert (found.state, found.row, found.token_id) == (STATES[2], None, None)


def test_logits_come_after_all_states() -> None:
    logprobs = BASE.items[0].logprobs.copy()
    logprobs[3] = np.nan
    found = first_non_finite(with_item(BASE, 0, logprobs=logprobs, logits_non_finite=1))
    assert found is not None
    assert (found.state, found.row) == ("logits", 3)


def test_a_token_that_is_masked_on_purpose_is_healthy() -> None:
    top = BASE.items[0].top_logprobs.copy()
    top[:, -1] = -np.inf
    assert first_non_finite(with_item(BASE, 0, top_logprobs=top)) is None
    scored = BASE.items[0].logprobs.copy()
    scored[0] = -np.inf
    assert first_non_finite(with_item(BASE, 0, logprobs=scored)) is not None
