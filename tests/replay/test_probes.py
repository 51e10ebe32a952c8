"""Each state is seen exactly once, or the replay is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from model_health.capture.layout import find_layout
from model_health.errors import CaptureError
from model_health.replay.probes import StateProbes, state_names
from support.replays import tiny


class Twice(nn.Module):
    """A block that runs its inner block twice."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, state: torch.Tensor, **kwargs: object) -> object:
        self.block(state, **kwargs)
        return self.block(state, **kwargs)


def test_states_are_named_in_the_order_of_computation(tmp_path: Path) -> None:
    names = state_names(find_layout(tiny(tmp_path, "t5").model))
    assert names[0] == "encoder.embedding"
    assert names.index("encoder.final") + 1 == names.index("embedding")
    assert names[-2:] == ("layer.3", "final")


def test_a_block_that_runs_twice_is_refused(tmp_path: Path) -> None:
    model = tiny(tmp_path).model
    layout = find_layout(model)
    taken: list[tuple[str, int]] = []
    probes = StateProbes(model, layout, lambda stack, index, state: taken.append((stack, index)))
    ids = torch.tensor([[5, 6, 7]])
    with probes.attached(), probes.watching({"decoder": (1, 3)}):
        model(ids)
    assert taken == [("decoder", index) for index in range(6)]
    model.model.layers[1].register_forward_hook(lambda module, args, output: None)
    blocks = model.model.layers
    again = Twice(blocks[1])
    layers = list(blocks)
    layers[1] = again
    model.model.layers = nn.ModuleList(layers)
    with probes.attached(), pytest.raises(CaptureError, match="more than once"), probes.watching({"decoder": (1, 3)}):
        model(ids)


def test_a_block_that_never_runs_is_refused(tmp_path: Path) -> None:
    model = tiny(tmp_path).model
    probes = StateProbes(model, find_layout(model), lambda stack, index, state: None)
    model.model.layers = nn.ModuleList(list(model.model.layers)[:3])
    with (
        probes.attached(),
        pytest.raises(CaptureError, match="cannot be replayed"),
        probes.watching({"decoder": (1, 3)}),
    ):
        model(torch.tensor([[5, 6, 7]]))


def test_nothing_is_taken_outside_a_watched_pass(tmp_path: Path) -> None:
    model = tiny(tmp_path).model
    taken: list[int] = []
    probes = StateProbes(model, find_layout(model), lambda stack, index, state: taken.append(index))
    with probes.attached():
        model(torch.tensor([[5, 6, 7]]))
    assert taken == []
