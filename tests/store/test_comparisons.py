"""Where results of comparisons lie: three files, the result last, and nothing left of an earlier try."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.errors import StoreError
from model_health.report.serialise import digest
from model_health.store.comparisons import FLIPS_JSON, FLIPS_PAGE, RESULT, ComparisonStore
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore

RUN = RunFolder.of("tiny", "smoke", "night-1")


@pytest.mark.parametrize(("of_run", "root"), [(True, "runs"), (False, "comparisons")])
def test_a_result_lies_next_to_its_run_or_apart(tmp_path: Path, of_run: bool, root: str) -> None:
    store = ComparisonStore.open(tmp_path)
    stored = store.write(RUN, b"{}", flips=(b"[]", b"# page"), of_run=of_run)
    folder = tmp_path / root / RUN.key
    assert sorted(file.name for file in folder.iterdir()) == sorted([RESULT, FLIPS_JSON, FLIPS_PAGE])
    assert (stored.uri, stored.digest, stored.size) == ((folder / RESULT).as_uri(), digest(b"{}"), 2)
    assert store.uri(RUN, FLIPS_PAGE, of_run=of_run) == (folder / FLIPS_PAGE).as_uri()
    assert store.read(RUN, FLIPS_PAGE, of_run=of_run) == b"# page"


def test_a_later_try_leaves_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    store = ComparisonStore.open(tmp_path)
    store.write(RUN, b"{}", flips=(b"[]", b"# page"))
    store.write(RUN, b'{"again": 1}')
    assert store.read(RUN) == b'{"again": 1}'
    with pytest.raises(StoreError, match="no such file"):
        store.read(RUN, FLIPS_PAGE)


@pytest.mark.parametrize("name", ["manifest.json", "../comparison.json", "x.json.gz"])
def test_other_files_are_not_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="no such file"):
        ComparisonStore.open(tmp_path).read(RUN, name)


def test_a_comparison_is_no_report_of_its_run_and_goes_with_it(tmp_path: Path) -> None:
    reports = ReportStore.open(tmp_path)
    ComparisonStore.open(tmp_path).write(RUN, b"{}", flips=(b"[]", b"# page"), of_run=True)
    assert reports.prompt_ids(RUN) == []
    assert list(reports.list_runs()) == []
    reports.begin_run(RUN)
    assert not (tmp_path / "runs" / RUN.key).exists()
