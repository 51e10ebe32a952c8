"""A cell's result as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model_health.bench.ratios import Estimate, estimate, paired, peak_ratios, probe_share, seconds
from model_health.bench.records import WATCHED, Block, Clock, Kind, Phase

PHASES: tuple[Phase, ...] = ("decode", "prefill", "total")
CLOCKS: tuple[Clock, ...] = ("cpu", "wall")


def percent(found: Estimate | None) -> str:
    """A ratio as what it adds to plain, in per cent, with its interval."""
    if found is None:
        return "not measured"
    return f"{100 * (found.median - 1):+.1f} % [{100 * (found.low - 1):+.1f}, {100 * (found.high - 1):+.1f}]"


def kinds_of(blocks: Sequence[Block]) -> list[Kind]:
    """The kinds that ran besides plain, in their usual order."""
    present = {run.kind for block in blocks for run in block.runs}
    order: tuple[Kind, ...] = ("again", *WATCHED)
    return [kind for kind in order if kind in present]


def lines_of(blocks: Sequence[Block]) -> Iterator[str]:
    """One cell: what plain takes, then what each kind adds."""
    cell, rounds = blocks[0].cell, sum(run.kind == "plain" for block in blocks for run in block.runs)
    yield f"{cell.model}, {cell.shape}: {rounds} rounds"
    taken = {phase: estimate(seconds(blocks, "plain", phase, "cpu")) for phase in PHASES}
    yield "  plain: " + ", ".join(f"{phase} {found.median:.3f} s CPU" for phase, found in taken.items() if found)
    for kind in kinds_of(blocks):
        for clock in CLOCKS:
            added = ", ".join(f"{phase} {percent(estimate(paired(blocks, kind, phase, clock)))}" for phase in PHASES)
            yield f"  {kind} ({clock}): {added}"
        shares = estimate([1 + share for share in probe_share(blocks, kind)])
        if shares is not None:
            yield f"  {kind} (timed inside the probes, of generate): {percent(shares)}"
        memory = estimate(peak_ratios(blocks, kind))
        if memory is not None:
            yield f"  {kind} (peak memory): {percent(memory)}"


def risen(earlier: Block, later: Block) -> Iterator[str]:
    """Where watching costs more than it did, beyond the noise of both: their intervals do not touch.

    It informs and fails nothing: a shared machine has its hours. Counted operations are what a build is held to.
    """
    if (earlier.cell, earlier.machine, earlier.how) != (later.cell, later.machine, later.how):
        yield "  not held against the earlier result: it is of another cell, another machine or measured another way"
        return
    rises = 0
    for kind in kinds_of([later]):
        for phase in PHASES:
            before, now = (estimate(paired([block], kind, phase, "cpu")) for block in (earlier, later))
            if kind != "again" and before is not None and now is not None and now.low > before.high:
                rises += 1
                yield f"  {kind}, {phase} (cpu): {percent(now)} now, {percent(before)} on {earlier.made_at}: it rose"
    if not rises:
        yield f"  nothing rose by more than its noise since {earlier.made_at}"
