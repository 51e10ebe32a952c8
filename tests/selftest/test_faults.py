"""Every fault changes the model while it lasts and leaves it bit for bit as it was, whatever fails inside."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_health.errors import CouldNotMeasure
from model_health.runner.digests import weights_digest
from model_health.selftest.catalogue import replay_faults, wanted
from model_health.selftest.fault import Fault
from model_health.selftest.faults_bits import BITS, WeightBit, flip
from model_health.selftest.faults_layers import SwappedLayers, ZeroedHead, ZeroedMlp
from model_health.selftest.faults_text import StaleTokenizer, WrongTemplate
from model_health.selftest.subject import Inapplicable, Subject, borrowed
from support.replays import SUITE, tiny

FAMILIES = ("llama", "gpt2", "mixtral", "t5", "mamba")


@pytest.fixture(scope="module", params=FAMILIES)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tiny(tmp_path_factory.mktemp("faults"), request.param), SUITE)


def hooks(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_every_fault_is_there_while_it_lasts_and_gone_afterwards(subject: Subject) -> None:
    model = subject.loaded.model
    healthy, attached = weights_digest(model), hooks(model)
    buffers = [value.clone() for value in model.buffers()]
    tried = 0
    for fault in replay_faults(subject, reduced=True):
        try:
            with fault.injected(subject):
                changed = weights_digest(model) != healthy or hooks(model) > attached
                changed = changed or any(not torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
                assert changed, fault.name
            tried += 1
        except Inapplicable:
            pass
        assert weights_digest(model) == healthy, fault.name
        assert hooks(model) == attached, fault.name
        assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True)), fault.name
        assert not any(p.requires_grad or p.grad is not None for p in model.parameters()), fault.name
    assert tried > 15


def test_names_are_unique_and_choices_belong_to_the_seed(subject: Subject) -> None:
    faults = replay_faults(subject)
    assert len({fault.name for fault in faults}) == len(faults)
    assert [fault.name for fault in replay_faults(subject)] == [fault.name for fault in faults]
    assert subject.draw("x", 1000) == subject.draw("x", 1000)
    other = Subject(subject.loaded, SUITE, seed=1)
    assert [other.draw(str(n), 1000) for n in range(5)] != [subject.draw(str(n), 1000) for n in range(5)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tiny(tmp_path_factory.mktemp("llama")), SUITE)


def test_an_error_while_a_fault_lasts_does_not_keep_it_in_the_model(llama: Subject) -> None:
    healthy = weights_digest(llama.loaded.model)
    fault: Fault
    for fault in (WeightBit(1, "sign"), SwappedLayers(0, 2), ZeroedHead(3)):
        with pytest.raises(RuntimeError, match="inside"), fault.injected(llama):
            raise RuntimeError("inside")
        assert weights_digest(llama.loaded.model) == healthy


def test_what_cannot_be_given_back_is_an_error() -> None:
    weight = torch.zeros(4)
    with pytest.raises(CouldNotMeasure, match="not taken back bit for bit"), borrowed(weight):
        weight.data = torch.zeros(4, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_each_bit_of_a_number_is_the_one_that_it_is_called(dtype: torch.dtype) -> None:
    one = torch.tensor([1.5, 1.5], dtype=dtype)
    seen = {}
    for bit in BITS:
        flipped = one.clone()
        flip(flipped, 1, bit)
        assert flipped[0] == 1.5
        seen[bit] = float(flipped[1])
        flip(flipped, 1, bit)
        assert torch.equal(flipped, one)
    assert seen["sign"] == -1.5
    assert seen["low exponent"] == 0.75
    assert seen["high mantissa"] == 1.0
    assert seen["last mantissa"] == 1.5 + torch.finfo(dtype).eps
    assert not abs(seen["high exponent"]) < 1e4


def test_a_number_of_another_kind_has_no_such_bits() -> None:
    with pytest.raises(Inapplicable, match="no bits of these names"):
        flip(torch.zeros(2, dtype=torch.float64), 0, "sign")


def test_a_silent_head_and_a_silent_mlp_write_nothing(llama: Subject) -> None:
    block = llama.layer(2)
    with ZeroedMlp(2).injected(llama):
        assert block.mlp(torch.ones(1, 1, 64)).abs().max() == 0  # type: ignore[operator,union-attr]
    weight = llama.attention_output(2).weight
    with ZeroedHead(2).injected(llama):
        assert isinstance(weight, torch.Tensor)
        silent = (weight.abs().sum(0) == 0).view(4, 16)
        assert sorted(silent.all(1).tolist()) == [False, False, False, True]
        assert int(silent.sum()) == 16


def test_a_stale_tokenizer_and_a_wrong_template_are_copies(llama: Subject) -> None:
    own = llama.loaded.tokenizer
    stale = StaleTokenizer().tokenizer(llama)
    assert stale("in the")["input_ids"] != own("in the")["input_ids"]
    assert WrongTemplate().tokenizer(llama).chat_template != own.chat_template


def test_a_tokenizer_without_a_template_cannot_have_a_wrong_one(tmp_path: Path) -> None:
    loaded = tiny(tmp_path)
    loaded.tokenizer.chat_template = None
    with pytest.raises(Inapplicable, match="no chat template"):
        WrongTemplate().tokenizer(Subject(loaded, SUITE))


def test_faults_are_asked_for_by_a_part_of_their_name_or_kind() -> None:
    assert wanted("anything", "kind", ())
    assert wanted("NaN in one weight, layer 1", "non-finite weight", ("nan",))
    assert wanted("x", "scaled layer", ("SCALED",))
    assert not wanted("x", "scaled layer", ("head",))
