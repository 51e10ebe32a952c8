"""Rows of decode steps, reduced in blocks, equal rows reduced one by one, wherever the blocks end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model_health.capture.events import AttentionCall
from model_health.metrics.attention_decode import DecodeRows, SlotRows
from support.attention_calls import SLOT, Truth, backend_call, entropy

PROMPT = 5


def steps_of(
    count: int, *, real: torch.Tensor | None = None, static: int | None = None
) -> list[tuple[AttentionCall, Truth]]:
    """Decode steps over one growing cache: the keys of a step begin with those of the step before."""
    total = PROMPT + count
    width = static or total
    batch = 2
    real = torch.ones(batch, total, dtype=torch.bool) if real is None else real
    made = []
    for step in range(1, count + 1):
        keys = PROMPT + step
        seen = torch.zeros(batch, width, dtype=torch.bool)
        seen[:, :keys] = real[:, :keys]
        masked = static is not None or not bool(real.all())
        call, truth = backend_call(
            queries=1, keys=width, seed=3, real=seen, is_causal=False, pass_mask=masked, batch=batch
        )
        fresh, _ = backend_call(queries=1, keys=width, seed=100 + step, batch=batch)
        call = replace(call, query=fresh.query, is_causal=True)
        groups = call.query.shape[1] // call.key.shape[1]
        s = call.scaling * call.query.double() @ call.key.double().repeat_interleave(groups, 1).transpose(2, 3)
        weights = torch.softmax(s.masked_fill(~seen[:, None, None], -torch.inf), -1)
        output = (weights @ call.value.double().repeat_interleave(groups, 1)).transpose(1, 2).float()
        truth = Truth(weights, output.double())
        call = replace(call, output=output)
        if static is None:
            cut = slice(0, keys)
            mask = None if call.mask is None else call.mask[..., cut]
            call = replace(call, key=call.key[:, :, cut], value=call.value[:, :, cut], mask=mask)
        made.append((call, truth))
    return made


def collect(made: list[tuple[AttentionCall, Truth]], block: int) -> SlotRows:
    rows = DecodeRows()
    for step, (call, _) in enumerate(made, start=1):
        rows.add(step, call, block)
        if step % block == 0:
            rows.flush()
    rows.flush()
    return rows.slots[SLOT]


def check(slot: SlotRows, made: list[tuple[AttentionCall, Truth]], visible: list[list[int]]) -> None:
    nats = torch.cat([block.entropy_nats for block in slot.blocks])
    largest = torch.cat([block.max_weight for block in slot.blocks])
    seen = torch.cat([block.visible_keys for block in slot.blocks])
    assert slot.problem is None
    assert [block.first_step for block in slot.blocks] == sorted({block.first_step for block in slot.blocks})
    assert nats.shape == (len(made), 2, 4)
    for step, (_, truth) in enumerate(made):
        row = truth.weights[:, :, -1]
        torch.testing.assert_close(nats[step].double(), entropy(row), atol=1e-5, rtol=0)
        torch.testing.assert_close(largest[step].double(), row.amax(-1), atol=1e-5, rtol=0)
    assert seen.tolist() == visible
    assert all(float(miss) < 1e-4 for miss in slot.disagreements)


@pytest.mark.parametrize("block", [1, 2, 16, 100])
@pytest.mark.parametrize("count", [1, 16, 17, 33])
def test_rows_are_the_same_wherever_a_block_ends(count: int, block: int) -> None:
    made = steps_of(count)
    check(collect(made, block), made, [[PROMPT + step] * 2 for step in range(1, count + 1)])


@pytest.mark.parametrize("block", [1, 4])
def test_padding_is_never_visible(block: int) -> None:
    real = torch.ones(2, PROMPT + 6, dtype=torch.bool)
    real[0, :3] = False
    made = steps_of(6, real=real)
    check(collect(made, block), made, [[PROMPT + step - 3, PROMPT + step] for step in range(1, 7)])


def test_a_static_cache_is_longer_than_what_a_row_may_see() -> None:
    made = steps_of(5, static=32)
    check(collect(made, 4), made, [[PROMPT + step] * 2 for step in range(1, 6)])


def test_weights_that_the_backend_returns_are_used_as_they_are() -> None:
    made = [
        (replace(call, weights=truth.weights.float(), query=call.query * torch.nan), truth)
        for call, truth in steps_of(3)
    ]
    check(collect(made, 16), made, [[PROMPT + step] * 2 for step in range(1, 4)])


def test_a_cache_that_slides_is_reduced_step_by_step() -> None:
    made = [(replace(call, append_only=False), truth) for call, truth in steps_of(4)]
    slot = collect(made, 16)
    assert len(slot.blocks) == 4
    check(slot, made, [[PROMPT + step] * 2 for step in range(1, 5)])


def test_several_queries_are_reduced_at_once_so_that_none_of_them_is_kept() -> None:
    one, truth = backend_call(queries=7)
    rows = DecodeRows()
    rows.add(0, one, 1)
    assert len(rows.slots[SLOT].blocks) == 1
    assert not rows._pending
    newest = rows.slots[SLOT].blocks[0].entropy_nats[0]
    torch.testing.assert_close(newest.double(), entropy(truth.weights[:, :, -1]), atol=1e-5, rtol=0)
    assert rows.slots[SLOT].blocks[0].visible_keys.tolist() == [[7, 7]]


def test_layers_with_other_masks_do_not_share_what_they_see() -> None:
    real = torch.ones(2, PROMPT + 3, dtype=torch.bool)
    real[0, :3] = False
    rows = DecodeRows()
    other = replace(SLOT, layer=1)
    for step, ((plain, _), (padded, _)) in enumerate(zip(steps_of(3), steps_of(3, real=real), strict=True), start=1):
        rows.add(step, plain, 3)
        rows.add(step, replace(padded, slot=other), 3)
    rows.flush()
    assert rows.slots[SLOT].blocks[0].visible_keys[:, 0].tolist() == [6, 7, 8]
    assert rows.slots[other].blocks[0].visible_keys[:, 0].tolist() == [3, 4, 5]


@pytest.mark.parametrize(("steps", "words"), [((1, 1), "twice"), ((1, 3), "not in every")])
def test_a_module_that_does_not_run_once_a_step_is_refused(steps: tuple[int, int], words: str) -> None:
    (call, _), *_ = steps_of(1)
    rows = DecodeRows()
    for step in steps:
        rows.add(step, call, 1)
    rows.flush()
    assert words in (rows.slots[SLOT].problem or "")


def test_a_wrong_rebuild_is_noticed_in_the_block() -> None:
    made = [(replace(call, scaling=call.scaling * 1.5), truth) for call, truth in steps_of(4)]
    assert max(float(miss) for miss in collect(made, 16).disagreements) > 2e-3


def test_a_row_with_nan_spoils_itself_only() -> None:
    made = steps_of(4)
    call, _ = made[1]
    query = call.query.clone()
    query[0, 2] = torch.nan
    made[1] = (replace(call, query=query), made[1][1])
    nats = torch.cat([block.entropy_nats for block in collect(made, 16).blocks])
    assert torch.isnan(nats).nonzero().tolist() == [[1, 0, 2]]
