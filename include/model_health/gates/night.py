"""Settles a scheduler's night: screens the hypotheses of all its models together, and judges each comparison again.

Until then a comparison of that night has no final verdict. Owns that step; the statistics are `baseline.nightly`, the
rules `baseline.policy`. Settling a night twice changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from model_health.baseline.answers import budget_of
from model_health.baseline.comparison import Comparison
from model_health.baseline.distances import FAMILIES
from model_health.baseline.nightly import screen_night
from model_health.baseline.policy import judge
from model_health.config.gates import load_gates
from model_health.config.regression import Answer, RegressionConfig, Use
from model_health.config.settings import Settings, load_settings
from model_health.store.index.comparisons import ComparisonRecord, comparisons_of_night, settle_comparison
from model_health.store.index.index import Index, utc_now
from model_health.store.index.outbox import OutboxItem, enqueue

AnnounceNight = Callable[[Sequence[ComparisonRecord], datetime], Sequence[OutboxItem]]
"""Makes the items that tell others that these comparisons are settled, in the transaction that writes it down."""


@dataclass(frozen=True)
class SettledNight:
    """The verdicts of a night, by run key."""

    night: str
    outcomes: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """For XCom: counts only."""
        return {"night": self.night, "compared": len(self.outcomes), "counts": dict(Counter(self.outcomes.values()))}


def settle_night(
    dag_id: str,
    run_id: str,
    *,
    settings: Settings | None = None,
    announce: AnnounceNight | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> SettledNight:
    """Screen and judge every comparison of one Dag run.

    Args:
        dag_id: the scheduler's name of the Dag.
        run_id: and of the night.
        settings: read from the environment if None.
        announce: tells sinks that the night is settled, in the same transaction.
        clock: the present, in UTC.

    Raises:
        BadInput: gates.yaml is wrong.
        StoreError: the index failed; nothing was settled.
    """
    settings = settings or load_settings()
    policy = load_gates(settings).regression
    night = night_of(dag_id, run_id)
    with Index.open(settings.index_url) as index, index.transaction("settle a night") as connection:
        records = comparisons_of_night(connection, night)
        outcomes = {}
        for record, outcome, reason in settled(records, policy):
            settle_comparison(connection, record, outcome, reason)
            outcomes[record.key] = outcome
        # Settled anew (a task was cleared) the night happened no later: it is told once.
        fresh = [record for record in records if not record.screened]
        if announce is not None and fresh:
            enqueue(connection, announce(fresh, clock()))
    return SettledNight(night, outcomes)


def settled(records: Sequence[ComparisonRecord], policy: RegressionConfig) -> list[tuple[ComparisonRecord, str, str]]:
    """Each comparison with its final verdict and reason. Hypotheses of all of them share one alarm budget."""
    if not records:
        return []
    flags = max(len(set(record.p_values) - {"golden", *FAMILIES}) for record in records)
    level = budget_of(policy.statistics, models=len(records), flags=flags).level
    screened = screen_night({record.key: record.p_values for record in records}, level=level)
    found = []
    for record in records:
        verdict = judge(
            _comparison(record),
            policy,
            use=cast(Use, record.purpose),
            model=record.model,
            suite=record.suite,
            screened=screened[record.key],
        )
        found.append((record, str(verdict.effective), "; ".join(verdict.reasons)))
    return found


def night_of(dag_id: str, run_id: str) -> str:
    """What all comparisons of one Dag run share."""
    return f"{dag_id}/{run_id}"[:500]


def _comparison(record: ComparisonRecord) -> Comparison:
    """What the policy looks at."""
    return Comparison(
        Answer(record.answer), record.finding, axes=tuple(record.axes), moved=record.moved, p_values=record.p_values
    )
