"""Reads what the clock waits for: the last valid report, settled comparison and self-test of each model.

Owns of whom each is expected. The store is asked for promotions of those alone that were never compared; where it does
not answer, that is said of them and of nobody else: the dead man's switch of the others must not hang on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from model_health.baseline.registry import current
from model_health.baseline.store import BaselineStore
from model_health.config.gates import Condition, GateRule
from model_health.errors import StoreError
from model_health.gates.evidence import CLOCK_SKEW, last_valid_runs
from model_health.gates.freshness import EVERYTHING, Expected, Pair
from model_health.store.index.alerts import last_answered
from model_health.store.index.comparisons import last_settled
from model_health.store.index.index import Index
from model_health.store.index.self_tests import last_self_tests


def what_is_expected(
    rules: Iterable[GateRule], pairs: Sequence[Pair], index: Index, store_uri: str, now: datetime
) -> dict[Condition, Expected]:
    """By condition, for those that a rule names.

    Args:
        rules: of gates.yaml.
        pairs: the models and suites that are scheduled.
        index: open.
        store_uri: where promotions lie.
        now: the present; what lies further ahead than clocks may differ does not count.

    Raises:
        StoreError: the index failed.
    """
    named = {rule.condition for rule in rules}
    found: dict[Condition, Expected] = {}
    if "no_report" in named:
        found["no_report"] = Expected(pairs, last_valid_runs(index, now))
    if "no_self_test" in named:
        with index.reading("read the last self-tests") as connection:
            found["no_self_test"] = Expected(pairs, last_self_tests(connection, until=now + CLOCK_SKEW))
    if "no_comparison" in named:
        with index.reading("read the last comparisons") as connection:
            settled = last_settled(connection, until=now + CLOCK_SKEW)
        found["no_comparison"] = _accepted(pairs, settled, store_uri)
    return found


def last_look(rules: Iterable[GateRule], index: Index) -> datetime | None:
    """When somebody last looked at the clock; None if nobody did, or no rule asks."""
    names = [rule.name for rule in rules if rule.condition == "no_check"]
    if not names:
        return None
    with index.reading("read the last look") as connection:
        return last_answered(connection, names, model=EVERYTHING)


def _accepted(pairs: Sequence[Pair], settled: Mapping[Pair, datetime], store_uri: str) -> Expected:
    """A comparison is expected of what was compared before, and of what has a promoted baseline."""
    accepted = [pair for pair in pairs if pair in settled]
    unknown = {}
    for pair in (pair for pair in pairs if pair not in settled):
        try:
            if _promoted(store_uri, pair):
                accepted.append(pair)
        except StoreError as error:
            unknown[pair] = f"whether it has a promoted baseline cannot be told: {error}"[:300]
    return Expected(accepted, settled, unknown)


def _promoted(store_uri: str, pair: Pair) -> bool:
    return current(BaselineStore.open(store_uri), *pair) is not None
