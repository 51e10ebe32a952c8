"""The catalogue: which faults a self-test puts into a model, and into which of its blocks.

A new fault is one small class and one line here. Blocks are drawn from the seed, one from each part of the depth, so
that the first, the middle and the last are all struck.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from model_health.selftest.fault import Fault
from model_health.selftest.faults_bits import BITS, ActivationBit, BadWeight, WeightBit
from model_health.selftest.faults_forward import DoubleTemperature, ShiftedPositions, WrongMask, WrongRotaryBase
from model_health.selftest.faults_layers import BrokenShard, ScaledLayer, SwappedLayers, ZeroedHead, ZeroedMlp
from model_health.selftest.faults_model import OtherRevision, RoundTrip, TrainingStep, WrongDtype
from model_health.selftest.faults_text import StaleTokenizer, TextFault, WrongTemplate
from model_health.selftest.generation import PERIODS, ForcedLoop
from model_health.selftest.subject import Subject

FACTORS = (0.5, 1.5, 2.0, 10.0)


def replay_faults(subject: Subject, *, reduced: bool = False) -> tuple[Fault, ...]:
    """Every fault that replay is to see; `reduced`: each in as few blocks as possible."""
    few = _layers(subject, "few", 1 if reduced else 2)
    some = _layers(subject, "some", 1 if reduced else 3)
    many = _layers(subject, "many", 2 if reduced else 5)
    return (
        *(BadWeight(layer, value) for value in (float("nan"), float("inf")) for layer in few),
        *(WeightBit(layer, bit) for bit in BITS for layer in many),
        *(ActivationBit(layer, bit) for bit in BITS for layer in few),
        *(ScaledLayer(layer, factor) for factor in FACTORS for layer in few),
        *(ZeroedHead(layer) for layer in some),
        *(ZeroedMlp(layer) for layer in some),
        *(SwappedLayers(layer, layer + 1) for layer in some if layer + 1 < subject.layers),
        *(BrokenShard(layer, how) for how in ("truncated", "duplicated") for layer in some),
        RoundTrip(bits=8),
        RoundTrip(bits=4),
        WrongDtype(),
        WrongRotaryBase(),
        ShiftedPositions(how="all"),
        ShiftedPositions(how="second half"),
        WrongMask(how="missing"),
        WrongMask(how="hides the first token"),
        DoubleTemperature(),
        TrainingStep(),
        OtherRevision(),
    )


def text_faults() -> tuple[TextFault, ...]:
    """Every fault that the key is to see."""
    return StaleTokenizer(), WrongTemplate()


def loop_faults() -> tuple[ForcedLoop, ...]:
    """Every fault that generation is to see."""
    return tuple(ForcedLoop(period=period) for period in PERIODS)


def wanted(name: str, kind: str, only: Sequence[str]) -> bool:
    """Whether a fault is asked for: all are where `only` is empty."""
    return not only or any(part.lower() in f"{name} {kind}".lower() for part in only)


def _layers(subject: Subject, name: str, count: int) -> list[int]:
    """`count` blocks (fewer in a shallow model), one from each part of the depth."""
    count = min(count, subject.layers)
    edges = [round(part * subject.layers / count) for part in range(count + 1)]
    return [low + subject.draw(f"{name} {low}", high - low) for low, high in pairwise(edges)]
