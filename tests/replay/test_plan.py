"""Items as rows of batches: order, company, padding."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_health.replay.plan import PADDING_RATIO, ReplayItem, batches, pad

CPU = torch.device("cpu")


def item(context: int, tokens: int = 1, start: int = 0) -> ReplayItem:
    return ReplayItem("a:golden", "a", "golden", "facts", (7,) * context, (8,) * tokens, (1,) * start)


def test_everything_but_the_last_scored_token_is_read() -> None:
    causal = ReplayItem("a:golden", "a", "golden", "facts", (1, 2, 3), (4, 5))
    assert (causal.fed, causal.first) == ((1, 2, 3, 4), 2)
    both = ReplayItem("a:golden", "a", "golden", "facts", (1, 2, 3), (4, 5), decoder_start=(0, 9))
    assert (both.fed, both.first) == ((0, 9, 4), 1)


@pytest.mark.parametrize(("context", "tokens"), [((), (1,)), ((1,), ())])
def test_an_item_without_context_or_tokens_is_refused(context: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="needs a context and a scored token"):
        ReplayItem("a:golden", "a", "golden", "facts", context, tokens)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 64)), min_size=1, max_size=40), st.integers(1, 9))
def test_batches_hold_every_item_once_in_company_of_its_length(sizes: list[tuple[int, int]], size: int) -> None:
    items = [item(*one) for one in sizes]
    made = list(batches(items, size))
    assert sorted(chain(*made)) == list(range(len(items)))
    for places in made:
        lengths = [len(items[place].fed) for place in places]
        assert len(places) <= size
        assert lengths == sorted(lengths, reverse=True)
        assert lengths[0] <= max(48, PADDING_RATIO * lengths[-1])


def test_a_batch_of_no_items_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(batches([item(2)], 0))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_fills_one_side(side: str) -> None:
    rows = [(5, 6, 7), (8,)]
    padded = pad(rows, side, 0, CPU)  # type: ignore[arg-type]
    assert padded.ids.tolist() == [[5, 6, 7], [0, 0, 8] if side == "left" else [8, 0, 0]]
    assert padded.mask.tolist() == [[1, 1, 1], [0, 0, 1] if side == "left" else [1, 0, 0]]
    assert padded.offsets == ((0, 2) if side == "left" else (0, 0))
    assert padded.width == 3
