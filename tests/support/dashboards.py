"""A store and an index as the dashboard meets them: healthy and sick runs with real reports, and old traces.

Made up and small, but every file is written by the library. What was planted is named by the constants.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from model_health.config.thresholds import Thresholds
from model_health.gates.result import GateResult, GateVerdict, Place, RunEvidence
from model_health.metrics.findings import HealthFindings, LoopFinding, NonFiniteFinding
from model_health.metrics.telemetry import NotMeasured, PromptTelemetry
from model_health.report.builder import build_report
from model_health.report.extension import SuiteIdentity
from model_health.report.identity import DeviceIdentity, HostIdentity, ModelIdentity
from model_health.report.inputs import DEFAULT_THRESHOLDS
from model_health.report.manifest import Manifest, Overhead, PromptEntry, verdict_of
from model_health.report.performance import Operation, PerformanceRecord
from model_health.report.samples import samples_of_manifest, samples_of_report
from model_health.report.serialise import digest, to_gzip, to_json
from model_health.report.trace import Trace
from model_health.store.index.alerts import GateRecord, save_results
from model_health.store.index.index import Index
from model_health.store.index.records import Identity, Point, RunResult, RunStart, SampleRecord
from model_health.store.index.validation import FailureRecord, ValidationRecord, run_state, write_validation
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support import traces
from support.dashboard_beside import fill_beside
from support.manifests import make_manifest
from support.telemetry import VOCABULARY, make_facts, make_findings, make_telemetry
from support.validation import entry_of

MODEL, SUITE = "tiny-chat", "core"
BAD_STEP, BAD_LAYER = 7, 5
"""Where the first NaN of the prompt `overflow` is."""
LOOP = LoopFinding(period=4, start_step=12, length=20, witness="tokens")
SCRIPT = "<script>document.title='taken'</script>"
BOLD = "**bold** <b>tag</b> [link](http://example.invalid)"
WORDS = (
    "The",
    " quick",
    " brown",
    " fox",
    " jumps",
    " over",
    " the",
    " lazy",
    " dog",
    ".",
    "\n",
    " Paris",
    " is",
    " a",
    " city",
)
SUITE_DIGEST = "sha256:" + "c0" * 32


def decode(token: int) -> str:
    """Words, and now and then something that must not act."""
    return {98: " " + SCRIPT, 99: " " + BOLD}.get(token, WORDS[token % len(WORDS)])


@dataclass(frozen=True)
class Seeded:
    """What was written."""

    home: Path
    store: ReportStore
    index_path: Path
    before: str
    sick: str
    other: str
    failed: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point a dashboard at it."""
        return {
            "MODEL_HEALTH_HOME": str(self.home),
            "MODEL_HEALTH_STORE_URI": str(self.home / "store"),
            "MODEL_HEALTH_INDEX_URL": f"sqlite:///{self.index_path}",
        }


def seed_dashboard(home: Path, now: datetime | None = None) -> Seeded:
    """Fill a folder; the newest run ended some minutes before `now`."""
    now = now or datetime.now(UTC)
    store, index_path = ReportStore.open(home / "store"), home / "index.db"
    with Index.open(index_path) as index:
        before = _run(index, store, "night-1", now - timedelta(hours=1), _healthy(1))
        sick = _run(
            index, store, "night-2", now - timedelta(minutes=8), _sick(), transformers="5.24.0", revision="b" * 40
        )
        other = _run(index, store, "night-2", now - timedelta(minutes=20), _translation(), model="tiny-translate")
        failed = RunStart(RunFolder.of("tiny-broken", SUITE, "night-2"), "night-2", now - timedelta(minutes=30))
        index.record_failure(
            failed, "the weights are truncated at 12 of 260 MB", "loading ...\nunexpected end of file\n"
        )
        _validated(index, sick, now)
        _judged(index, sick, now)
        fill_beside(index, home / "store", now)
    _old(home / "store" / "old")
    page = home / ".model-health" / "data_docs" / "runs" / f"{sick}.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!DOCTYPE html><title>docs</title><h1>What Great Expectations checked</h1><p>186 expectations</p>")
    return Seeded(home, store, index_path, before, sick, other, failed.folder.key)


