"""Which runs may stand behind a baseline, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_health.baseline.create import AcceptedRun, check_identity, choose_runs, write_baseline
from model_health.baseline.document import HealthyRun, Provenance
from model_health.baseline.store import BaselineStore
from model_health.errors import BadInput, CouldNotMeasure, StoreError
from model_health.report.extension import SuiteIdentity
from model_health.report.identity import DeviceIdentity, ModelIdentity
from model_health.report.load import load_report
from model_health.report.serialise import digest, to_json
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.manifests import STARTED, make_manifest, make_prompt_entry
from support.replays import NOW, made_up, made_up_item
from support.traces import encode, trace

DIGEST = "4" * 64
REPORT = encode(trace("0.3.0"))
ME = Provenance(by="me", reason="a new release")


def identity(**replaced: Any) -> ModelIdentity:
    key = made_up().key
    fields = {
        "source": "tiny/llama",
        "architecture": "LlamaForCausalLM",
        "model_type": "llama",
        "device": DeviceIdentity(kind="cpu"),
        "weights_digest": key.weights_digest,
        "tokenizer_digest": key.tokenizer_digest,
        "chat_template_digest": key.chat_template_digest,
    }
    return ModelIdentity.model_validate({**fields, **replaced})


def add_run(store: ReportStore, run_id: str, day: int = 0, **replaced: Any) -> None:
    """One finished run with one report; `replaced` are fields of its manifest."""
    folder = RunFolder.of("tiny", "smoke", run_id)
    report = store.write_report(folder, "one", REPORT)
    fields: dict[str, Any] = {
        "run_id": run_id,
        "suite": SuiteIdentity(name="smoke", version="1.0.0", digest=DIGEST),
        "started_at": STARTED + timedelta(days=day),
        "ended_at": STARTED + timedelta(days=day, minutes=1),
        "model": identity(),
        "prompts": (make_prompt_entry(prompt_id="one", report_uri=report.uri, digest=report.digest),),
    }
    store.write_manifest(folder, to_json(make_manifest(**{**fields, **replaced})))


@pytest.fixture
def store(tmp_path: Path) -> ReportStore:
    return ReportStore.open(tmp_path)


def chosen(store: ReportStore, **options: Any) -> list[str]:
    return [run.manifest.run_id for run in choose_runs(store, "tiny", "smoke", DIGEST, **options)]


UNHEALTHY = {
    "verdict": "unhealthy",
    "prompts": (make_prompt_entry(flags=("nan_detected",), unhealthy_flags=("nan_detected",)),),
}


def test_the_newest_healthy_runs_are_taken(store: ReportStore) -> None:
    for day in range(4):
        add_run(store, f"night-{day}", day)
    add_run(store, "sick", 9, **UNHEALTHY)
    add_run(store, "old-suite", 8, suite=SuiteIdentity(name="smoke", version="0.9.0", digest="5" * 64))
    assert chosen(store) == ["night-3"]
    assert chosen(store, count=3) == ["night-3", "night-2", "night-1"]
    assert chosen(store, run_ids=("night-0", "night-2")) == ["night-2", "night-0"]


def test_the_tokens_and_digests_of_a_run_come_from_its_reports(store: ReportStore) -> None:
    add_run(store, "night-1")
    [run] = choose_runs(store, "tiny", "smoke", DIGEST)
    assert run.tokens == {"one": tuple(load_report(REPORT).generated.token_ids)}
    uri = store.manifest_uri(RunFolder.of("tiny", "smoke", "night-1"))
    assert run.record.manifest_digest == digest(store.read_stored(uri))


def test_too_few_healthy_runs_say_what_is_wrong_with_the_others(store: ReportStore) -> None:
    with pytest.raises(BadInput, match=r"0 healthy runs.*model-health run --model tiny --suite smoke"):
        chosen(store)
    add_run(store, "sick", **UNHEALTHY)
    with pytest.raises(BadInput, match=r"0 healthy runs.*sick is unhealthy"):
        chosen(store)
    add_run(store, "night-1")
    with pytest.raises(BadInput, match=r"1 healthy runs.*needed: 2"):
        chosen(store, count=2)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (UNHEALTHY, "is unhealthy"),
        ({"status": "could_not_measure", "verdict": "could_not_measure", "reason": "x", "prompts": ()}, "could not"),
        ({"suite": SuiteIdentity(name="smoke", version="0.9.0", digest="5" * 64)}, "another version of the suite"),
    ],
)
def test_a_named_run_that_is_not_fit_is_refused(store: ReportStore, fields: dict[str, Any], why: str) -> None:
    add_run(store, "night-1", **fields)
    with pytest.raises(BadInput, match=f"run 'night-1': cannot stand behind a baseline: .*{why}"):
        chosen(store, run_ids=("night-1",))


def test_a_run_that_does_not_exist_is_named(store: ReportStore) -> None:
    with pytest.raises(BadInput, match="run 'nothing' of tiny/smoke: there is no such finished run"):
        chosen(store, run_ids=("nothing",))


def test_a_run_whose_reports_are_invalid_is_passed_over(store: ReportStore) -> None:
    add_run(store, "night-1")
    add_run(store, "night-2", 1)
    store.write_validation(RunFolder.of("tiny", "smoke", "night-2"), b'{"valid": false}')
    assert chosen(store) == ["night-1"]
    store.write_validation(RunFolder.of("tiny", "smoke", "night-2"), b'{"valid": true}')
    assert chosen(store) == ["night-2"]


def test_a_report_that_was_changed_afterwards_is_refused(store: ReportStore) -> None:
    add_run(store, "night-1")
    store.write_report(RunFolder.of("tiny", "smoke", "night-1"), "one", b"{}")
    with pytest.raises(StoreError, match="changed after it was written"):
        chosen(store)


def accepted(tokens: tuple[int, ...] = (1, 2), **model: Any) -> AcceptedRun:
    manifest = make_manifest(model=identity(**model))
    return AcceptedRun(manifest, HealthyRun.of(manifest, "memory://m", "sha256:1"), {"one": tokens})


@pytest.mark.parametrize("what", ["weights", "tokenizer", "chat_template"])
def test_a_run_of_other_weights_or_words_is_refused(what: str) -> None:
    check_identity([accepted()], made_up().key)
    with pytest.raises(BadInput, match=f"had .*{what.replace('_', ' ')} than the model has now"):
        check_identity([accepted(), accepted(**{f"{what}_digest": "sha256:other"})], made_up().key)


def test_a_baseline_holds_its_runs_and_how_many_agree(tmp_path: Path) -> None:
    store = BaselineStore.open(tmp_path)
    runs = [accepted(), accepted((1, 3)), accepted()]
    made = write_baseline(store, [made_up(), made_up()], runs, provenance=ME, now=NOW)
    document = store.read("tiny", "smoke", made.baseline_id).document
    assert len(document.runs) == 3
    assert document.agreeing == {"one": 2}
    assert (document.replays, document.reproducible, made.reproducible) == (2, True, True)
    assert made.size_bytes == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())


def test_bits_that_do_not_repeat_are_on_record(tmp_path: Path) -> None:
    seen = made_up()
    restless = replace(seen, items=(replace(seen.items[0], logits_digest="dd" * 16), seen.items[1]))
    made = write_baseline(BaselineStore.open(tmp_path), [seen, restless], [accepted()], provenance=ME, now=NOW)
    assert made.reproducible is False
    once = write_baseline(BaselineStore.open(tmp_path), [seen], [accepted()], provenance=ME, now=NOW)
    assert once.reproducible is None


def test_a_model_whose_numbers_are_none_cannot_be_accepted(tmp_path: Path) -> None:
    sick = made_up(made_up_item(), made_up_item("one:golden", non_finite=np.asarray([0, 3, 3], np.int32)))
    with pytest.raises(CouldNotMeasure, match="one:golden of smoke: the replay is not finite"):
        write_baseline(BaselineStore.open(tmp_path), [sick], [accepted()], provenance=ME, now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_replays_of_different_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CouldNotMeasure, match="different keys"):
        write_baseline(
            BaselineStore.open(tmp_path), [made_up(), made_up(dtype="bfloat16")], [accepted()], provenance=ME, now=NOW
        )
