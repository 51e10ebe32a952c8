"""What the server loads before anybody comes: all that pages import, and nothing that is the dashboard's own."""

from __future__ import annotations

from pathlib import Path

import serve

FOLDER = Path(serve.__file__).parent


def test_what_pages_import_is_found_and_the_dashboards_own_modules_are_not() -> None:
    found = serve.imported(FOLDER)
    assert {"altair", "streamlit", "model_health.baseline.report_pairs", "model_health.store.index.fleet"} <= {*found}
    assert not {"data", "widgets", "chart_parts"} & {*found}, "their caches belong to a server that runs"
    assert len(found) == len(set(found))


def test_only_what_stands_at_the_top_counts(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("import own\nimport json.tool\nfrom . import x\ndef f():\n    import heavy\n")
    (tmp_path / "own.py").write_text("from email import message\n")
    assert serve.imported(tmp_path) == ["email", "json.tool"]


def test_a_folder_without_modules_needs_nothing(tmp_path: Path) -> None:
    assert serve.imported(tmp_path) == []
