"""COVERAGE.md is whole, holds no wrong number, and is what a sweep over every architecture finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from support.conformance import Finding, Outcome
from support.coverage_document import Row, document, made_from, read, versions
from support.coverage_sweep import architectures, share, sweep

ROOT = Path(__file__).parents[2]
TABLE = read((ROOT / "COVERAGE.md").read_text())
SHARES = 2
POPULAR = (
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma3n_text",
    "gemma4_text",
    "phi",
    "phi3",
    "gpt2",
    "gpt_neo",
    "gpt_neox",
    "gptj",
    "gpt_oss",
    "gpt_bigcode",
    "starcoder2",
    "bloom",
    "falcon",
    "mpt",
    "codegen",
    "opt",
    "olmo",
    "olmo2",
    "olmo3",
    "cohere",
    "cohere2",
    "granite",
    "stablelm",
    "smollm3",
    "deepseek_v2",
    "deepseek_v3",
    "glm4",
    "llama4_text",
    "exaone4",
    "dbrx",
    "t5",
    "mt5",
    "umt5",
    "bart",
    "mbart",
    "marian",
    "m2m_100",
    "pegasus",
    "t5gemma",
    "switch_transformers",
    "whisper",
)
HYBRID = (
    "qwen3_next",
    "qwen3_5",
    "jamba",
    "bamba",
    "falcon_h1",
    "zamba2",
    "nemotron_h",
    "granitemoehybrid",
    "lfm2",
    "minimax",
    "kimi_linear",
)


def test_the_table_names_every_architecture_once() -> None:
    listed = Counter((row.mapping, row.name, row.class_name) for row in TABLE)
    assert listed == Counter((entry.mapping, entry.name, entry.class_name) for entry in architectures())


def test_no_architecture_is_measured_wrong() -> None:
    assert [row for row in TABLE if row.outcome is Outcome.WRONG] == []


def test_everything_but_full_has_a_reason() -> None:
    assert all(bool(row.reason) == (row.outcome is not Outcome.FULL) for row in TABLE)


@pytest.mark.parametrize("name", POPULAR)
def test_a_popular_architecture_is_measured_in_full(name: str) -> None:
    assert {row.outcome for row in TABLE if row.name == name} == {Outcome.FULL}


@pytest.mark.parametrize("name", HYBRID)
def test_a_hybrid_lacks_the_attention_of_some_layers_and_nothing_else(name: str) -> None:
    (row,) = [row for row in TABLE if row.name == name]
    if row.outcome is Outcome.FULL:  # state-space and attention heads in the same layers, or attention beside them
        return
    assert row.outcome is Outcome.PARTIAL
    for reason in row.reason.split("; "):
        assert reason.startswith("attention of "), reason
        assert "has no attention" in reason or "no attention weights were seen" in reason, reason


def test_the_table_says_what_it_was_made_with() -> None:
    text = (ROOT / "COVERAGE.md").read_text()
    assert f"transformers {versions()['transformers']}" in text


def test_a_document_reads_back_as_it_was_written() -> None:
    rows = [
        Row("llama", "LlamaForCausalLM", "causal", Outcome.FULL, ""),
        Row("new", "NewForCausalLM", "causal", Outcome.WRONG, "ValueError: a | b"),
        Row("t5", "T5ForConditionalGeneration", "seq2seq", Outcome.NOT_RUNNABLE, "needs an image"),
    ]
    text = document(rows, "2025-01-02")
    assert "| wrong | 1 |" in text
    assert "2025-01-02" in text
    assert read(text) == [rows[0], Row("new", "NewForCausalLM", "causal", Outcome.WRONG, "ValueError: a / b"), rows[2]]


def test_shares_are_disjoint_and_complete() -> None:
    entries = architectures()
    parts = [share(entries, part, SHARES) for part in range(1, SHARES + 1)]
    assert Counter(entry for part in parts for entry in part) == Counter(entries)


def test_a_sweep_goes_on_from_what_it_found_with_the_same_versions(tmp_path: Path) -> None:
    entries = architectures()[:2]
    progress = tmp_path / "progress.jsonl"
    known = {"outcome": "partial", "reason": "as found before", "class_name": "", "versions": versions()}
    lines = [{**known, "name": entry.name, "mapping": entry.mapping} for entry in entries]
    progress.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [row.reason for row in sweep(entries, progress)] == ["as found before"] * 2


def test_a_child_that_is_killed_is_a_wrong_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    import support.coverage_sweep as module

    monkeypatch.setattr(module, "examine", lambda name, mapping: os.kill(os.getpid(), 9))
    finding = module.judged(architectures()[0])
    assert finding.outcome is Outcome.WRONG
    assert "died" in finding.reason


def test_a_child_that_hangs_is_ended_and_a_wrong_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    import support.coverage_sweep as module

    monkeypatch.setattr(module, "SECONDS", 0.2)
    monkeypatch.setattr(module, "examine", lambda name, mapping: threading.Event().wait())
    assert module.judged(architectures()[0]) == Finding(Outcome.WRONG, "the process took more than 0.2 s")


def test_another_source_is_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    import support.coverage_document as module

    present = made_from()
    assert f"`{present}`" in document([])
    monkeypatch.setattr(module, "versions", lambda: {**versions(), "torch": "0.0.0"})
    older = made_from()
    monkeypatch.setattr(module, "_SOURCES", module._SOURCES[1:])
    assert len({present, older, made_from()}) == 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sweep_finds_what_the_table_says(tmp_path: Path) -> None:
    """Of the whole table where anything that decides a finding has changed since it was made, else of every eighth."""
    parts = 8 if f"`{made_from()}`" in (ROOT / "COVERAGE.md").read_text() else 1
    progress = tmp_path / "progress.jsonl"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "support.coverage_sweep", "--progress", str(progress)),
            *("--share", f"1/{parts}", "--output", str(tmp_path / "COVERAGE.md")),
        ],
        cwd=ROOT / "tests",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = [json.loads(line) for line in progress.read_text().splitlines()]
    listed = {(row.mapping, row.name): row.outcome for row in TABLE}
    changed = {f["name"]: (f["outcome"], f["reason"]) for f in found if listed[f["mapping"], f["name"]] != f["outcome"]}
    assert not changed, "run `make coverage-table`"
    assert len(found) == len(share(architectures(), 1, parts))
