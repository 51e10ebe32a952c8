"""What few texts swallow is looked for in all: found there, missed there, or no number changes at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from model_health.config.gates import load_gates
from model_health.config.load import load_project
from model_health.runner.loading import load_model
from model_health.selftest.fault import Fault
from model_health.selftest.figures import figures
from model_health.selftest.judge import witnessed
from model_health.selftest.plain import plain_bits
from model_health.selftest.run import replay_trials
from model_health.selftest.stage import Stage
from model_health.selftest.subject import Subject, borrowed
from model_health.selftest.witness import Hearing, Witness
from support.self_tests import missed, self_test_of, self_test_project, trial

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class TokenFault(Fault):
    """What is embedded for one token is another vector; for all others nothing changes."""

    kind: ClassVar[str] = "test"
    token: int = 0

    @property
    def name(self) -> str:
        return f"token {self.token}"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        def change(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            return torch.where((args[0] == self.token)[..., None], -output, output)

        handle = subject.loaded.model.get_input_embeddings().register_forward_hook(change)
        try:
            yield
        finally:
            handle.remove()


@dataclass(frozen=True)
class UnusedWeight(Fault):
    """A position so far behind that no text reaches it has another vector."""

    kind: ClassVar[str] = "test"

    @property
    def name(self) -> str:
        return "an unused weight"

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        table = subject.loaded.model.transformer.wpe.weight.data
        with borrowed(table):
            table[-1] += 1.0
            yield


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    settings = self_test_project(tmp_path_factory.mktemp("witness"), "gpt2")
    project = load_project(settings)
    subject = Subject(load_model(project.get_model("tiny"), settings), project.get_suite("smoke"))
    return Stage(subject, load_gates(settings).regression.statistics, project.thresholds_for("tiny"), items=3)


def tokens_of(items: Any) -> set[int]:
    return {token for item in items for token in item.fed}


def test_a_fault_that_only_another_text_shows_is_caught_there_and_says_so(stage: Stage) -> None:
    [token, *_] = sorted(tokens_of(stage.rest) - tokens_of(stage.items))
    same, _ = replay_trials(stage, TokenFault(token=token), Witness(stage))
    assert (same.detected, same.no_number, same.missed) == (True, False, None)
    assert same.texts is not None
    assert len(stage.items) < same.texts <= len(stage.items) + len(stage.rest)
    assert f"on {same.texts} texts, not on fewer" in same.reason


def test_a_fault_that_no_text_can_show_changes_no_number_and_only_the_digest_tells(stage: Stage) -> None:
    same, _ = replay_trials(stage, UnusedWeight(), Witness(stage))
    assert (same.detected, same.no_number, same.answer) == (False, True, "identical")
    assert same.texts == len(stage.items) + len(stage.rest)
    assert "the digest of the weights, read whenever a model is loaded, tells" in str(same.missed)


def test_a_fault_outside_the_weights_that_changes_nothing_has_no_digest_to_tell(stage: Stage) -> None:
    unused = max(tokens_of((*stage.items, *stage.rest))) + 1
    same, _ = replay_trials(stage, TokenFault(token=unused), Witness(stage))
    assert same.no_number
    assert "digest" not in str(same.missed)


def test_a_replay_that_has_gone_blind_cannot_excuse_its_misses(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    [token, *_] = sorted(tokens_of(stage.rest) - tokens_of(stage.items))
    healthy = stage.compared(stage.repeated)
    monkeypatch.setattr(stage, "compared", lambda *seen: healthy)
    said = Witness(stage).asked(TokenFault(token=token))
    assert (said.found, said.no_number) == (None, False)
    blind = witnessed(missed(inert=True), None, said)
    assert "gives other bits, and no replay of them shows it" in str(blind.missed)
    assert any("same configuration were missed" in line for line in figures(self_test_of(trial(), blind)).shortfalls)


def test_the_models_own_pass_repeats_its_bits_and_shows_a_last_bit_of_a_weight(stage: Stage) -> None:
    healthy = plain_bits(stage.subject, stage.items, 4)
    weight = stage.subject.matrices(0)[0][1]
    with borrowed(weight):
        weight.view(-1).view(torch.int32)[0] ^= 1
        assert plain_bits(stage.subject, stage.items, 4) != healthy
    assert plain_bits(stage.subject, stage.items, 4) == healthy


def test_what_changes_no_number_is_neither_caught_nor_missed_unless_it_is_a_tenth_of_all() -> None:
    silent = witnessed(missed(inert=True), None, Hearing(None, 41, no_number=True, digest_tells=True))
    found = figures(self_test_of(*[trial()] * 9, silent))
    assert (found.same.hits, found.same.of, found.silent, found.shortfalls) == (9, 9, 1, ())
    assert figures(self_test_of(*[trial()] * 8, silent)).shortfalls == (
        "1 faults change no number: a test of so little shows little",
    )