def long_report(steps: int = 1024, layers: int = 32) -> Trace:
    """A report as long as they get."""
    telemetry = make_telemetry(steps=steps, layers=layers, heads=8, prompt_tokens=64, routers=())
    return _report("long", telemetry, make_findings(), text="A long story, please.")


def _healthy(seed: int) -> list[Trace]:
    return [
        _report("capital", _plain(seed), make_findings(), text=f"What is the capital of France? {SCRIPT}"),
        _report("story", _plain(seed + 1, steps=40), make_findings(), text="Tell me a story.", group="stories"),
        _report("overflow", _plain(seed + 2), make_findings(), text="How much is 7 times 8?", group="numbers"),
    ]


def _sick() -> list[Trace]:
    looping = _plain(2, steps=40)
    ids = looping.generated_token_ids.copy()
    ids[LOOP.start_step : LOOP.start_step + LOOP.length] = np.tile([1, 2, 3, 4], 5)
    assert looping.logits is not None
    entropy = looping.logits.entropy_bits.copy()
    entropy[8:12] = [8.4, 9.1, 8.8, 8.2]
    logits = dataclasses.replace(looping.logits, entropy_bits=entropy)
    loops = make_findings(
        flags=frozenset({"repetition_loop_detected", "high_entropy"}),
        repetition_loop_detected=True,
        high_entropy_steps=4,
        loops=(LOOP,),
    )
    odd = _plain(1)
    odd_ids = odd.generated_token_ids.copy()
    odd_ids[[3, 6]] = [98, 99]
    return [
        _report(
            "capital", dataclasses.replace(odd, generated_token_ids=odd_ids), make_findings(), text=f"Capital? {SCRIPT}"
        ),
        _report(
            "story",
            dataclasses.replace(looping, generated_token_ids=ids, logits=logits),
            loops,
            text="Tell me a story.",
            group="stories",
        ),
        _report("overflow", _overflow(), _overflown(), text="How much is 7 times 8?", group="numbers"),
    ]


def _overflow() -> PromptTelemetry:
    """From one step on, every layer from one on holds NaN, and so do the logits one step later."""
    base = _plain(3)
    assert base.hidden is not None
    assert base.logits is not None
    nan = base.hidden.nan.copy()
    nan[BAD_STEP:, BAD_LAYER:] = True
    broken = base.logits.nan.copy()
    broken[BAD_STEP + 1 :] = True
    entropy = np.where(broken, np.float32(np.nan), base.logits.entropy_bits)
    hidden = dataclasses.replace(base.hidden, nan=nan)
    return dataclasses.replace(
        base, hidden=hidden, logits=dataclasses.replace(base.logits, nan=broken, entropy_bits=entropy)
    )


def _overflown() -> HealthFindings:
    return make_findings(
        flags=frozenset({"nan_detected"}),
        nan_detected=True,
        non_finite=(
            NonFiniteFinding("hidden", "nan", BAD_STEP, BAD_LAYER),
            NonFiniteFinding("logits", "nan", BAD_STEP + 1),
        ),
    )


def _translation() -> list[Trace]:
    """An encoder-decoder model whose decoder attention cannot be seen."""
    telemetry = make_telemetry(steps=10, layers=4, heads=2, prompt_tokens=9, encoder=True, routers=())
    reason = NotMeasured("attention", "attention of this family is not dispatched")
    return [
        _report(
            "greet",
            dataclasses.replace(telemetry, attention=(), not_measured=(reason,)),
            make_findings(),
            text="Bonjour",
        )
    ]


def _plain(seed: int, steps: int = 24) -> PromptTelemetry:
    telemetry = make_telemetry(steps=steps, layers=8, heads=4, prompt_tokens=12, seed=seed, routers=())
    rng = np.random.default_rng(seed)
    assert telemetry.logits is not None
    entropy = np.abs(rng.normal(1.6, 1.1, steps)).astype(np.float32)
    surprisal = np.abs(rng.normal(1.3, 1.2, steps)).astype(np.float32)
    logits = dataclasses.replace(telemetry.logits, entropy_bits=entropy, surprisal_bits=surprisal)
    return dataclasses.replace(telemetry, logits=logits)


