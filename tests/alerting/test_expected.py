"""Of whom a report, a comparison and a self-test are expected, and when each was last seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model_health.alerting.expected import last_look, what_is_expected
from model_health.baseline import registry
from model_health.errors import StoreError
from model_health.gates.freshness import EXPECTED
from model_health.store.index.alerts import GateRecord, save_results
from model_health.store.index.comparisons import ComparisonRecord, save_comparison
from model_health.store.index.index import Index
from model_health.store.index.self_tests import write_self_test
from support.gate_facts import a_rule
from support.settled_comparisons import a_comparison
from support.whole_self_tests import TRIAL, a_whole_self_test

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RULES = [a_rule(name=name.replace("_", "-"), condition=name) for name in sorted(EXPECTED)]
PAIRS = [("m", "s"), ("n", "s")]
ROW = a_comparison(at=NOW - DAY)
TEST = a_whole_self_test(started_at=NOW - DAY)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.open(tmp_path / "index.db")


def keep(index: Index, *records: ComparisonRecord) -> None:
    with index.transaction("test") as connection:
        for record in records:
            save_comparison(connection, record)


def test_only_what_a_rule_asks_for_is_looked_up(index: Index, tmp_path: Path) -> None:
    assert what_is_expected([a_rule()], PAIRS, index, str(tmp_path), NOW) == {}
    assert sorted(what_is_expected(RULES, PAIRS, index, str(tmp_path), NOW)) == sorted(EXPECTED)


def test_a_comparison_is_expected_of_what_was_compared_or_has_a_promoted_baseline(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(index, ROW)
    found = what_is_expected(RULES, PAIRS, index, str(tmp_path / "store"), NOW)["no_comparison"]
    assert (list(found.pairs), dict(found.last), dict(found.unknown)) == ([("m", "s")], {("m", "s"): NOW - DAY}, {})
    monkeypatch.setattr("model_health.alerting.expected.current", lambda *_: object())
    assert what_is_expected(RULES, PAIRS, index, str(tmp_path / "store"), NOW)["no_comparison"].pairs == PAIRS


def test_a_store_that_does_not_answer_leaves_open_only_what_it_alone_knows(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(index, ROW)

    def broken(*_: object) -> object:
        raise StoreError("does not answer", subject="s3://bucket")

    monkeypatch.setattr(registry, "current", broken)
    monkeypatch.setattr("model_health.alerting.expected.current", broken)
    found = what_is_expected(RULES, PAIRS, index, str(tmp_path / "store"), NOW)["no_comparison"]
    assert list(found.pairs) == [("m", "s")]
    assert list(found.unknown) == [("n", "s")]
    assert "does not answer" in found.unknown["n", "s"]


def test_open_nights_candidates_and_the_future_are_no_settled_comparison(index: Index, tmp_path: Path) -> None:
    keep(
        index,
        replace(ROW, key="open", screened=False, at=NOW),
        replace(ROW, key="candidate", of_run=False, at=NOW),
        replace(ROW, key="future", at=NOW + 9 * DAY),
        ROW,
    )
    found = what_is_expected(RULES, PAIRS[:1], index, str(tmp_path / "store"), NOW)["no_comparison"]
    assert dict(found.last) == {("m", "s"): NOW - DAY}


def test_a_self_test_of_selected_faults_is_not_the_one_that_is_waited_for(index: Index, tmp_path: Path) -> None:
    with index.transaction("test") as connection:
        write_self_test(connection, TEST)
        write_self_test(connection, replace(TEST, started_at=NOW, trials=(replace(TRIAL, role="fault"),)))
        write_self_test(connection, replace(TEST, started_at=NOW + 9 * DAY))
    found = what_is_expected(RULES, PAIRS, index, str(tmp_path / "store"), NOW)["no_self_test"]
    assert (list(found.pairs), dict(found.last)) == (PAIRS, {("m", "s"): NOW - DAY})


def test_the_last_look_is_when_the_gate_on_looks_answered_last(index: Index) -> None:
    rules = [a_rule(name="asleep", condition="no_check", fail=60.0)]
    assert last_look(rules, index) is None
    with index.transaction("test") as connection:
        answer = GateRecord("all", "all", "asleep", "", NOW, "pass", "critical", 0.0, 60.0, "fine", {})
        save_results(connection, [answer, replace(answer, gate="another", at=NOW + DAY)])
    assert last_look(rules, index) == NOW
    assert last_look([a_rule()], index) is None
