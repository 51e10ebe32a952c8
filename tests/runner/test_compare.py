"""What a change comes from, told apart by replaying again: only while that tells more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from model_health.baseline.artefact import Baseline
from model_health.baseline.registry import load
from model_health.baseline.store import BaselineStore
from model_health.config.gates import load_gates
from model_health.config.load import load_project
from model_health.config.settings import Settings
from model_health.report.manifest import PromptEntry
from model_health.runner import compare as module
from model_health.runner import compare_again
from model_health.runner.compare import Compared, compare_loaded, flag_changes
from model_health.runner.loading import LoadedModel, load_model
from support.regressions import WORDS, accepted_project


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    torch.set_num_threads(1)
    return accepted_project(tmp_path_factory.mktemp("accepted"))


@pytest.fixture(scope="module")
def loaded(settings: Settings) -> LoadedModel:
    return load_model(load_project(settings).get_model("tiny"), settings)


@pytest.fixture(scope="module")
def baseline(settings: Settings) -> Baseline:
    return load(BaselineStore.open(settings.store_uri), "tiny/smoke")


@contextmanager
def faulty(loaded: LoadedModel, layer: int, times: int) -> Iterator[list[int]]:
    """Another value leaves one layer in the first `times` replays: no weight, and nothing of the key, is another."""
    model: Any = loaded.model
    replays = [0]

    def damage(block: Any, given: Any, output: Any) -> Any:
        return output * 1.25 if replays[0] <= times else output

    hook = model.model.layers[layer].register_forward_hook(damage)
    try:
        yield replays
    finally:
        hook.remove()


def compared(
    settings: Settings, loaded: LoadedModel, baseline: Baseline, monkeypatch: pytest.MonkeyPatch, times: int
) -> tuple[Compared, int]:
    """A comparison of a model that is faulty in its first replays, and how often it was replayed."""
    with faulty(loaded, 1, times) as replays:
        replay = module.replay_loaded

        def counted(*given: Any) -> Any:
            replays[0] += 1
            return replay(*given)

        monkeypatch.setattr(module, "replay_loaded", counted)
        monkeypatch.setattr(compare_again, "replay_loaded", counted)
        suite = load_project(settings).get_suite("smoke")
        policy = load_gates(settings).regression
        return compare_loaded(loaded, suite, baseline, policy, purpose="nightly"), replays[0]


@pytest.mark.parametrize(
    ("times", "cause", "replays"), [(0, "nothing", 1), (1, "transient", 2), (2, "software_or_weights", 2)]
)
def test_a_fault_that_goes_away_is_told_from_one_that_stays(
    settings: Settings,
    loaded: LoadedModel,
    baseline: Baseline,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
    cause: str,
    replays: int,
) -> None:
    found, replayed = compared(settings, loaded, baseline, monkeypatch, times)
    assert found.cause is not None
    assert (str(found.cause.cause), replayed) == (cause, replays)
    if times:
        assert found.comparison.same_key_differs
        assert found.comparison.place is not None
        assert found.comparison.place.state == "layer.1"
        assert (found.verdict.effective, found.verdict.page_now) == ("fail", True)


def entry(prompt_id: str, *flags: str, tolerated: tuple[str, ...] = ()) -> PromptEntry:
    return PromptEntry(
        prompt_id=prompt_id,
        group="facts",
        report_uri="file:///report",
        digest="sha256:1",
        prompt_tokens=3,
        generated_tokens=4,
        flags=flags,
        tolerated=tolerated,
    )


def test_flags_of_generated_text_count_where_they_are_not_tolerated(settings: Settings, baseline: Baseline) -> None:
    statistics = load_gates(settings).regression.statistics
    raised = [entry(word, "empty_output") for word in WORDS[:-1]]
    tolerated = entry(WORDS[-1], "empty_output", tolerated=("empty_output",))
    unknown = entry("a-new-prompt", "empty_output")
    changes = {one.flag: one for one in flag_changes(baseline, [*raised, tolerated, unknown], statistics)}
    assert changes["empty_output"].appeared == tuple(WORDS[:-1])
    assert changes["loop_detected"].appeared == ()
    assert flag_changes(baseline, [], statistics) == ()
