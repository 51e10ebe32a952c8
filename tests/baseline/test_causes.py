"""The decision table over replaying again."""

from __future__ import annotations

from itertools import product

import pytest

from model_health.baseline.causes import Again, Cause, Replays, attribute

GPU = {"differs": True, "device_kind": "cuda"}


@pytest.mark.parametrize(
    ("seen", "cause", "do_next"),
    [
        (Replays(differs=False), Cause.NOTHING, None),
        (Replays(**GPU), Cause.UNDECIDED, "replay_again"),
        (Replays(**GPU, again="agrees"), Cause.TRANSIENT, None),
        (Replays(**GPU, again="same"), Cause.UNDECIDED, "replay_on_cpu"),
        (Replays(**GPU, again="other"), Cause.UNDECIDED, "replay_on_cpu"),
        (Replays(**GPU, again="same", elsewhere="agrees"), Cause.DEVICE, None),
        (Replays(**GPU, again="other", elsewhere="agrees"), Cause.DEVICE, None),
        (Replays(**GPU, again="same", elsewhere="other"), Cause.SOFTWARE_OR_WEIGHTS, None),
        (Replays(**GPU, again="same", elsewhere="other", software_differs=True), Cause.SOFTWARE, None),
        (Replays(**GPU, weights_differ=True), Cause.WEIGHTS, None),
        (
            Replays(**GPU, again="same", elsewhere="other", weights_differ=True, software_differs=True),
            Cause.SOFTWARE_OR_WEIGHTS,
            None,
        ),
        (Replays(differs=True, again="same"), Cause.SOFTWARE_OR_WEIGHTS, None),
        (Replays(differs=True, again="other"), Cause.DEVICE, None),
        (Replays(differs=True, again="agrees"), Cause.TRANSIENT, None),
    ],
)
def test_the_table(seen: Replays, cause: Cause, do_next: str | None) -> None:
    found = attribute(seen)
    assert (found.cause, found.do_next) == (cause, do_next)
    assert found.reason


def test_every_combination_has_a_cause_and_only_an_undecided_one_asks_for_more() -> None:
    replays: tuple[Again, ...] = (None, "agrees", "same", "other")
    for differs, again, elsewhere, kind, weights, software in product(
        (False, True), replays, replays, ("cpu", "cuda"), (False, True), (False, True)
    ):
        found = attribute(Replays(differs, again, elsewhere, kind, weights, software))
        assert (found.do_next is not None) == (found.cause is Cause.UNDECIDED)
        if found.cause is Cause.DEVICE and kind == "cuda":
            assert elsewhere == "agrees"
        if not differs:
            assert found.cause is Cause.NOTHING
