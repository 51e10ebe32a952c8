"""A baseline made in a child: what its ends mean, and what is said of what it would replace."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from model_health.baseline.artefact import pack
from model_health.baseline.registry import promote_named
from model_health.baseline.store import BaselineStore
from model_health.config.settings import Settings
from model_health.errors import BadInput, ChildFailed
from model_health.runner.supervise import StopSignal
from model_health.runner.supervise_baseline import make_baseline
from support.projects import configured, model, suite
from support.regressions import ME
from support.replays import facts, made_up, made_up_item

CHILD = """#!/bin/sh
if [ "$1" = "-I" ]; then exec {python} "$@"; fi
{body}
"""
LEAVE = """while [ "$1" != "--result-file" ]; do shift; done
echo "at work" >&2
printf '%s' '{row}' > "$2"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = configured(tmp_path, models=[model("tiny", "w")], suites=[suite()])
    return found.model_copy(update={"python": tmp_path / "child"})


def child(settings: Settings, body: str) -> None:
    path = settings.home / "child"
    path.write_text(CHILD.format(python=sys.executable, body=body))
    path.chmod(0o755)


def written(settings: Settings, seed: int = 0) -> str:
    item = made_up_item(seed=seed)
    packed = pack(made_up(item), facts())
    BaselineStore.open(settings.store_uri).write("tiny", "smoke", packed)
    return f"tiny/smoke/{packed.baseline_id}"


def test_the_first_baseline_replaces_nothing(settings: Settings) -> None:
    name = written(settings)
    child(settings, LEAVE.format(row=json.dumps({"baseline": name, "reproducible": True})))
    said: list[str] = []
    made = make_baseline("tiny", None, ME, on_line=said.append, settings=settings)
    assert (made.baseline, made.replaces, made.reproducible) == (name, None, True)
    assert made.says == "It would be the first baseline that counts."
    assert said == ["at work"]


def test_what_would_be_replaced_and_what_differs_is_said(settings: Settings) -> None:
    promote_named(settings.store_uri, written(settings), ME)
    child(settings, LEAVE.format(row=json.dumps({"baseline": written(settings, 1), "reproducible": None})))
    made = make_baseline("tiny", "smoke", ME, settings=settings)
    assert made.replaces is not None
    assert made.says.startswith(f"It would replace {made.replaces[:12]}; they differ in ")
    assert len(json.dumps(made.summary())) < 4096


def test_bad_input_of_the_child_is_bad_input(settings: Settings) -> None:
    child(settings, "echo '0 healthy runs' >&2; exit 2")
    with pytest.raises(BadInput, match="0 healthy runs"):
        make_baseline("tiny", None, ME, settings=settings)


@pytest.mark.parametrize("body", ["exit 3", "exit 0", "kill -9 $$"])
def test_a_child_that_leaves_no_result_failed(settings: Settings, body: str) -> None:
    child(settings, body)
    with pytest.raises(ChildFailed, match="ended with status"):
        make_baseline("tiny", None, ME, settings=settings)


def test_a_child_that_is_told_to_stop_stops(settings: Settings) -> None:
    child(settings, "exec sleep 60")
    stop = StopSignal()
    stop.request("by a test")
    with pytest.raises(ChildFailed, match="by a test"):
        make_baseline("tiny", None, ME, stop=stop, settings=settings)


def test_an_unknown_model_starts_no_child(settings: Settings) -> None:
    with pytest.raises(BadInput, match="nobody"):
        make_baseline("nobody", None, ME, settings=settings)
