"""A dump of the index is the same from either database, and goes into either, as a whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from model_health.errors import StoreError
from model_health.store.index import dump, migrate
from model_health.store.index.index import Index
from model_health.store.index.tables import metadata, runs
from support.full_index import fill

Dumped = dict[str, bytes]


def dumped(url: str) -> Dumped:
    found: Dumped = {}
    with dump.snapshot(url) as (_, connection):
        for name in dump.TABLES:
            lines = io.BytesIO()
            dump.write_table(connection, name, lines)
            found[name] = lines.getvalue()
    return found


def lines_of(content: Dumped) -> Iterator[tuple[str, list[bytes]]]:
    return ((name, content[name].splitlines()) for name in dump.TABLES)


@pytest.fixture
def source(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/source.db"
    fill(url)
    return url


def test_every_table_of_the_index_is_dumped_and_the_test_has_rows_in_each(source: str) -> None:
    assert set(dump.TABLES) == set(metadata.tables)
    assert [name for name, content in dumped(source).items() if not content] == []


def test_what_is_loaded_is_what_was_dumped_on_either_database(source: str, index_url: str) -> None:
    content = dumped(source)
    counts = dump.load(index_url, migrate.head(), lines_of(content))
    assert counts == {name: len(lines.splitlines()) for name, lines in content.items()}
    assert {name: sorted(lines.splitlines()) for name, lines in dumped(index_url).items()} == {
        name: sorted(lines.splitlines()) for name, lines in content.items()
    }


def test_new_rows_are_counted_on_from_those_that_were_loaded(source: str, index_url: str) -> None:
    dump.load(index_url, migrate.head(), lines_of(dumped(source)))
    fill(index_url, run_id="after the restore")
    with Index.open(index_url) as index:
        assert len(index.runs()) == 2


def test_a_row_that_does_not_fit_leaves_no_row_at_all(source: str, index_url: str) -> None:
    content = dumped(source)
    content["comparisons"] = content["comparisons"].replace(b'"outcome":"pass"', b'"outcome":"perhaps"')
    with pytest.raises(StoreError, match="cannot restore the index"):
        dump.load(index_url, migrate.head(), lines_of(content))
    dump.check_empty(index_url)


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"id": 1, "started_at": 7}'])
def test_a_line_that_is_no_row_is_refused(line: bytes, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="a row cannot be read"):
        dump.load(f"sqlite:///{tmp_path}/new.db", migrate.head(), [("runs", [line])])


def test_an_index_with_rows_is_not_empty_and_says_so(source: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not empty"):
        dump.check_empty(source)
    dump.check_empty(f"sqlite:///{tmp_path}/none.db")
    Index.open(f"sqlite:///{tmp_path}/fresh.db").close()
    dump.check_empty(f"sqlite:///{tmp_path}/fresh.db")


def test_a_dump_of_an_older_version_is_migrated_up(index_url: str) -> None:
    row = b'{"id":1,"text":"because"}'
    assert dump.load(index_url, "0002", [("reasons", [row])]) == {"reasons": 1}
    assert migrate.current(index_url) == migrate.head()
    assert dumped(index_url)["reasons"] == row + b"\n"


def test_a_version_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="9999"):
        dump.load(f"sqlite:///{tmp_path}/new.db", "9999", [])


def test_measurements_survive_every_step_of_the_migrations_down_and_up(index_url: str) -> None:
    fill(index_url)
    before = dumped(index_url)
    steps = ["0006", "0005", "0004", "0003", "0002", "0001"]
    for revision in steps:
        migrate.downgrade(index_url, revision)
        assert migrate.current(index_url) == revision
    for revision in reversed(steps):
        migrate.upgrade(index_url, revision)
    migrate.upgrade(index_url)
    after = dumped(index_url)
    kept = ("series", "reasons", "metric_points", "trend_series", "trend_days", "configurations")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    with Index.open(index_url) as index:
        assert index.rows(sa.select(sa.func.count()).select_from(runs))[0][0] == 1
