"""Kill -9 of the capture child and of its task, at a few random moments; `make chaos` sees many, and a whole stack.

The child writes made-up reports by the library's own code. Kills inside the stack are in `tests/test_stack.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.chaos_results import Moment, Results, markdown, summary

pytestmark = pytest.mark.slow

TESTS = Path(__file__).resolve().parents[1]


def chaos(out: Path, moments: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "support.chaos", "--levels", "made-up", "--moments", str(moments)]
    return subprocess.run(
        [*command, "--out", str(out), "--seed", "3"], cwd=TESTS, env=dict(os.environ), capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_killed_at_random_moments_no_run_is_half_lost_or_doubled(tmp_path: Path) -> None:
    ended = chaos(tmp_path, 3)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((tmp_path / "summary.json").read_text())
    assert [(row["victim"], row["moments"]) for row in found["victims"]] == [("child", 3), ("task", 3)]
    assert all(row["hit"] > 0 for row in found["victims"])
    # What was seen counts: nothing is left to do.
    again = chaos(tmp_path, 3)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "killed after" not in again.stdout
    assert len((tmp_path / "moments.jsonl").read_text().splitlines()) == 6


def test_results_are_added_to_and_told(tmp_path: Path) -> None:
    one = Moment("stack", "redis", 0, 1.5, "redis-server", "measured", 40.0)
    two = Moment("stack", "redis", 2, 0.5, "", "could_not_measure", 60.0, ("r: no manifest",), {"tries": 2})
    Results(tmp_path / "moments.jsonl").add(one)
    Results(tmp_path / "moments.jsonl").add(two)
    results = Results(tmp_path / "moments.jsonl")
    assert results.moments == [one, two]
    assert results.missing("stack", "redis", 4) == [1, 3]
    assert results.missing("supervised", "child", 2) == [0, 1]
    found = summary(results.moments)
    assert found["violations"] == ["r: no manifest"]
    (row,) = found["victims"]
    assert (row["moments"], row["hit"], row["measured"], row["could_not_measure"]) == (2, 1, 1, 1)
    page = markdown(found)
    assert "| stack | redis | 2 | 1 | 1 | 1 | 0 | 1 | 60.0 | 60.0 |" in page
    assert "- r: no manifest" in page
