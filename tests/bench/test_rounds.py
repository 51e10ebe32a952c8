"""Runs of a cell do the same work, are timed in all their parts, and leave the model as it was."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
import torch

from model_health.bench import lockstep
from model_health.bench.lockstep import run_in_lockstep, twins
from model_health.bench.models import ABOUT, SHAPES, build, prompt
from model_health.bench.records import Cell, How, Kind
from model_health.bench.rounds import measure_cell
from model_health.bench.single import Work, peak_of, run_once
from model_health.errors import BadInput, CaptureError

KINDS: tuple[Kind, ...] = ("again", "flags", "standard/4", "full")


@pytest.fixture(scope="module")
def work() -> Work:
    model = build("llama-tiny")
    return Work(model, prompt(model, 2, 12), 20)


@pytest.mark.parametrize(("name", "how"), [("gpt2-tiny", "whole"), ("llama-tiny", "lockstep"), ("t5-tiny", "lockstep")])
def test_every_kind_runs_once_a_round_with_all_its_parts(name: str, how: How) -> None:
    cell = Cell(model=name, batch=2, prompt=9, new_tokens=18, threads=torch.get_num_threads())
    block = measure_cell(cell, KINDS, rounds=2, memory_rounds=1, how=how)
    assert block.how == how
    assert block.cell == cell
    assert Counter((run.round, run.kind) for run in block.runs) == Counter(
        {(number, kind): 1 for number in range(2) for kind in ("plain", *KINDS)}
    )
    assert {(run.round, run.place) for run in block.runs} == {(number, at) for number in range(2) for at in range(5)}
    for run in block.runs:
        watched = run.kind not in ("plain", "again")
        assert (run.assemble is not None) == watched
        assert (run.probe_seconds is not None) == watched
        assert 0 < run.prefill.cpu < run.generate.cpu
        assert 0 < run.prefill.wall < run.generate.wall
        assert run.seconds("prefill", "cpu") + run.seconds("decode", "cpu") == pytest.approx(run.generate.cpu)
    assert Counter(peak.kind for peak in block.peaks) in (Counter(), Counter(dict.fromkeys(("plain", *KINDS), 1)))


def test_every_kind_makes_as_many_tokens(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.Size] = []
    original = type(work.model).generate

    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        made.append(result.shape)
        return result

    monkeypatch.setattr(type(work.model), "generate", generate)
    for kind in ("plain", *KINDS):
        run_once(work, kind)
    run_in_lockstep(twins(work, 2), ["plain", "full"])
    assert made == [torch.Size([2, 32])] * 7


def test_a_model_that_stops_by_itself_is_told_not_to(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "min_new_tokens" not in work.arguments()
    monkeypatch.setattr(work.model.generation_config, "eos_token_id", 2)
    assert work.arguments()["min_new_tokens"] == work.new_tokens
    assert work.arguments(3)["min_new_tokens"] == 3


@pytest.mark.parametrize("kind", ["plain", "full"])
def test_the_model_is_left_as_it_was(work: Work, kind: Kind) -> None:
    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in work.model.modules())

    before = hooks()
    run_once(work, kind)
    run_in_lockstep(twins(work, 1), [kind])
    assert hooks() == before == 0
    assert "generate" not in work.model.__dict__


def test_twins_share_every_weight_and_no_module(work: Work) -> None:
    first, second = twins(work, 2)
    assert first.model is work.model
    assert {id(p) for p in first.model.parameters()} == {id(p) for p in second.model.parameters()}
    assert not {id(m) for m in first.model.modules()} & {id(m) for m in second.model.modules()}


def test_forward_passes_go_round_in_lockstep(work: Work) -> None:
    order: list[int] = []
    handles = []
    works = twins(work, 3)
    for number, one in enumerate(works):
        handles.append(one.model.register_forward_pre_hook(lambda *_, n=number: order.append(n)))
    try:
        run_in_lockstep(works, ["plain", "standard", "flags"])
    finally:
        for handle in handles:
            handle.remove()
    assert order == [0, 1, 2] * work.new_tokens


def test_a_lane_that_ends_early_leaves_the_others_running(work: Work) -> None:
    short, long = twins(work, 2)
    runs = run_in_lockstep([Work(short.model, short.inputs, 2), long], ["plain", "standard"])
    assert [run.kind for run in runs] == ["plain", "standard"]


def test_a_failure_in_one_lane_is_raised_and_hangs_nobody(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Any, switches: Any) -> Any:
        raise CaptureError("planted")

    monkeypatch.setattr(lockstep, "record", broken)
    before = threading.active_count()
    with pytest.raises(CaptureError, match="planted"):
        run_in_lockstep(twins(work, 3), ["plain", "standard", "again"])
    assert threading.active_count() == before


def test_a_peak_is_at_least_what_was_in_use_before(work: Work) -> None:
    peak = peak_of(work, "full")
    assert peak is None or peak.peak_bytes >= peak.start_bytes > 0


def test_weights_are_the_same_every_time_and_the_random_state_of_the_caller_is_kept() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = (build("gpt2-tiny").state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32


def test_a_model_is_built_in_the_dtype_that_was_asked_for() -> None:
    assert {parameter.dtype for parameter in build("llama-tiny", dtype="bfloat16").parameters()} == {torch.bfloat16}


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="did you mean 'llama-12'"):
        build("lama-12")
    assert set(SHAPES) < set(ABOUT)
