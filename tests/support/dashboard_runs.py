"""Measured runs with reports in a store, made of written traces: for pages that read reports."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from model_health.store.index.index import Index
from model_health.store.index.records import RunResult, RunStart
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.index_rows import IDENTITY, sample
from support.traces import trace


def reported_run(
    index: Index, root: Path, run_id: str, *, prompts: dict[str, dict[str, Any]], verdict: str = "healthy", ago: int = 0
) -> str:
    """Record a run of `tiny` on `smoke` whose reports are those traces, by prompt; its key."""
    began = datetime.now(UTC) - timedelta(hours=ago)
    folder = RunFolder.of("tiny", "smoke", run_id)
    store = ReportStore.open(root)
    attempt = index.start_run(RunStart(folder, run_id, began, suite_version="1.0.0", suite_digest="sha256:c0"))
    samples = []
    for prompt_id, content in prompts.items():
        stored = store.write_report(folder, prompt_id, json.dumps(content).encode())
        samples.append(sample(prompt_id, report_uri=stored.uri, report_digest=stored.digest))
    result = RunResult(began, IDENTITY, "manifest.json", "d", "0.3.0", "1.0.0", verdict=verdict)  # type: ignore[arg-type]
    index.finish_run(attempt, result, samples, [])
    return folder.key


def report(version: str = "0.3.0", *, tokens: list[tuple[int, str]] | None = None, norm: float = 1.0) -> dict[str, Any]:
    """A trace of a version: its generated tokens with their texts, all norms of block 1 and above multiplied."""
    content = trace(version, fingerprint=2 if version > "0.2.0" else None)
    if tokens is not None:
        for step, (token, text) in zip(content["timeline"], tokens, strict=True):
            step["token"] |= {"token_id": token, "token_text": text}
        content["generated"]["token_ids"] = [token for token, _ in tokens]
    for step in content["timeline"]:
        for layer in step["layers"][1:]:
            layer["hidden_summary"]["l2_norm_mean"] *= norm
    return content
