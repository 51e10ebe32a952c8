"""Runs a canary suite through a model, from its name to a finished run: the one runner of the command line and the Dag.

Owns the order of the stages (record, load, tokenize, generate, report, store) and what becomes of a run that fails in
any of them: it is recorded as *could not measure*, with the reason, and the error goes on. It sends nothing: what the
sinks shall get lies in the outbox, held back until the reports are validated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from model_health.config.load import load_project
from model_health.config.models import ModelConfig
from model_health.config.project import ProjectConfig
from model_health.config.settings import Settings
from model_health.config.suites import CanarySuite
from model_health.errors import BadInput, CouldNotMeasure, ModelHealthError
from model_health.report.extension import SuiteIdentity
from model_health.report.facts import TraceWarning
from model_health.report.identity import ModelIdentity
from model_health.report.manifest import Manifest, Overhead, PromptEntry, verdict_of
from model_health.report.performance import PerformanceMonitor
from model_health.report.samples import Sample, samples_of_manifest
from model_health.runner.batches import Batch, make_batches
from model_health.runner.book import RunBook, record_of, run_start
from model_health.runner.collector import collector_paused
from model_health.runner.compare_night import NightComparison
from model_health.runner.generate import generate_measured
from model_health.runner.heartbeat import beating
from model_health.runner.identity import identify, model_info, vocab_size
from model_health.runner.loading import LoadedModel, load_model
from model_health.runner.memory import PeakMemory
from model_health.runner.overhead import measure_overhead
from model_health.runner.prompts import tokenize
from model_health.runner.reports import PromptResult, ReportContext, build_results
from model_health.runner.request import RunOutcome, RunRequest, sinks_of
from model_health.runner.token_text import TokenText
from model_health.store.index.index import Index
from model_health.store.index.records import SampleRecord
from model_health.store.reports import ReportStore

Say = Callable[[str], None]
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@dataclass
class _Gathered:
    """What a run has so far."""

    entries: list[PromptEntry] = field(default_factory=list)
    records: list[SampleRecord] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    identity: ModelIdentity | None = None
    overhead: Overhead | None = None
    peak_bytes: int | None = None
    warnings: tuple[TraceWarning, ...] = ()


def run_canaries(
    request: RunRequest, settings: Settings, *, say: Say = lambda line: None, clock: Clock = utc_now
) -> RunOutcome:
    """Run one suite through one model.

    Args:
        request: what to run.
        settings: where things are.
        say: told what happens, a line at a time.
        clock: the time, in UTC.

    Raises:
        BadInput: the request, the configuration or the model's files are wrong.
        CouldNotMeasure: anything else that stopped the measurement. In both cases the run is recorded with the reason
            (unless the model or the suite is unknown, or the store itself is what failed).
    """
    started = clock()
    request = replace(request.named(started), sinks=sinks_of(request, settings))
    project = load_project(settings)
    config = request.applied_to(project.get_model(request.model))
    suite = project.get_suite(request.suite or config.suites[0])
    store = ReportStore.open(request.store_uri or settings.store_uri)
    start = run_start(
        config.name,
        suite.name,
        request.run_id,
        started,
        suite_version=suite.version,
        suite_digest=suite.digest(),
        airflow=request.airflow,
    )
    with Index.open(settings.index_url) as index:
        run = _Run(request, settings, config, suite, RunBook(store, index, start, request.sinks), say, clock)
        try:
            if request.compare:
                run.night = NightComparison(request, config, suite, settings)
            with beating(run.book.beat):
                return run.measure(project)
        except BaseException as error:
            run.give_up(error)
            if isinstance(error, ModelHealthError) or not isinstance(error, Exception):
                raise
            reason = f"{type(error).__name__}: {error}"
            raise CouldNotMeasure(reason, subject=config.name, hint="this is a defect; see the log") from error


class _Run:
    """One run under way: what it needs, and what it has gathered."""

    def __init__(
        self,
        request: RunRequest,
        settings: Settings,
        config: ModelConfig,
        suite: CanarySuite,
        book: RunBook,
        say: Say,
        clock: Clock,
    ) -> None:
        self.request, self.settings, self.config, self.suite = request, settings, config, suite
        self.book, self.say, self.clock = book, say, clock
        self.suite_identity = SuiteIdentity(name=suite.name, version=suite.version, digest=suite.digest())
        self.monitor = PerformanceMonitor(request.perf)
        self.gathered = _Gathered()
        self.night: NightComparison | None = None

    def measure(self, project: ProjectConfig) -> RunOutcome:
        """Every stage in order; raises what stops it."""
        with self.monitor.operation("store"):
            self.book.begin()
        self.say(f"{self.config.name}: loading {self.config.source.label}")
        with self.monitor.operation("load"):
            loaded = load_model(self.config, self.settings, progress=self.say)
        with self.monitor.operation("identify"):
            self.gathered.identity = identify(loaded)
        self.gathered.warnings = tuple(TraceWarning(code=w.code, message=w.message) for w in loaded.warnings)
        self.book.alive()
        with self.monitor.operation("tokenize"):
            prompts = tokenize(self.suite, loaded)
            batches = make_batches(prompts, loaded, self.config.batch_size)
        self.say(
            f"{self.config.name}: loaded in {loaded.load_seconds:.1f} s, {len(prompts)} prompts on {loaded.device}"
        )
        self._generate(loaded, batches, self._context(loaded, project), len(prompts))
        if self.night is not None:
            self._compare(loaded, self.night)
        if self.request.perf == "strict":
            self.say(f"{self.config.name}: measuring the overhead of the probes")
            with self.monitor.operation("overhead"):
                largest = max(batches, key=lambda batch: batch.input_ids.numel())
                self.gathered.overhead = measure_overhead(loaded, largest, self.config.measure.resolve())
        return self._finish()

    def _context(self, loaded: LoadedModel, project: ProjectConfig) -> ReportContext:
        family = self.config.family or str(loaded.model.config.model_type)
        return ReportContext(
            run_id=self.request.run_id,
            model_name=self.config.name,
            suite=self.suite,
            suite_identity=self.suite_identity,
            model=model_info(loaded),
            device_requested=self.config.device,
            switches=self.config.measure.resolve(),
            thresholds=project.thresholds_for(self.config.name, family),
            text=TokenText(loaded.tokenizer),
            sinks=self.request.sinks,
            target=self.book.store.uri,
            warnings=self.gathered.warnings,
            vocab_size=vocab_size(loaded),
        )

    def _generate(self, loaded: LoadedModel, batches: Sequence[Batch], context: ReportContext, total: int) -> None:
        done = 0
        with PeakMemory(loaded.device) as memory:
            for batch in batches:
                with self.monitor.operation("generate"):
                    telemetry = generate_measured(loaded, batch, context.switches)
                    self.monitor.add("prefill", telemetry.time_to_first_token_seconds)
                    self.monitor.add("decode", float(telemetry.step_seconds.sum()))
                    self.monitor.add("probes", telemetry.probe_seconds)
                results = build_results(context, batch, telemetry, self.clock())
                with collector_paused():
                    for _ in batch.prompts:
                        with self.monitor.operation("report"):
                            result = next(results)
                        with self.monitor.operation("store"):
                            self._keep(result)
                with self.monitor.operation("store"):
                    self.book.alive()
                done += len(batch.prompts)
                self.say(
                    f"{self.config.name}: {done} of {total} prompts, {telemetry.total_seconds:.1f} s for this batch"
                )
        self.gathered.peak_bytes = memory.peak_bytes

    def _compare(self, loaded: LoadedModel, night: NightComparison) -> None:
        self.say(f"{self.config.name}: replaying what was accepted")
        with self.monitor.operation("compare"):
            compared = night.compare(loaded, self.gathered.entries, self.gathered.identity)
        self.say(f"{self.config.name}: {compared.verdict.effective}: {compared.verdict.reasons[0]}")
        self.book.alive()

    def _keep(self, result: PromptResult) -> None:
        entry = result.entry(self.book.keep(result.trace, result.prompt.prompt_id))
        timed = ("time_to_first_token_seconds", "time_per_output_token_seconds")
        why = {name: reason for name in timed if (reason := result.why_null(name)) is not None}
        self.gathered.entries.append(entry)
        self.gathered.records.append(record_of(entry, result.trace.model_health.stopped_by, why))
        self.gathered.samples += result.samples

    def _finish(self) -> RunOutcome:
        order = {prompt.id: place for place, prompt in enumerate(self.suite.prompts)}
        self.gathered.entries.sort(key=lambda entry: order[entry.prompt_id])
        manifest = self._manifest(verdict=verdict_of(self.gathered.entries), status="measured")
        samples = [*self.gathered.samples, *samples_of_manifest(manifest)]
        stored = self.book.finish(manifest, self.gathered.records, samples)
        comparison = None
        if self.night is not None:
            comparison = self.night.keep(self.book.index, self.book.folder, self.book.start.started_at)
        return RunOutcome(manifest, stored.uri, stored.digest, comparison)

    def _manifest(self, **ending: object) -> Manifest:
        began = self.book.start.started_at
        return Manifest.model_validate(
            {
                "run_id": self.request.run_id,
                "model_name": self.config.name,
                "suite": self.suite_identity,
                "airflow": self.request.airflow,
                "started_at": began,
                "ended_at": max(self.clock(), began),
                "model": self.gathered.identity,
                "prompts": tuple(self.gathered.entries),
                "performance": self.monitor.record(),
                "peak_memory_bytes": self.gathered.peak_bytes,
                "overhead": self.gathered.overhead,
                "warnings": self.gathered.warnings or None,
                **ending,
            }
        )

    def give_up(self, error: BaseException) -> None:
        """Record the run as not measured; what cannot be recorded is noted on the error that goes on."""
        known = isinstance(error, ModelHealthError)
        reason = str(error) if known else f"{type(error).__name__}: {error}".rstrip(": ")
        kind = "bad input" if isinstance(error, BadInput) else "could not measure"
        self.gathered.entries.clear()
        manifest = self._manifest(status="could_not_measure", verdict="could_not_measure", reason=f"{kind}: {reason}")
        try:
            self.book.give_up(manifest)
        except ModelHealthError as second:
            error.add_note(f"and this could not be recorded: {second}")