def _report(
    prompt_id: str, telemetry: PromptTelemetry, findings: HealthFindings, *, text: str, group: str = "facts"
) -> Trace:
    layers = 0 if telemetry.hidden is None else telemetry.hidden.mean.shape[1]
    base = make_facts()
    heads = max((one.entropy_nats.shape[1] for one in telemetry.attention), default=2)
    model = base.model.model_copy(update={"num_layers": layers, "num_attention_heads": heads})
    facts = dataclasses.replace(
        base,
        prompt_id=prompt_id,
        group=group,
        model=model,
        suite=SuiteIdentity(name=SUITE, version="1.2.0", digest=SUITE_DIGEST),
        prompt_text=text,
        output_text="".join(decode(int(token)) for token in telemetry.generated_token_ids),
        failing=Thresholds().failing_flags,
        vocab_size=VOCABULARY,
    )
    return build_report(telemetry, findings, facts, decode, DEFAULT_THRESHOLDS)


def _run(
    index: Index,
    store: ReportStore,
    run_id: str,
    ended: datetime,
    reports: list[Trace],
    *,
    model: str = MODEL,
    transformers: str = "5.23.0",
    revision: str = "a" * 40,
) -> str:
    folder = RunFolder.of(model, SUITE, run_id)
    started = ended - timedelta(seconds=95)
    entries: list[PromptEntry] = []
    points: list[Point] = []
    for trace in reports:
        ours = trace.model_health.model_copy(update={"run_id": run_id, "model_name": model})
        trace = trace.model_copy(update={"model_health": ours, "created_at_utc": ended})
        prompt_id = str(ours.prompt_id)
        stored = store.write_report(folder, prompt_id, to_gzip(trace))
        entries.append(entry_of(trace, stored.uri, stored.digest))
        points += [
            Point(one.metric, one.value, ended, one.reason, prompt_id, ours.group) for one in samples_of_report(trace)
        ]
    manifest = _manifest(run_id, model, entries, started, ended, transformers, revision)
    stored = store.write_manifest(folder, to_json(manifest))
    points += [
        Point(
            one.metric,
            one.value,
            ended,
            one.reason,
            labels={k: v for k, v in one.labels.items() if k not in ("model", "suite")},
        )
        for one in samples_of_manifest(manifest)
    ]
    attempt = index.start_run(
        RunStart(folder, run_id, started, "1.2.0", SUITE_DIGEST, dag_id="run_canaries", dag_run_id=run_id, try_number=1)
    )
    result = RunResult(
        ended_at=ended,
        identity=_identity(manifest),
        manifest_uri=stored.uri,
        manifest_digest=stored.digest,
        report_schema_version="0.3.0",
        manifest_schema_version="1.0.0",
        verdict=manifest.verdict,
        flags=manifest.flags,
        unhealthy_flags=manifest.unhealthy_flags,
    )
    index.finish_run(attempt, result, [_sample(entry) for entry in entries], points)
    return folder.key


def _manifest(
    run_id: str,
    model: str,
    entries: list[PromptEntry],
    started: datetime,
    ended: datetime,
    transformers: str,
    revision: str,
) -> Manifest:
    operations = (
        ("load", 1, 41.0, 0.43, 260_000_000),
        ("prefill", 3, 2.5, 0.03, 410_000_000),
        ("decode", 3, 38.0, 0.40, 420_000_000),
        ("decode/probe", 3, 3.1, None, None),
        ("report", 3, 4.0, 0.04, None),
        ("write", 3, 1.5, 0.02, None),
    )
    return make_manifest(
        run_id=run_id,
        model_name=model,
        suite=SuiteIdentity(name=SUITE, version="1.2.0", digest=SUITE_DIGEST),
        verdict=verdict_of(entries),
        prompts=tuple(entries),
        started_at=started,
        ended_at=ended,
        model=ModelIdentity(
            source="team/tiny-chat",
            revision=revision,
            weights_digest=digest(revision.encode()),
            architecture="LlamaForCausalLM",
            model_type="llama",
            layers=8,
            parameters=1_200_000,
            dtype="float32",
            attention_backend="sdpa",
            libraries={"torch": "2.13.0", "transformers": transformers},
            device=DeviceIdentity(kind="cpu", name="a CPU"),
            host=HostIdentity(platform="Linux", python="3.11.7", cpus=2),
        ),
        performance=PerformanceRecord(
            level="detailed",
            total_seconds=95.0,
            operations=tuple(
                Operation(name=name, count=count, wall_seconds=seconds, share=share, peak_memory_bytes=peak)
                for name, count, seconds, share, peak in operations
            ),
        ),
        peak_memory_bytes=420_000_000,
        overhead=Overhead(plain_seconds=10.0, instrumented_seconds=10.6),
    )


