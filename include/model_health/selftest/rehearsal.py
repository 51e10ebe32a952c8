"""A release rehearsed: accept a model, make candidates of it, and hold each against the baseline as a pipeline would.

Owns the order, and that all of it happens in a store, an index and a configuration of its own, which vanish: nothing of
the installation is touched but its cache of converted weights.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from model_health.baseline.document import Provenance
from model_health.config.load import load_project
from model_health.config.settings import Settings
from model_health.config.suites import CanaryPrompt, CanarySuite
from model_health.errors import SuiteError
from model_health.runner.canary import run_canaries
from model_health.runner.compare_run import CompareRequest, compare_candidate
from model_health.runner.identity import identify
from model_health.runner.loading import LoadedModel, load_model
from model_health.runner.replay import key_of, production_shape
from model_health.runner.replay_baseline import BaselineRequest, create_baseline
from model_health.runner.request import RunRequest
from model_health.selftest.candidates import Candidate, candidates
from model_health.selftest.rehearsed import Rehearsal, Rehearsed, row_of
from model_health.selftest.subject import Subject

Say = Callable[[str], None]
Clock = Callable[[], datetime]
SHORT_TOKENS = 8
"""Continuations of a suite that was cut: what decides there is golden text."""
LONGEST = 500
"""Characters of a prompt that a quick rehearsal keeps."""
QUICKLY = f", quick: prompts of up to {LONGEST} characters with golden text, continuations of {SHORT_TOKENS} tokens"


@dataclass(frozen=True)
class RehearsalRequest:
    """What to rehearse.

    Args:
        model, suite: by name; the model's first suite if None.
        few: prompts with golden text of the suite that is too small.
        quick: only short prompts with golden text, and short continuations: a fifth of the cost.
        only: candidates whose name contains one of these; all if empty.
    """

    model: str
    suite: str | None = None
    few: int = 4
    quick: bool = False
    only: tuple[str, ...] = ()


def rehearse(request: RehearsalRequest, settings: Settings, *, say: Say, clock: Clock) -> Rehearsal:
    """Rehearse.

    Raises:
        BadInput: the model, the suite or the configuration is wrong.
        CouldNotMeasure: the model could not be run, or its run is not healthy, so that nothing can be accepted.
    """
    project, started = load_project(settings), clock()
    config = project.get_model(request.model)
    suite = project.get_suite(request.suite or config.suites[0])
    wall, cpu = perf_counter(), process_time()
    wanted = [one for one in candidates() if not request.only or any(part in one.name for part in request.only)]
    with _aside(settings, suite, request) as (place, usual, few):
        for name in dict.fromkeys(few if one.few else usual for one in wanted):
            _accept(config.name, name, place, say, clock)
        loaded = load_model(config, place, progress=say)
        key = key_of(loaded, suite, production_shape(loaded), identify(loaded))
        subject = Subject(loaded, suite)
        rows = []
        for one in wanted:
            rows.append(_judged(one, subject, few if one.few else usual, place, say, clock))
            say(f"{config.name}: {one.name} on {rows[-1].suite}: {rows[-1].answer}, {rows[-1].verdict}")
    return Rehearsal(
        model=config.name,
        suite=f"{suite.name} {suite.version}{QUICKLY * request.quick}",
        dtype=key.dtype,
        device=key.device_name or key.device_kind,
        machine=str(key.platform),
        libraries=dict(key.libraries),
        started_at=started.isoformat(timespec="seconds"),
        cpu_seconds=process_time() - cpu,
        wall_seconds=perf_counter() - wall,
        rows=tuple(rows),
    )


def _accept(model: str, suite: str, place: Settings, say: Say, clock: Clock) -> None:
    say(f"{model}: a canary run of {suite}, to accept")
    outcome = run_canaries(RunRequest(model=model, suite=suite, run_id="accepted"), place, clock=clock)
    say(f"{model}: the run is {outcome.manifest.verdict}")
    who = Provenance(by="model-health rehearse", reason="a rehearsal")
    request = BaselineRequest(model, who, suite=suite, replays=1, tolerances=False, promote=True)
    create_baseline(request, place, say=say, clock=clock)


def _judged(one: Candidate, subject: Subject, suite: str, place: Settings, say: Say, clock: Clock) -> Rehearsed:
    loaded: LoadedModel = subject.loaded
    with tempfile.TemporaryDirectory(prefix="model-health-") as name:
        if one.write is not None:
            one.write(subject, Path(name))
        request = CompareRequest(
            baseline=f"{loaded.config.name}/{suite}",
            candidate=None if one.write is None else name,
            purpose=one.purpose,
        )
        result = compare_candidate(request, place, say=say, clock=clock)
    # A temporary folder says nothing to whoever reads the page.
    return row_of(one.name, tuple(map(str, one.right)), {**result, "reason": result["reason"].replace(name, "...")})


@contextmanager
def _aside(settings: Settings, suite: CanarySuite, request: RehearsalRequest) -> Iterator[tuple[Settings, str, str]]:
    """Settings with store, index and configuration of their own, the suite's name in it, and that of the few prompts.

    Raises:
        SuiteError: it has golden text for no more prompts than `few`.
    """
    golden = tuple(prompt for prompt in suite.prompts if prompt.golden is not None)
    if len(golden) < request.few:
        raise SuiteError(
            f"has golden text for {len(golden)} prompts, not {request.few}", subject=f"suite {suite.name!r}"
        )
    made = [_cut(suite, "few", golden[: request.few], passages=False)]
    if request.quick:
        made.append(_cut(suite, "quick", tuple(one for one in golden if _characters(one) <= LONGEST), passages=True))
    with tempfile.TemporaryDirectory(prefix="model-health-") as folder:
        root = Path(folder)
        shutil.copytree(settings.configs_dir, root / "configs")
        for content in made:
            place = root / "configs" / "canaries" / f"{content['name']}.yaml"
            place.write_text(json.dumps(content), encoding="utf-8")
        aside = settings.model_copy(
            update={
                "configs_dir": root / "configs",
                "store_uri": str(root / "store"),
                "index_url": f"sqlite:///{root / 'index.db'}",
            }
        )
        yield aside, made[-1]["name"] if request.quick else suite.name, made[0]["name"]


def _cut(suite: CanarySuite, word: str, prompts: tuple[CanaryPrompt, ...], *, passages: bool) -> dict[str, Any]:
    """A smaller suite as JSON: of these prompts, with short continuations, since golden text is what decides."""
    content: dict[str, Any] = suite.model_dump(mode="json", exclude_unset=True)
    kept = {prompt.id for prompt in prompts}
    content["prompts"] = [
        {**prompt, "max_new_tokens": SHORT_TOKENS} for prompt in content["prompts"] if prompt["id"] in kept
    ]
    if not passages:
        content["golden_passages"] = []
    return {**content, "name": f"{suite.name}-{word}"}


def _characters(prompt: CanaryPrompt) -> int:
    return len(prompt.text or "") + sum(len(message.content) for message in prompt.chat or ())
