"""Made-up self-tests: one a week of each model; the newest of one model missed faults and fails."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from model_health.demo.plan import DemoModel
from model_health.demo.reports import SUITE_IDENTITY
from model_health.selftest.figures import figures
from model_health.selftest.record import record_of
from model_health.selftest.result import Configuration, HarmlessTrial, SelfTest, Trial
from model_health.store.index.self_tests import SelfTestRecord

WEEKS: Final = 12
_KINDS: Final = (
    ("sign bit of one weight", "bit in a weight", True),
    ("exponent bit of one weight", "bit in a weight", True),
    ("NaN in one weight", "non-finite weight", False),
    ("rows of a projection swapped", "shuffled weights", False),
    ("noise on the weights", "noisy weights", False),
    ("layer left out", "skipped layer", False),
    ("activations scaled", "changed forward pass", False),
)
_CONFIGURATIONS: Final[tuple[Configuration, ...]] = ("same", "other")


def self_test_of(model: DemoModel, at: datetime, *, fails: bool) -> SelfTestRecord:
    """A self-test as the library records one, with its figures counted by the library."""
    trials = []
    for layer in range(model.layers):
        for name, kind, subtle in _KINDS:
            for configuration in _CONFIGURATIONS:
                missed = fails and layer >= model.layers - 2 and kind in ("noisy weights", "changed forward pass")
                trials.append(_trial(f"{name}, layer {layer}", kind, configuration, layer, subtle, missed=missed))
    harmless = tuple(
        HarmlessTrial(change, (axis,), answer="equivalent", reason="within ten times the floor", ratio=0.1 + 0.05 * n)
        for n, (change, axis) in enumerate((("one text per batch", "batch"), ("padding on the right", "padding")))
    )
    healthy = tuple(
        HarmlessTrial(f"healthy replay {n}", ("batch",), answer="equivalent", reason="within tolerance", ratio=0.12)
        for n in range(20)
    )
    test = SelfTest(
        model=model.name,
        suite=f"{SUITE_IDENTITY.name} {SUITE_IDENTITY.version}",
        dtype="bfloat16",
        device="cpu",
        machine="synthetic",
        libraries={"torch": "2.13.0"},
        started_at=at.isoformat(),
        seed=0,
        items=12,
        tokens=120,
        golden_clusters=10,
        same="batch 8",
        other="batch 1",
        floors={"logprob": 2e-5},
        trials=tuple(trials),
        harmless=harmless,
        healthy=healthy,
        cpu_seconds=95.0,
        wall_seconds=102.0,
        replay_cpu_seconds=0.4,
        restored=True,
        reduced=True,
    )
    return record_of(test, figures(test))


def _trial(fault: str, kind: str, configuration: Configuration, layer: int, subtle: bool, *, missed: bool) -> Trial:
    place = f"layer.{layer}"
    excused = subtle and configuration == "other"
    if missed or excused:
        why = "smaller than what another configuration changes"
        return Trial(
            fault, kind, configuration, place, single_layer=True, subtle=subtle, answer="equivalent", reason=why,
            missed=why, excused=excused, inert=excused, ratio=0.4,
        )  # fmt: skip
    answer = "broken" if kind == "non-finite weight" else "changed"
    return Trial(
        fault, kind, configuration, place, single_layer=True, subtle=subtle, answer=answer, detected=True,
        attributed=place, placement="right", delay_nights=1, reason=f"begins in layer {layer}", ratio=40.0,
    )  # fmt: skip
