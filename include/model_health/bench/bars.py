"""The bars: what watching may cost at most, and how a measurement stands against each.

A bar is *met* where the whole interval is within it, *not met* where the whole interval is beyond it, and *open* where
the interval lies across: more rounds would tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from model_health.bench.operations import Counted
from model_health.bench.ratios import Estimate, estimate, paired, peak_ratios
from model_health.bench.records import Block, Cell, Clock, How, Kind, Phase
from model_health.bench.results import Results
from model_health.bench.summary import percent

Standing = Literal["met", "open", "not met"]
Fits = Callable[[Cell], bool]


@dataclass(frozen=True)
class Line:
    """One measurement beside its bar, in words."""

    bar: str
    where: str
    measured: str
    standing: Standing
    why: str = ""


@dataclass(frozen=True)
class CellBar:
    """A bar on a ratio to plain generation. `limit` is what may be added: 0.02 is two per cent."""

    text: str
    kind: Kind
    phase: Phase | Literal["memory"]
    limit: float
    fits: Fits
    why: str = ""
    """Where the time goes, should the bar be missed; its figures are in the tables."""


@dataclass(frozen=True)
class ExtraBar:
    """A bar on a number of its own; `scale` turns it into the unit of `limit` and `unit`."""

    text: str
    extra: str
    limit: float
    unit: str
    scale: float = 1.0
    why: str = ""


_ROWS = (
    "The weights of every head's newest row have to be rebuilt, since the backend returns none: a product of queries "
    "and keys, a softmax and three sums over batch x heads x keys in every layer, whatever the model's width. A wider "
    "model has the same rows beside far larger products (the larger model in the table of prices). `standard/4` looks "
    "at layers in every fourth step."
)
_CALLS = (
    "A step of a small model at batch 1 takes some thirty milliseconds, and the probes are called two dozen times in "
    "it: a dozen blocks, a dozen attentions. The profile below is what happens inside them; the rest, about as much, "
    "is the way to them, with caches that the model's weights have just swept. The share falls with the model's size "
    "(the larger model in the table of prices) and with `every` (`standard/4`)."
)
_BASIN = (
    "A basin score per head needs attention over the whole prompt once more, with two columns of values instead of a "
    "head's width, and every state of the prompt is read for its statistics and compared with the next layer's. That "
    "is paid once per prompt; `flags` does without."
)
_LOGITS = (
    "The entropy of a distribution needs an exponential of every logit of every row: at batch 16 that alone is more "
    "than the bar for a model as small as this one (the profile below). At batch 1 it is the hooks on the blocks, "
    "without which a non-finite value would have no layer."
)
CELL_BARS = (
    CellBar("`standard`, decode, batch 16, context from 256: at most 2 %", "standard", "decode", 0.02,
            lambda cell: cell.batch >= 16 and cell.prompt >= 256, _ROWS),
    CellBar("`standard`, decode, batch 16, short context: at most 3 %", "standard", "decode", 0.03,
            lambda cell: cell.batch >= 16 and cell.prompt < 256, _ROWS),
    CellBar("`standard`, decode, batch 1: at most 3 %", "standard", "decode", 0.03, lambda cell: cell.batch == 1,
            _CALLS),
    CellBar("`flags`, decode: at most 1 %", "flags", "decode", 0.01, lambda cell: True, _LOGITS),
    CellBar("`standard`, prefill, 256 tokens: at most 8 %", "standard", "prefill", 0.08,
            lambda cell: cell.prompt == 256, _BASIN),
    CellBar("`standard`, peak memory, 16 x 256: at most 3 %", "standard", "memory", 0.03,
            lambda cell: cell.batch == 16 and cell.prompt == 256),
)  # fmt: skip
EXTRA_BARS = (
    ExtraBar("a suite of 16 prompts x 64 tokens: at most 1.05 x plain", "suite_cpu", 1.05, "x",
             why="It is the sum of watching decode and prefill and of making reports (the bars above and below)."),
    ExtraBar("making and storing reports: at most 2 % of the run", "writing_share", 2.0, "%", 100.0,
             why="A report of 64 tokens and 12 layers holds some three thousand records that are validated one column "
             "at a time, once as they are made and once as a whole: some twenty milliseconds, whatever the model. The "
             "run that it is held against takes a small model some seconds; one of a billion parameters, a minute."),
    ExtraBar("a report of 64 tokens x 12 layers: at most 60 KB", "report_bytes", 60.0, "KB", 1 / 1000),
    ExtraBar("the Dag folder, 1,000 models, beyond Airflow's import: under 0.5 s", "parse_cpu", 0.5, "s"),
    ExtraBar("validation of 1,000 reports: under 10 s", "validate_seconds", 10.0, "s"),
)  # fmt: skip
WAITS_BAR = "no wait for the device in a decode step beyond plain"


def clock_of(cell: Cell) -> Clock:
    """CPU time where one thread does all the work: it does not see what else the machine does. Else wall time."""
    return "cpu" if cell.device == "cpu" and cell.threads == 1 else "wall"


def standing(found: Estimate, limit: float) -> Standing:
    """How an interval lies to its bar."""
    if found.high <= limit:
        return "met"
    return "not met" if found.low > limit else "open"


def cell_lines(results: Results) -> Iterator[Line]:
    """Every cell beside every bar that it is held to. Runs in lockstep count where there are any: they see more."""
    for bar in CELL_BARS:
        for cell, blocks in best(results):
            if bar.fits(cell) and (found := measure(blocks, bar, cell)) is not None:
                where = f"{cell.model}, {cell.shape}"
                yield Line(bar.text, where, percent(found), standing(found, 1 + bar.limit), bar.why)


def measure(blocks: list[Block], bar: CellBar, cell: Cell) -> Estimate | None:
    """The ratio that a bar is about."""
    if bar.phase == "memory":
        return estimate(peak_ratios(blocks, bar.kind))
    return estimate(paired(blocks, bar.kind, bar.phase, clock_of(cell)))


def best(results: Results) -> Iterator[tuple[Cell, list[Block]]]:
    """Each cell with the blocks that it is judged by."""
    done: set[Cell] = set()
    hows: tuple[How, ...] = ("lockstep", "whole")
    for how in hows:
        for (cell, measured_how), blocks in results.cells.items():
            if measured_how == how and cell not in done:
                done.add(cell)
                yield cell, blocks


def extra_lines(results: Results) -> Iterator[Line]:
    """The bars that are not about cells."""
    for bar in EXTRA_BARS:
        found = estimate([value * bar.scale for value in results.values_of(bar.extra)])
        if found is not None:
            measured = f"{found.median:.3g} {bar.unit} [{found.low:.3g}, {found.high:.3g}]"
            yield Line(bar.text, "", measured, standing(found, bar.limit), bar.why)


def wait_lines(counted: Counted) -> Iterator[Line]:
    """Waits are counted, so there is no interval."""
    for case, prices in counted.prices.items():
        for kind, price in prices.items():
            if kind != "plain":
                met: Standing = "met" if price.step_waits <= 0 else "not met"
                yield Line(WAITS_BAR, f"{case}, {kind}", f"{price.step_waits:+g} waits", met)
