"""Unpacking gzip by hand gives what the standard library gives, and never more than the limit; hostile databases."""

from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.errors import ReportError
from model_health.report import sources
from model_health.report.load import load_report
from model_health.report.sources import documents, stored_reports, unpack

bodies = st.lists(st.binary(max_size=300), min_size=1, max_size=4)


@given(parts=bodies, padding=st.integers(0, 20))
def test_members_and_padding_are_taken_as_gzip_takes_them(parts: list[bytes], padding: int) -> None:
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts) + b"\0" * padding
    assert unpack(packed, "a file") == gzip.decompress(packed) == b"".join(parts)


@given(parts=bodies, below=st.integers(1, 50))
def test_the_limit_holds_over_all_members(parts: list[bytes], below: int) -> None:
    packed, size = b"".join(gzip.compress(part, mtime=0) for part in parts), sum(map(len, parts))
    assert len(unpack(packed, "a file", limit=size)) == size
    if size >= below:
        with pytest.raises(ReportError, match=r"^a file: is larger than"):
            unpack(packed, "a file", limit=size - below)


@given(parts=bodies, cut=st.integers(1, 17))
def test_a_file_that_ends_early_is_cut_off_wherever_it_ends(parts: list[bytes], cut: int) -> None:
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts)
    with pytest.raises(ReportError, match="is a gzip file that is cut off"):
        unpack(packed[:-cut], "a file")


@pytest.mark.parametrize("place", [4, -2, -6])
def test_a_changed_byte_is_noticed_by_the_checksum_or_the_length(place: int) -> None:
    packed = bytearray(gzip.compress(b"a report " * 50, mtime=0))
    packed[place if place < 0 else place + 10] ^= 0xFF
    with pytest.raises(ReportError, match=r"is a (damaged gzip file|gzip file that is cut off)"):
        unpack(bytes(packed), "a file")


def test_what_follows_and_is_no_gzip_is_damage() -> None:
    with pytest.raises(ReportError, match="is a damaged gzip file"):
        unpack(gzip.compress(b"{}") + b"more", "a file")


def test_a_bomb_is_not_unpacked_beyond_the_limit() -> None:
    with pytest.raises(ReportError, match="is larger than"):
        unpack(gzip.compress(b"\0" * 50_000_000), "a file", limit=1000)


def database(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


TABLE = "CREATE TABLE reports (trace_id TEXT PRIMARY KEY, report_json)"
ENDLESS = (
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS trace_id, '{}' AS report_json FROM n"
)


def test_a_row_that_holds_no_text_is_no_report(tmp_path: Path) -> None:
    path = database(tmp_path / "r.db", TABLE, "INSERT INTO reports VALUES (1, 99999999999999)")
    with pytest.raises(ReportError, match=r"r\.db\[1\]: is a row without a report"):
        load_report(path)


def test_a_row_that_is_listed_but_cannot_be_found_is_damage(tmp_path: Path) -> None:
    path = database(
        tmp_path / "r.db",
        TABLE,
        "INSERT INTO reports VALUES ('one', '{}')",
        "CREATE TABLE empty (x TEXT PRIMARY KEY)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET rootpage ="
        " (SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_empty_1')"
        " WHERE name = 'sqlite_autoindex_reports_1'",
    )
    with pytest.raises(ReportError, match="is a damaged SQLite file: a row is listed and not there"):
        load_report(path)


@pytest.mark.parametrize(
    "made", [f"CREATE VIEW reports AS {ENDLESS}", "CREATE VIRTUAL TABLE reports USING fts5(trace_id, report_json)"]
)
def test_a_view_is_no_table_of_reports_for_it_may_have_no_end(tmp_path: Path, made: str) -> None:
    path = database(tmp_path / "r.db", made)
    for read in (stored_reports, lambda file: list(documents(file))):
        with pytest.raises(ReportError, match="is a SQLite file without a table of reports"):
            read(path)


def test_a_database_that_takes_too_long_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = ENDLESS.replace("FROM n) SELECT", "FROM n LIMIT 30000) SELECT")
    path = database(tmp_path / "r.db", "CREATE TABLE reports (trace_id, report_json)", f"INSERT INTO reports {many}")
    assert stored_reports(path)
    monkeypatch.setattr(sources, "DATABASE_WORK", 0)
    with pytest.raises(ReportError, match="is a damaged SQLite file: interrupted"):
        stored_reports(path)


def test_a_name_that_no_file_can_have_is_a_report_error(tmp_path: Path) -> None:
    for name in ("a\x00b", "a\ud800b"):
        with pytest.raises(ReportError, match="cannot be read"):
            load_report(tmp_path / name)
