"""The operation metrics of the catalogue and what is emitted are the same list, both ways."""

from __future__ import annotations

from datetime import timedelta

import pytest

from model_health.catalog.loader import catalogue
from model_health.delivery.operation_samples import (
    GATE_VALUES,
    OPERATION_METRICS,
    comparison_sample,
    gate_samples,
    look_sample,
    outbox_samples,
    self_test_sample,
    validation_samples,
)
from model_health.gates.result import GateVerdict
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext
from model_health.sinks.payload import decode, encode
from model_health.store.index.outbox_status import STATES, TargetCounts
from support.outbox import NOON

HOUR = timedelta(hours=1)
COUNTS = TargetCounts("prometheus", {**dict.fromkeys(STATES, 0), "pending": 2, "delivering": 1, "dead": 4}, NOON, 7)


def everything() -> list[Sample]:
    return [
        *validation_samples("m", "s", valid=True, at=NOON, last_valid_at=NOON),
        comparison_sample("m", "s", NOON, NOON + HOUR),
        self_test_sample("m", "s", NOON, NOON + HOUR),
        look_sample(NOON),
        *gate_samples("m", "s", {"loops": "fail"}, NOON),
        *outbox_samples([COUNTS], NOON + HOUR),
    ]


def test_the_catalogue_and_what_is_emitted_are_the_same_both_ways() -> None:
    known = [metric.name for metric in catalogue().of_scope("operation")]
    assert sorted(known) == sorted(OPERATION_METRICS)
    assert sorted(sample.metric for sample in everything()) == sorted(known)


def test_labels_are_those_that_the_catalogue_names() -> None:
    for sample in everything():
        assert sorted(sample.labels) == sorted(catalogue()[sample.metric].labels)


def test_they_can_wait_in_an_outbox_and_leave() -> None:
    assert decode(encode(everything(), PublishContext("r")))[0] == everything()


def test_an_outbox_is_told_by_target() -> None:
    values = {sample.metric: sample.value for sample in outbox_samples([COUNTS], NOON + HOUR)}
    assert values == {
        "outbox_pending": 3,
        "outbox_oldest_pending_seconds": 3600,
        "outbox_dead": 4,
        "notifications_failed": 7,
    }
    assert outbox_samples([], NOON) == []


def test_an_empty_queue_has_no_age_and_a_clock_set_back_makes_no_negative_one() -> None:
    idle = TargetCounts("local", dict.fromkeys(STATES, 0), None)
    for counts, now in ((idle, NOON), (COUNTS, NOON - HOUR)):
        ages = [s.value for s in outbox_samples([counts], now) if s.metric == "outbox_oldest_pending_seconds"]
        assert ages == [0.0]


def test_an_invalid_run_says_so_and_does_not_move_the_time_of_the_last_valid_one() -> None:
    invalid, last = validation_samples("m", "s", valid=False, at=NOON, last_valid_at=NOON - HOUR)
    assert invalid.value == 1
    assert last.value == (NOON - HOUR).timestamp()
    never = validation_samples("m", "s", valid=False, at=NOON, last_valid_at=None)[1]
    assert (never.value, never.reason) == (None, "no run was valid yet")
    assert validation_samples("m", "s", valid=True, at=NOON, last_valid_at=NOON)[0].value == 0


def test_every_verdict_of_a_gate_has_a_value_within_the_catalogues_bounds() -> None:
    assert set(GATE_VALUES) == {str(verdict) for verdict in GateVerdict}
    bounds = catalogue()["gate_verdict"]
    assert (bounds.minimum, bounds.maximum) == (min(GATE_VALUES.values()), max(GATE_VALUES.values()))


@pytest.mark.parametrize(("verdict", "value"), [("pass", 0), ("warn", 1), ("fail", 2), ("inconclusive", -1)])
def test_a_gates_verdict_is_a_number(verdict: str, value: float) -> None:
    [sample] = gate_samples("m", "s", {"g": verdict}, NOON)
    assert (sample.value, sample.labels["gate"]) == (value, "g")


def test_a_moment_is_when_the_thing_was_done_and_is_told_as_of_now() -> None:
    for made in (comparison_sample, self_test_sample):
        sample = made("m", "s", NOON, NOON + HOUR)
        assert (sample.value, sample.timestamp) == (NOON.timestamp(), NOON + HOUR)
    assert look_sample(NOON).value == NOON.timestamp()
