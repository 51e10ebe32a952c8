"""What the Fleet page says of each model: one condition, why, and what else is open. Pure: records in, cells out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

import palette
import tables
import wording
from fleet_data import Expected, Pair
from model_health.report.synthetic import is_synthetic
from model_health.store.index.fleet import FleetRow
from model_health.store.index.records import RunStatus
from operations_rows import STUCK_AFTER, shortfalls_of
from wording import Look, State


class Condition(Enum):
    """How a model stands on a suite, worst first: silence before sickness, since nobody knows what it hides."""

    NO_REPORT = Look("no report", "!", palette.BAD)
    FAILING = Look("failing", "✖", palette.BAD)
    UNMEASURED = Look("not measured", "∅", palette.WARN)
    WARNING = Look("warning", "▲", palette.WARN)
    INCONCLUSIVE = Look("inconclusive", "?", palette.UNKNOWN)
    RUNNING = Look("first run", "▶", palette.BLUE)
    HEALTHY = Look("healthy", "✔", palette.GOOD)
    RETIRED = Look("not scheduled", "–", palette.QUIET)

    @property
    def label(self) -> str:
        """Mark and word."""
        return f"{self.value.mark} {self.value.word}"

    @property
    def severity(self) -> int:
        """0 is worst."""
        return list(Condition).index(self)


@dataclass(frozen=True)
class Line:
    """One model on one suite. `row` is None for one that is scheduled and never ran."""

    model: str
    suite: str
    condition: Condition
    why: str
    row: FleetRow | None


ORDERS: Final = ("worst first", "by model", "longest silent first", "newest change first")
NEVER: Final = "never"
LINKED: Final = 5
"""Of the worst models, so many are one click away above the table."""


def lines(rows: Sequence[FleetRow], expected: Expected, now: datetime) -> list[Line]:
    """Every model and suite that ran or should have, worst first."""
    found = [_line(row, expected, now) for row in rows]
    known = {(row.model, row.suite) for row in rows}
    missing: Collection[Pair] = (expected.pairs or frozenset()) - known if rows else ()
    found += [Line(*pair, Condition.NO_REPORT, "scheduled, and never ran", None) for pair in missing]
    return ordered(found, ORDERS[0])


def _line(row: FleetRow, expected: Expected, now: datetime) -> Line:
    condition, why = _condition(row, expected, now)
    return Line(row.model, row.suite, condition, why, row)


def _condition(row: FleetRow, expected: Expected, now: datetime) -> tuple[Condition, str]:
    heard = heard_at(row)
    if heard is None or now - heard > expected.window(row.model, row.suite):
        scheduled = expected.pairs is None or (row.model, row.suite) in expected.pairs or is_synthetic(row.model)
        if not scheduled:
            return Condition.RETIRED, "no enabled model of this name has this suite"
        if heard is not None:
            return Condition.NO_REPORT, f"the last report is {_age(now - heard)} old{_because(row, now)}"
        if row.last_verdict_run is not None or wording.state_of(row.last, now) is State.SILENT:
            return Condition.NO_REPORT, f"there never was a report{_because(row, now)}"
        return Condition.RUNNING, "its first run is under way"
    failing = [state.gate for state in row.alerts if state.standing == "fail"]
    state = wording.state_of(row.last_verdict_run, now) if row.last_verdict_run is not None else None
    if failing or state is State.UNHEALTHY:
        return Condition.FAILING, _parts(_gates(failing), _flags(row) if state is State.UNHEALTHY else "")
    if state is State.COULD_NOT_MEASURE or wording.state_of(row.last, now) is State.SILENT:
        return Condition.UNMEASURED, _because(row, now).removeprefix(": ")
    warning = _parts(
        _gates([state.gate for state in row.alerts if state.standing == "warn"]),
        stuck(row, now) or "",
        "the self-test fell short" if row.self_test is not None and not row.self_test.passed else "",
        "other than its baseline" if row.comparison is not None and row.comparison.outcome in ("warn", "fail") else "",
    )
    if warning:
        return Condition.WARNING, warning
    if state is State.INCONCLUSIVE:
        return Condition.INCONCLUSIVE, row.last_verdict_run.reason or "" if row.last_verdict_run is not None else ""
    return Condition.HEALTHY, ""


def heard_at(row: FleetRow) -> datetime | None:
    """When the newest report was made that counts: of a valid run, or of one that nobody validated."""
    if row.last_valid_at is not None:
        return row.last_valid_at
    newest = row.last_verdict_run
    return newest.ended_at if newest is not None and newest.status is RunStatus.MEASURED else None


def stuck(row: FleetRow, now: datetime) -> str | None:
    """What of its numbers and alerts does not arrive, in words; None where nothing is stuck."""
    waiting = row.waiting
    if waiting.dead:
        return f"{_deliveries(waiting.dead)} given up"
    if waiting.oldest_at is not None and now - waiting.oldest_at > STUCK_AFTER:
        return f"{_deliveries(waiting.pending + waiting.held)} stuck for {_age(now - waiting.oldest_at)}"
    return None


def _deliveries(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count} deliveries"


def ordered(found: Sequence[Line], order: str) -> list[Line]:
    """Lines in one of `ORDERS`."""
    long_ago = datetime.min.replace(tzinfo=UTC)

    def heard(line: Line) -> datetime:
        return (heard_at(line.row) if line.row is not None else None) or long_ago

    def changed(line: Line) -> datetime:
        return (line.row.changed_at if line.row is not None else None) or long_ago

    by_name = sorted(found, key=lambda line: (line.model, line.suite))
    if order == "by model":
        return by_name
    if order == "longest silent first":
        return sorted(by_name, key=heard)
    if order == "newest change first":
        return sorted(by_name, key=changed, reverse=True)
    return sorted(by_name, key=lambda line: (line.condition.severity, heard(line)))


def matching(found: Sequence[Line], text: str, conditions: Collection[str]) -> list[Line]:
    """The lines that hold every word of a text, in any column, and have one of the conditions (none: all)."""
    words = text.casefold().split()

    def fits(line: Line) -> bool:
        gates = [state.gate for state in line.row.alerts] if line.row is not None else []
        hay = " ".join([line.model, line.suite, line.condition.value.word, line.why, *gates]).casefold()
        return all(word in hay for word in words)

    return [line for line in found if fits(line) and (not conditions or line.condition.value.word in conditions)]


def headline(found: Sequence[Line]) -> tuple[str, Condition]:
    """The first line of the page: what is worst and whom it concerns, or that all is well."""
    watched = [line for line in found if line.condition is not Condition.RETIRED]
    if not watched:
        return "Nothing is scheduled any more.", Condition.INCONCLUSIVE
    worst = min((line.condition for line in watched), key=lambda condition: condition.severity)
    concerned = [line for line in watched if line.condition is worst]
    if worst is Condition.HEALTHY:
        return f"All {len(watched)} are healthy, and every one was heard of in its window.", worst
    named = "; ".join(
        f"{line.model} on {line.suite} ({line.why})" if line.why else line.model for line in concerned[:3]
    )
    more = f", and {len(concerned) - 3} more" if len(concerned) > 3 else ""
    return f"{worst.value.word.capitalize()}: {len(concerned)} of {len(watched)}. {named}{more}.", worst


def counts(found: Sequence[Line]) -> dict[Condition, int]:
    """How many have each condition, worst first; those that none has are left out."""
    return {
        condition: count for condition in Condition if (count := sum(line.condition is condition for line in found))
    }


def rows(found: Sequence[Line], now: datetime, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """The table, in the order given. Sparklines are lists of daily means; None: nothing to draw."""
    return [_cells(line, now, metrics) for line in found]


def _cells(line: Line, now: datetime, metrics: Sequence[str]) -> dict[str, Any]:
    row = line.row
    cells: dict[str, Any] = {
        "State": line.condition.label,
        "Model": line.model,
        "Suite": line.suite,
        "Why": line.why or None,
        "Last report": None if row is None else _ago(heard_at(row), now),
    }
    for metric in metrics:
        points = () if row is None else row.sparklines.get(metric, ())
        drawn = [point.mean for point in points if point.mean is not None]
        cells[tables.heading(metric)] = drawn or None
    return cells | {
        "Verdict since": None if row is None else _change(row, now),
        "Open alerts": [] if row is None else [f"{_MARKS.get(s.standing, '?')} {s.gate}" for s in row.alerts],
        "Not delivered": None if row is None else _waiting(row, now),
        "Self-test": None if row is None else _self_test(row, now),
        "Baseline": None if row is None or row.comparison is None else _baseline(row),
    }


_MARKS: Final[Mapping[str, str]] = {"fail": "✖", "warn": "▲", "pass": "✔", "inconclusive": "?"}


def _ago(moment: datetime | None, now: datetime) -> str:
    return NEVER if moment is None else f"{_age(now - moment)} ago"


def _age(length: timedelta) -> str:
    """A length of time without seconds, which nobody reads where there are minutes."""
    return wording.span(length - length % timedelta(minutes=1)) if length >= timedelta(minutes=1) else "moments"


def _change(row: FleetRow, now: datetime) -> str | None:
    if row.changed_at is None:
        return None
    since = _age(now - row.changed_at)
    before = row.previous_verdict
    return f"{since}, never another" if before is None else f"{since}, was {before.replace('_', ' ')}"


def _waiting(row: FleetRow, now: datetime) -> str | None:
    if said := stuck(row, now):
        return f"▲ {said}"
    count = row.waiting.pending + row.waiting.held
    return f"… {count} wait" if count else None


def _self_test(row: FleetRow, now: datetime) -> str | None:
    test = row.self_test
    if test is None:
        return None
    short = shortfalls_of(test.figures)
    said = "✔ passed" if test.passed else f"✖ {short[0] if short else 'fell short'}"
    return f"{said}, {_age(now - test.started_at)} ago"


def _baseline(row: FleetRow) -> str:
    assert row.comparison is not None
    where = f" at {row.comparison.state}" if row.comparison.state else ""
    return f"{_MARKS.get(row.comparison.outcome, '?')} {row.comparison.answer.replace('_', ' ')}{where}"


def _because(row: FleetRow, now: datetime) -> str:
    why = wording.why(row.last, now)
    return f": {why}" if why else ""


def _gates(names: Sequence[str]) -> str:
    return f"{'gate' if len(names) == 1 else 'gates'} {', '.join(sorted(names))}" if names else ""


def _flags(row: FleetRow) -> str:
    assert row.last_verdict_run is not None
    return ", ".join(wording.raised(row.last_verdict_run.unhealthy_flags))


def _parts(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
