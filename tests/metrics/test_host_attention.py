"""Which attention may be reported: rows that agree, in every step; the rest has a reason per layer or per stack."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model_health.capture.events import AttentionKind, AttentionSlot, StackName
from model_health.capture.layout import StackLayout
from model_health.metrics.attention_decode import DecodeRows, RowBlock, SlotRows
from model_health.metrics.attention_prompt import PromptAttention
from model_health.metrics.host_attention import HostAttention, prompt_layer_cutter, tolerance

SELF = AttentionKind.SELF
DECODER = StackName.DECODER


class AttentionOfItsOwn(nn.Module):
    """A layer with attention that nobody saw."""


class Convolution(nn.Module):
    """A layer without attention."""


def slot(layer: int) -> AttentionSlot:
    return AttentionSlot(DECODER, layer, SELF)


def prompt_of(miss: float | None = 0.0) -> PromptAttention:
    rows = torch.ones(2, 3)
    return PromptAttention(
        basin=rows,
        top_weights=torch.tensor([[[0.9, 0.5, torch.nan]] * 3] * 2),
        top_index=torch.tensor([[[15, 7, 3]] * 3] * 2),
        keys=4,
        entropy_nats=rows,
        max_weight=rows,
        visible_keys=torch.tensor([4, 2]),
        disagreement=None if miss is None else torch.tensor(miss),
    )


def decoded(steps: int, *misses: float, problem: str | None = None) -> SlotRows:
    rows = torch.arange(steps, dtype=torch.float32)[:, None, None].expand(steps, 2, 3)
    block = RowBlock(1, rows, rows, torch.full((steps, 2), 5))
    return SlotRows([block], [torch.tensor(miss) for miss in misses], steps + 1, problem)


def records(
    prompts: dict[int, PromptAttention], rows: dict[int, SlotRows], steps: int = 4, dtype: torch.dtype = torch.float32
) -> Any:
    decode = DecodeRows()
    decode.slots = {slot(layer): value for layer, value in rows.items()}
    module = nn.Linear(2, 2).to(dtype)
    return SimpleNamespace(
        prompt_attention={slot(layer): value for layer, value in prompts.items()},
        rows=decode,
        steps=steps,
        switches=SimpleNamespace(attention=True, every=1),
        refused_attention={},
        start=SimpleNamespace(chosen={}, layout=SimpleNamespace(decoder=SimpleNamespace(module=module))),
    )


def layout(*layers: nn.Module) -> StackLayout:
    return StackLayout(nn.Module(), layers, tuple(isinstance(layer, AttentionOfItsOwn) for layer in layers))


def test_the_prefill_is_the_first_row_and_decode_steps_follow() -> None:
    taken = HostAttention(records({0: prompt_of()}, {0: decoded(3, 0.0)}))
    (series,) = taken.series(DECODER, SELF, 1, slice(0, 4))
    assert series.entropy_nats[:, 0].tolist() == [1.0, 0.0, 1.0, 2.0]
    assert series.visible_keys.tolist() == [2, 5, 5, 5]
    (cut,) = taken.series(DECODER, SELF, 0, slice(0, 2))
    assert cut.max_weight.shape == (2, 3)


def test_layers_come_in_order_whatever_order_they_ran_in() -> None:
    taken = HostAttention(records({layer: prompt_of() for layer in (2, 0, 1)}, {}, steps=1))
    assert [series.layer for series in taken.series(DECODER, SELF, 0, slice(0, 1))] == [0, 1, 2]


@pytest.mark.parametrize(
    ("prompt", "rows", "words"),
    [
        (prompt_of(0.01), decoded(3, 0.0), "miss the backend's output by 1.0e-02"),
        (prompt_of(0.0), decoded(3, 0.0, 0.5), "by 5.0e-01"),
        (prompt_of(float("inf")), decoded(3), "by inf"),
        (prompt_of(), decoded(2), "ran in 3 of 4 steps"),
        (prompt_of(), decoded(3, problem="it ran twice in a step"), "twice"),
    ],
)
def test_what_does_not_agree_is_not_reported_and_says_why(prompt: PromptAttention, rows: SlotRows, words: str) -> None:
    taken = HostAttention(records({0: prompt_of(), 1: prompt}, {0: decoded(3), 1: rows}))
    assert [series.layer for series in taken.series(DECODER, SELF, 0, slice(0, 4))] == [0]
    (gap,) = taken.gaps(DECODER, SELF, layout(AttentionOfItsOwn(), AttentionOfItsOwn()), "attention")
    assert (gap.part, gap.layer) == ("attention", 1)
    assert words in gap.reason
    real = np.ones((2, 4), bool)
    assert [layer.layer for layer in prompt_layer_cutter(taken, DECODER, real, 0.01)(0)] == [0]


def test_weights_from_the_backend_itself_need_no_proof() -> None:
    assert len(HostAttention(records({0: prompt_of(None)}, {0: decoded(3)})).rows) == 1


@pytest.mark.parametrize(
    ("dtype", "miss", "taken"),
    [(torch.float32, 0.01, 0), (torch.bfloat16, 0.01, 1), (torch.float16, 0.01, 1), (torch.bfloat16, 0.2, 0)],
)
def test_rounding_explains_more_in_low_precision(dtype: torch.dtype, miss: float, taken: int) -> None:
    assert len(HostAttention(records({0: prompt_of(miss)}, {}, steps=1, dtype=dtype)).rows) == taken


def test_a_stack_whose_attention_nobody_saw_is_one_entry() -> None:
    taken = HostAttention(records({}, {}))
    (gap,) = taken.gaps(DECODER, SELF, layout(AttentionOfItsOwn(), AttentionOfItsOwn()), "attention")
    assert gap.layer is None
    assert "no attention weights were seen in AttentionOfItsOwn" in gap.reason


def test_layers_that_lack_attention_for_several_reasons_are_an_entry_each() -> None:
    taken = HostAttention(records({1: prompt_of()}, {1: decoded(3)}))
    mixed = layout(AttentionOfItsOwn(), AttentionOfItsOwn(), Convolution())
    gaps = taken.gaps(DECODER, SELF, mixed, "attention")
    assert [gap.layer for gap in gaps] == [0, 2]
    assert "has no attention" in gaps[1].reason


def test_rows_that_see_nothing_are_nan() -> None:
    prompt = prompt_of()
    prompt.visible_keys = torch.tensor([0, 2])
    (series,) = HostAttention(records({0: prompt}, {}, steps=1)).series(DECODER, SELF, 0, slice(0, 1))
    assert np.isnan(series.entropy_nats).all()
    assert np.isnan(series.max_weight).all()


def test_sparse_entries_count_from_the_first_real_token_and_nan_is_none() -> None:
    taken = HostAttention(records({0: prompt_of()}, {}, steps=1))
    real = np.array([[True] * 4, [False, True, True, True]])
    (whole,), (padded,) = (prompt_layer_cutter(taken, DECODER, real, 0.5)(row) for row in range(2))
    assert [head.weights.tolist() for head in whole.heads] == [[pytest.approx(0.9)]] * 3
    assert (whole.heads[0].query_indices.tolist(), whole.heads[0].key_indices.tolist()) == ([3], [3])
    assert (padded.heads[0].query_indices.tolist(), padded.heads[0].key_indices.tolist()) == ([2], [2])


def test_the_tolerance_is_that_of_the_first_floating_weight() -> None:
    assert tolerance(records({}, {})) < tolerance(records({}, {}, dtype=torch.bfloat16))
    bare = records({}, {})
    bare.start.layout.decoder.module = nn.Module()
    assert tolerance(bare) == tolerance(records({}, {}))
