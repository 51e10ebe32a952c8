"""Every model and suite that has a run, found by leaping through an index, and the newest run of each by one step.

Reading the whole of `runs` for some twenty pairs takes longer than a page may.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import CTE, ColumnElement, FromClause, ScalarSelect, Select, and_, func, select

from model_health.store.index.records import RunStatus
from model_health.store.index.tables import runs
from model_health.store.index.tables_validation import validations

Condition = Callable[[FromClause], ColumnElement[bool]]
"""What is asked of a run, by the table or alias that it is looked up in."""


def all_pairs() -> CTE:
    """(model, suite) of every run, once each, as something to select from."""
    others = runs.alias("others")
    models = select(func.min(runs.c.model).label("model")).cte("models", recursive=True)
    next_model = select(func.min(others.c.model)).where(others.c.model > models.c.model).correlate(models)
    models = models.union_all(select(next_model.scalar_subquery()).where(models.c.model.is_not(None)))
    first = select(func.min(others.c.suite)).where(others.c.model == models.c.model).correlate(models)
    pairs = (
        select(models.c.model.label("model"), first.scalar_subquery().label("suite"))
        .where(models.c.model.is_not(None))
        .cte("every_pair", recursive=True)
    )
    later = and_(others.c.model == pairs.c.model, others.c.suite > pairs.c.suite)
    next_suite = select(func.min(others.c.suite)).where(later).correlate(pairs)
    pairs = pairs.union_all(select(pairs.c.model, next_suite.scalar_subquery()).where(pairs.c.suite.is_not(None)))
    return select(pairs.c.model, pairs.c.suite).where(pairs.c.suite.is_not(None)).cte("pairs")


def newest_run(pairs: CTE, *conditions: Condition) -> ScalarSelect[int]:
    """The row id of the newest run of each pair that meets the conditions; null where none does."""
    older = runs.alias("older")
    newest = select(func.max(older.c.started_at)).where(_of(pairs, older), *(one(older) for one in conditions))
    # By its time first, which stands in an index of its pair: a model that went silent is found as quickly as another.
    found = select(func.max(runs.c.id)).where(
        _of(pairs, runs),
        runs.c.started_at == newest.correlate(pairs).scalar_subquery(),
        *(one(runs) for one in conditions),
    )
    return found.correlate(pairs).scalar_subquery()


def newest_valid_run(pairs: CTE) -> ScalarSelect[int]:
    """The row id of the newest measured run of each pair whose reports were found valid; null where there is none."""
    newer = runs.alias("newer")
    last = select(func.max(newer.c.started_at)).where(_of(pairs, newer)).correlate(pairs).scalar_subquery()
    # Looked up run by run from the newest on, instead of joined: as good as always the first one is it.
    valid = select(validations.c.valid).where(validations.c.run_id == runs.c.id).correlate(runs).scalar_subquery()
    measured = runs.c.status == RunStatus.MEASURED.value
    found = select(runs.c.id).where(_of(pairs, runs), runs.c.started_at <= last, measured, valid.is_(True))
    newest_first = found.order_by(runs.c.started_at.desc(), runs.c.id.desc())
    return newest_first.limit(1).correlate(pairs).scalar_subquery()


def total_runs(pairs: CTE) -> ScalarSelect[int]:
    """How many runs each pair has."""
    return select(func.count()).select_from(runs).where(_of(pairs, runs)).correlate(pairs).scalar_subquery()


def select_newest() -> Select[Any]:
    """The row id of the newest run of every pair, and how many runs it has."""
    pairs = all_pairs()
    columns: list[Any] = [newest_run(pairs).label("run_id"), total_runs(pairs).label("total")]
    return select(*columns).select_from(pairs)


def _of(pairs: CTE, table: FromClause) -> ColumnElement[bool]:
    return and_(table.c.model == pairs.c.model, table.c.suite == pairs.c.suite)
