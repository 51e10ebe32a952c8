"""Who runs in the made-up year, and what goes wrong when. Owns the incidents; days count from the first night.

An effect is a factor on numbers that a healthy night would show, or a fault of the forward pass. Everything about a
night follows from the model, the day and the length of the year.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from model_health.report.synthetic import PREFIX

SILENT_NIGHTS: Final = 9
"""For how long the model that went silent has not reported."""
FEWEST_NIGHTS: Final = 30
"""A shorter year has no room for its incidents."""


@dataclass(frozen=True)
class Effect:
    """What a night adds to a healthy one.

    Args:
        entropy, attention, norm, latency: factors on the values of that kind.
        loops: how many of the prompts loop.
        nan_layer: the block from which on values are NaN, in every prompt; None in healthy arithmetic.
        incident: whether the reports of the night are kept, because somebody will want to see them.
    """

    entropy: float = 1.0
    attention: float = 1.0
    norm: float = 1.0
    latency: float = 1.0
    loops: int = 0
    nan_layer: int | None = None
    incident: bool = False


@dataclass(frozen=True)
class Setup:
    """On what a model runs at a time: revision, libraries, device."""

    revision: int = 1
    torch: str = "2.12.1"
    transformers: str = "5.19.0"
    device: str = "cpu"
    device_name: str = "a processor of 16 cores"


UPGRADED: Final = Setup(torch="2.13.0", transformers="5.23.0")


@dataclass(frozen=True)
class DemoModel:
    """One made-up model.

    Args:
        name: begins with the mark of what was made up.
        layers, heads, hidden, parameters: its size.
        entropy: level of its entropy, in bits. per_token: seconds.
        effect: of (day, days). setup: of (day, days), told from the usual one.
        ends: nights before the last one on which it went silent; None while it reports.
        fails: why a night could not be measured, by (day, days).
        drifts: whether its entropy drifts; loops: whether it falls into loops for a while; spoils: whether a report of
            its first night on another device is not the one that the manifest names.
    """

    name: str
    layers: int
    heads: int
    hidden: int
    parameters: int
    entropy: float
    per_token: float
    story: str
    effect: Callable[[int, int], Effect] = field(default=lambda day, days: Effect())
    setup: Callable[[int, int], Setup] = field(default=lambda day, days: _upgraded(day, days))
    ends: int = 0
    fails: Callable[[int, int], str | None] = field(default=lambda day, days: None)
    drifts: bool = False
    loops: bool = False
    spoils: bool = False


def upgrade_day(days: int) -> int:
    """The night on which the libraries were upgraded; the baselines were promoted on the one after."""
    return days * 3 // 5


def device_day(days: int) -> int:
    """The night on which one model moved to another device."""
    return days * 2 // 5


def loop_days(days: int) -> range:
    """The nights on which one model looped."""
    first = days * 7 // 10
    return range(first, first + max(3, days // 40))


def drift_of(day: int, days: int) -> float:
    """How far one model's entropy has drifted: nothing for half of the year, then a little more every night."""
    begin = days // 2
    return 1.0 + 0.75 * max(0, day - begin) / (days - begin)


def _upgraded(day: int, days: int) -> Setup:
    return UPGRADED if day >= upgrade_day(days) else Setup()


def _after_upgrade(day: int, days: int) -> Effect:
    return Effect(attention=1.03, norm=1.02) if day >= upgrade_day(days) else Effect()


def _loops(day: int, days: int) -> Effect:
    usual = _after_upgrade(day, days)
    return replace(usual, loops=3, incident=True) if day in loop_days(days) else usual


def _drifts(day: int, days: int) -> Effect:
    return replace(_after_upgrade(day, days), entropy=drift_of(day, days))


def _breaks(day: int, days: int) -> Effect:
    usual = _after_upgrade(day, days)
    return replace(usual, nan_layer=4, incident=True) if day >= days - 2 else usual


def _revised(day: int, days: int) -> Setup:
    return replace(_upgraded(day, days), revision=2) if day >= days - 2 else _upgraded(day, days)


def _moves(day: int, days: int) -> Effect:
    usual = _after_upgrade(day, days)
    return replace(usual, latency=0.3) if day >= device_day(days) else usual


def _moved(day: int, days: int) -> Setup:
    usual = _upgraded(day, days)
    moved = day >= device_day(days)
    return replace(usual, device="cuda", device_name="an accelerator of 80 GB") if moved else usual


def _memory(day: int, days: int) -> str | None:
    if day in (device_day(days) - 2, device_day(days) - 1):
        return "could not measure: the process was killed for its memory (peak 63.2 GiB of 64)"
    return None


MODELS: Final = (
    DemoModel(
        f"{PREFIX}atlas-7b", 8, 8, 512, 7_000_000_000, 1.6, 0.052,
        "healthy all year; its libraries were upgraded and a new baseline promoted", _after_upgrade,
    ),
    DemoModel(
        f"{PREFIX}birch-3b", 7, 8, 384, 3_000_000_000, 1.9, 0.031,
        "fell into loops for some nights, and recovered", _loops, loops=True,
    ),
    DemoModel(
        f"{PREFIX}cedar-1b", 6, 4, 256, 1_000_000_000, 2.4, 0.014,
        "grows less sure of itself night by night, and its last self-test failed", _drifts, drifts=True,
    ),
    DemoModel(
        f"{PREFIX}delta-moe", 8, 8, 512, 12_000_000_000, 1.7, 0.044,
        "a new revision makes NaN in layer 4 since yesterday", _breaks, _revised,
    ),
    DemoModel(
        f"{PREFIX}elm-400m", 6, 4, 256, 400_000_000, 2.1, 0.022,
        "ran out of memory twice, then moved to another device, where its first run was invalid",
        _moves, _moved, 0, _memory, spoils=True,
    ),
    DemoModel(
        f"{PREFIX}fir-2b", 7, 8, 384, 2_000_000_000, 1.8, 0.027,
        "stopped reporting: its last run died without a word", _after_upgrade, ends=SILENT_NIGHTS,
    ),
)  # fmt: skip
