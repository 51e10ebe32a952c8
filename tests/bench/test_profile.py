"""Where a watched decode step's time goes: every event is timed, and only where a call is over when it returns."""

from __future__ import annotations

import pytest

from model_health.bench.profile import EVENTS, profile
from model_health.bench.records import Cell
from model_health.errors import BadInput

TINY = Cell(model="llama-tiny", batch=2, prompt=8, new_tokens=40)


def test_every_event_has_a_share_of_a_plain_step_per_round() -> None:
    shares = profile(TINY, "standard", 2)
    assert list(shares) == list(EVENTS)
    assert all(len(values) == 2 and min(values) > 0 for values in shares.values())


def test_what_a_preset_leaves_out_takes_no_time() -> None:
    shares = profile(TINY, "flags", 1)
    assert shares["attention"] == [0.0]
    assert shares["hidden"] > [0.0]


@pytest.mark.parametrize(("cell", "kind"), [(TINY, "plain"), (TINY.model_copy(update={"device": "cuda"}), "standard")])
def test_a_profile_is_of_watched_runs_on_a_cpu(cell: Cell, kind: str) -> None:
    with pytest.raises(BadInput, match="watched runs on a CPU"):
        profile(cell, kind, 1)  # type: ignore[arg-type]