def _identity(manifest: Manifest) -> Identity:
    model = manifest.model
    assert model is not None
    return Identity(
        digest=digest(to_json(model)),
        weights_digest=model.weights_digest,
        revision=model.revision,
        dtype=model.dtype,
        attention_backend=model.attention_backend,
        device_class=model.device.kind,
        libraries=model.libraries,
    )


def _sample(entry: PromptEntry) -> SampleRecord:
    return SampleRecord(
        prompt_id=entry.prompt_id,
        prompt_group=entry.group,
        report_uri=entry.report_uri,
        report_digest=entry.digest,
        prompt_tokens=entry.prompt_tokens,
        generated_tokens=entry.generated_tokens,
        stopped_by="length",
        time_to_first_token_seconds=entry.time_to_first_token_seconds,
        time_per_output_token_seconds=entry.time_per_output_token_seconds,
        loop_period=entry.loop_period,
        flags=entry.flags,
        unhealthy_flags=entry.unhealthy_flags,
        tolerated=entry.tolerated,
    )


def _validated(index: Index, run_key: str, now: datetime) -> None:
    failure = FailureRecord(
        expectation="layers.hidden_l2_norm.finite",
        severity="warning",
        metric="hidden_l2_norm_late_mean",
        says="every hidden state is finite",
        checked=192,
        failed=51,
        reports=1,
        examples=(
            {"report": "overflow", "stack": "decoder", "step": BAD_STEP, "layer": BAD_LAYER, "observed": "null"},
        ),
    )
    record = ValidationRecord(
        valid=True,
        validated_at=now,
        reports=3,
        invalid_reports=0,
        expectations=186,
        wall_seconds=1.5,
        failures=(failure,),
    )
    with index.transaction("record a validation") as connection:
        state = run_state(connection, run_key)
        assert state is not None
        assert write_validation(connection, state, record)


def _judged(index: Index, run_key: str, now: datetime) -> None:
    answers: list[dict[str, Any]] = [
        {
            "gate": "non-finite",
            "tier": "critical",
            "verdict": GateVerdict.FAIL,
            "value": 1.0,
            "level": 0.0,
            "reason": "1 of 3 prompts holds a NaN or Inf; none may",
            "prompts": ("overflow",),
            "place": Place("overflow", BAD_STEP, BAD_LAYER),
        },
        {
            "gate": "latency",
            "tier": "supporting",
            "verdict": GateVerdict.INCONCLUSIVE,
            "value": None,
            "level": 0.5,
            "reason": "one run is not enough: three are needed",
        },
    ]
    records = []
    for answer in answers:
        result = GateResult(
            model=MODEL,
            suite=SUITE,
            at=now,
            run_at=now,
            runs=(RunEvidence(run_key, answer["value"], None, "fail"),),
            **answer,
        )
        records.append(
            GateRecord(
                MODEL,
                SUITE,
                result.gate,
                run_key,
                now,
                str(result.verdict),
                result.tier,
                result.value,
                result.level,
                result.reason,
                result.to_json(),
            )
        )
    with index.transaction("keep the answers") as connection:
        save_results(connection, records)


def _old(folder: Path) -> None:
    folder.mkdir(parents=True)
    for version in ("0.2.0", "0.3.0", "0.4.0"):
        traces.write(folder / f"v{version}.json.gz", traces.trace(version))
    (folder / "broken.json").write_text(json.dumps({"schema_version": "0.9.0"}))
    second = traces.trace("0.4.0") | {"trace_id": "7d2f0c1e-0000-4000-8000-000000000002"}
    traces.write_sqlite(folder / "many.sqlite", [traces.trace("0.3.0"), second])
