"""Self-tests in the index: what is written is read back, once per start, and the newest comes first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from model_health.errors import StoreError
from model_health.store.index.index import Index
from model_health.store.index.self_tests import SelfTestRecord, TrialRecord, latest_self_test, write_self_test

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TRIAL = TrialRecord(
    role="fault",
    name="NaN in one weight, layer 2",
    kind="non-finite weight",
    configuration="same",
    answer="broken",
    raised=True,
    place="layer.2",
    attributed="layer.2",
    placement="right",
    delay_nights=1,
    ratio=None,
    reason="not finite",
    missed=None,
)
RECORD = SelfTestRecord(
    model="tiny",
    suite="smoke",
    started_at=NOW,
    dtype="float32",
    device="cpu",
    reduced=True,
    passed=True,
    figures={"same": {"caught": 1, "of": 1}},
    libraries={"torch": "2.13.0"},
    wall_seconds=1.5,
    trials=(TRIAL, replace(TRIAL, role="harmless", answer=None, raised=None, placement="not asked")),
)


def latest(index: Index, model: str = "tiny", suite: str = "smoke") -> SelfTestRecord | None:
    with index.reading("read a self-test") as connection:
        return latest_self_test(connection, model, suite)


def write(index: Index, record: SelfTestRecord) -> None:
    with index.transaction("record a self-test") as connection:
        write_self_test(connection, record)


def test_what_is_written_is_read_back_and_the_newest_counts(index_url: str) -> None:
    with Index.open(index_url) as index:
        assert latest(index) is None
        later = replace(RECORD, started_at=NOW + timedelta(days=7), passed=False, trials=())
        for record in (later, RECORD):
            write(index, record)
        assert latest(index) == later
        assert latest(index, suite="core") is None


def test_the_same_self_test_again_replaces_its_rows(index_url: str) -> None:
    with Index.open(index_url) as index:
        write(index, RECORD)
        write(index, replace(RECORD, trials=RECORD.trials[:1]))
        found = latest(index)
        assert found is not None
        assert found.trials == (TRIAL,)


def test_a_row_of_no_known_role_is_refused_and_nothing_is_written(index_url: str) -> None:
    with Index.open(index_url) as index:
        with pytest.raises(StoreError, match="record a self-test"):
            write(index, replace(RECORD, trials=(replace(TRIAL, role="guess"),)))
        assert latest(index) is None


def test_a_time_without_a_zone_is_refused(index_url: str) -> None:
    with Index.open(index_url) as index, pytest.raises(StoreError):
        write(index, replace(RECORD, started_at=NOW.replace(tzinfo=None)))
