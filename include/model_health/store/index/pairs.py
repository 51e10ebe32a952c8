"""Every model and suite that has a run, found by leaping through an index, and the newest run of each by one step.

Reading the whole of `runs` for some twenty pairs takes longer than a page may.
"""

from __future__ import annotations

from sqlalchemy import CTE, ColumnElement, Integer, ScalarSelect, Select, and_, func, select

from model_health.store.index.tables import runs


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


def newest_run(pairs: CTE, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """The row id of the newest run of each pair that meets the conditions; null where none does."""
    return (
        select(runs.c.id)
        .where(runs.c.model == pairs.c.model, runs.c.suite == pairs.c.suite, *conditions)
        .order_by(runs.c.started_at.desc(), runs.c.id.desc())
        .limit(1)
        .correlate(pairs)
        .scalar_subquery()
    )


def total_runs(pairs: CTE) -> ScalarSelect[int]:
    """How many runs each pair has."""
    mine = and_(runs.c.model == pairs.c.model, runs.c.suite == pairs.c.suite)
    return select(func.count()).select_from(runs).where(mine).correlate(pairs).scalar_subquery()


def select_models() -> Select[tuple[int]]:
    """The newest run of every pair, with `total`, in the order of models and suites."""
    pairs = all_pairs()
    newest = select(
        pairs.c.model, pairs.c.suite, newest_run(pairs).label("run_id"), total_runs(pairs).label("total")
    ).subquery("newest")
    return (
        select(runs, newest.c.total.cast(Integer).label("total"))
        .join(newest, newest.c.run_id == runs.c.id)
        .order_by(runs.c.model, runs.c.suite)
    )
