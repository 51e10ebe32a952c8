"""The table of runs, a page at a time: only the runs that are shown are read."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, String, case, cast, func, select

from model_health.report.manifest import Verdict
from model_health.store.index.queries import run_record
from model_health.store.index.records import RunRecord
from model_health.store.index.selection import Selection, chosen, run_conditions, time_conditions
from model_health.store.index.tables import runs, samples
from model_health.store.index.validation import validity_of


@dataclass(frozen=True)
class RunRow:
    """A run as a table shows it.

    `prompts` and `unhealthy` count samples, 0 for a run that measured none; `valid` is None where its reports were not
    validated.
    """

    record: RunRecord
    prompts: int
    unhealthy: int
    valid: bool | None


@dataclass(frozen=True)
class RunPage:
    """Some of the runs that match, newest first, and how many match in all."""

    rows: tuple[RunRow, ...]
    total: int


def run_page(
    connection: Connection, where: Selection, *, verdict: Verdict | None = None, size: int = 50, page: int = 0
) -> RunPage:
    """A page of the runs of a selection.

    Args:
        connection: to read from.
        where: whose runs, and which.
        verdict: only runs with it; None: all, also those without any.
        size: runs on a page.
        page: from 0; one beyond the last has no rows.
    """
    conditions: list[ColumnElement[bool]] = [
        *run_conditions(where, chosen(connection, where)),
        *time_conditions(where, runs.c.started_at),
    ]
    if verdict is not None:
        conditions.append(runs.c.verdict == verdict)
    total = connection.execute(select(func.count()).select_from(runs).where(*conditions)).scalar_one()
    newest = (runs.c.started_at.desc(), runs.c.id.desc())
    # Only the keys are sorted and skipped; the rows themselves are wide.
    shown = select(runs.c.id).where(*conditions).order_by(*newest).limit(size).offset(page * size).subquery("shown")
    found = connection.execute(select(runs).join(shown, shown.c.id == runs.c.id).order_by(*newest)).all()
    sick = func.sum(case((cast(samples.c.unhealthy_flags, String) != "[]", 1), else_=0))
    counts = select(samples.c.run_id, func.count().label("prompts"), sick.label("sick"))
    of_page = counts.where(samples.c.run_id.in_([row.id for row in found])).group_by(samples.c.run_id)
    known = {row.run_id: (int(row.prompts), int(row.sick)) for row in connection.execute(of_page)}
    valid = validity_of(connection, [row.run_key for row in found])
    rows = tuple(RunRow(run_record(row), *known.get(row.id, (0, 0)), valid=valid.get(row.run_key)) for row in found)
    return RunPage(rows, int(total))
