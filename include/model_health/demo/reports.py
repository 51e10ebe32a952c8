"""The made-up reports of one run, by the library's own checks and builder, and the manifest of it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from model_health.config.thresholds import Thresholds
from model_health.demo.occasion import Occasion, pinned
from model_health.demo.plan import Effect
from model_health.demo.telemetry import Night, generated, make
from model_health.demo.texts import PROMPTS, SUITE, SUITE_VERSION, VOCABULARY, CanaryText, decode
from model_health.metrics.flags import health_findings
from model_health.report.builder import build_report
from model_health.report.extension import SuiteIdentity
from model_health.report.facts import ModelInfo, RunConfig
from model_health.report.identity import DeviceIdentity, HostIdentity, ModelIdentity
from model_health.report.inputs import ReportFacts
from model_health.report.manifest import Manifest, PromptEntry, Verdict, verdict_of
from model_health.report.performance import Operation, PerformanceRecord
from model_health.report.samples import Sample, samples_of_report
from model_health.report.synthetic import WARNING
from model_health.report.trace import Trace

THRESHOLDS: Final = Thresholds()
FAILING: Final = tuple(str(flag) for flag in THRESHOLDS.failing_flags)


SUITE_IDENTITY: Final = SuiteIdentity(name=SUITE, version=SUITE_VERSION, digest=pinned("suite", PROMPTS))


@dataclass(frozen=True)
class MadePrompt:
    """One prompt of a run: its samples, what the manifest and the index say of it, and its report where one is kept."""

    prompt: CanaryText
    samples: tuple[Sample, ...]
    trace: Trace

    def value(self, metric: str) -> float | None:
        """The value of one of its metrics."""
        return next(sample.value for sample in self.samples if sample.metric == metric)


def build(night: Occasion, effect: Effect) -> list[MadePrompt]:
    """The reports of one night under an effect, made of made-up telemetry."""
    return [_build(night, effect, prompt, loops=number < effect.loops) for number, prompt in enumerate(PROMPTS)]


def _build(night: Occasion, effect: Effect, prompt: CanaryText, *, loops: bool) -> MadePrompt:
    model = night.model
    telemetry = make(Night(model, prompt, effect, loops, night.seed, night.day))
    made = generated(prompt, loops=loops)
    output = "".join(map(decode, made))
    findings = health_findings(telemetry, output, THRESHOLDS)
    facts = ReportFacts(
        run_id=night.run_id,
        model_name=model.name,
        suite=SUITE_IDENTITY,
        prompt_id=prompt.id,
        group=prompt.group,
        created_at=night.started + timedelta(seconds=30),
        model=ModelInfo(
            hf_id=model.name,
            revision=night.revision,
            architecture="MadeUpForCausalLM",
            num_layers=model.layers,
            hidden_size=model.hidden,
            num_attention_heads=model.heads,
            tokenizer_hf_id=model.name,
            dtype="bfloat16",
            device=night.setup.device,
        ),
        run_config=RunConfig(seed=0, device_requested="auto", max_new_tokens=64),
        prompt_text=prompt.question,
        output_text=output,
        failing=FAILING,
        elapsed_seconds=night.seconds_first + night.seconds_each * (len(made) - 1),
        time_to_first_token_seconds=night.seconds_first,
        time_per_output_token_seconds=night.seconds_each,
        batch_size=len(PROMPTS),
        vocab_size=VOCABULARY,
        warnings=(WARNING,),
    )
    trace = build_report(telemetry, findings, facts, decode)
    return MadePrompt(prompt, tuple(samples_of_report(trace)), trace)


def entry_of(made: MadePrompt, uri: str, digest: str, samples: Sequence[Sample]) -> PromptEntry:
    """The manifest's line for a prompt, with the numbers of its samples."""
    ours = made.trace.model_health
    numbers = {sample.metric: sample.value for sample in samples}
    loops = ours.loops or ()
    return PromptEntry(
        prompt_id=made.prompt.id,
        group=made.prompt.group,
        report_uri=uri,
        digest=digest,
        prompt_tokens=made.trace.summary.prompt_tokens,
        generated_tokens=made.trace.summary.generated_tokens,
        flags=ours.flags,
        tolerated=ours.tolerated,
        unhealthy_flags=ours.unhealthy_flags or (),
        loop_period=max(loops, key=lambda loop: loop.length).period if loops else None,
        **{
            name: numbers[name]
            for name in (
                "entropy_bits_mean",
                "entropy_bits_max",
                "time_to_first_token_seconds",
                "time_per_output_token_seconds",
            )
        },
    )


def identity_of(night: Occasion) -> ModelIdentity:
    """Who was measured, on what."""
    model, setup = night.model, night.setup
    return ModelIdentity(
        source=f"{model.name} (synthetic)",
        revision=night.revision,
        weights_digest=pinned(model.name, "weights", setup.revision),
        config_digest=pinned(model.name, "config"),
        tokenizer_digest=pinned("tokenizer"),
        architecture="MadeUpForCausalLM",
        model_type="made_up",
        parameters=model.parameters,
        layers=model.layers,
        vocab_size=VOCABULARY,
        dtype="bfloat16",
        attention_backend="sdpa",
        libraries={"torch": setup.torch, "transformers": setup.transformers, "numpy": "2.4.0"},
        device=DeviceIdentity(kind=setup.device, name=setup.device_name),
        host=HostIdentity(platform="synthetic", python="3.11", cpus=16),
    )


def manifest_of(night: Occasion, entries: Sequence[PromptEntry]) -> Manifest:
    """The manifest of a run, measured or not."""
    model, started, reason = night.model, night.started, night.reason
    verdict: Verdict = "could_not_measure" if reason else verdict_of(entries)
    measured = reason is None
    decode_seconds = night.seconds_each * sum(entry.generated_tokens for entry in entries)
    parts = {
        "load": 1.5 + model.parameters / 1.2e9,
        "tokenize": 0.02,
        "generate": night.seconds_first + decode_seconds,
        "report": 0.4,
        "store": 0.2,
    }
    total = sum(parts.values())
    operations = tuple(
        Operation(name=name, count=1, wall_seconds=seconds, share=seconds / total) for name, seconds in parts.items()
    )
    timed = PerformanceRecord(level="summary", total_seconds=total, operations=operations)
    return Manifest(
        run_id=night.run_id,
        model_name=model.name,
        suite=SUITE_IDENTITY,
        airflow=night.airflow,
        status="measured" if measured else "could_not_measure",
        reason=reason,
        verdict=verdict,
        started_at=started,
        ended_at=started + timedelta(seconds=total if measured else 40.0),
        model=identity_of(night),
        prompts=tuple(entries),
        performance=timed if measured else None,
        peak_memory_bytes=int(model.parameters * 2.2) if measured else None,
    )
