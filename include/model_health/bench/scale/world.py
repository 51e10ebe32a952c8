"""A made-up installation with a clock that is moved by hand: configuration, index, store, far side.

Owns the steps of a run's life, each made by the call that an Airflow task makes. A run's reports are recorded ones;
Great Expectations is left out (its cost has a benchmark of its own): a run is found valid.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from model_health.bench.scale.recorded import SUITE, PlayedRun, Recording
from model_health.config.settings import HOME_VARIABLE, Settings, load_settings
from model_health.delivery.enqueue import run_items
from model_health.runner.book import RunBook, point_of, result_of
from model_health.sinks.context import context_of
from model_health.store.index import outbox, write
from model_health.store.index.index import Index
from model_health.store.index.validation import ValidationRecord, run_state, write_validation
from model_health.store.reports import ReportStore, StoredFile

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
WEBHOOK: Final = "webhook:team"
_NOT_STORED: Final = StoredFile("recorded/manifest.json", "sha256:" + "0" * 64, 0)


@dataclass
class Clock:
    """Tells a time that only moves when told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def forward(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by


def make_home(
    home: Path, shipped: Path, models: Sequence[str], far_side: str, *, local: bool, index_url: str | None = None
) -> Settings:
    """Write the configuration of an installation whose sinks and webhook are the far side; its settings.

    Args:
        home: an empty folder.
        shipped: the folder of configurations that gates are taken from.
        models: to be configured.
        far_side: its address.
        local: whether the sink of files is on too, with files that are put aside at a megabyte.
        index_url: of the index; None: SQLite in `home`.
    """
    for folder in ("configs/models", "configs/canaries"):
        (home / folder).mkdir(parents=True)
    gates = yaml.safe_load((shipped / "gates.yaml").read_text(encoding="utf-8"))
    gates["transports"] = {"webhook": {"team": {"url_secret": "team_webhook_url"}}}
    gates["routes"] = [{"transports": [WEBHOOK]}]
    sinks = {
        "prometheus": {"enabled": True, "url": far_side},
        "local": {"enabled": local, "max_megabytes": 1, "keep": 2},
    }
    suite = {
        "name": SUITE.name,
        "version": SUITE.version,
        "prompts": [{"id": "one", "group": "recorded", "text": "recorded"}],
    }
    source = {"path": str(home)}
    files: dict[str, Any] = {
        "gates.yaml": gates,
        "sinks.yaml": sinks,
        f"canaries/{SUITE.name}.yaml": suite,
        **{f"models/{name}.yaml": {"name": name, "source": source, "suites": [SUITE.name]} for name in models},
    }
    for path, content in files.items():
        (home / "configs" / path).write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    variables = {HOME_VARIABLE: str(home), "MODEL_HEALTH_SECRETS__TEAM_WEBHOOK_URL": f"{far_side}/hook"}
    return load_settings({**variables, **({"MODEL_HEALTH_INDEX_URL": index_url} if index_url else {})})


@dataclass
class World:
    """An installation, and how far its runs have come."""

    settings: Settings
    index: Index
    recording: Recording
    clock: Clock
    sinks: tuple[str, ...]
    verdicts: dict[str, Any] = field(default_factory=dict)

    def measured_with_files(self, model: str, run_id: str, *, sick: bool) -> PlayedRun:
        """A run by the runner's own writer: folder, heartbeat, a file for each report, manifest, rows, outbox."""
        store = ReportStore.open(self.settings.store_uri)
        played = self.recording.play(model, run_id, self.clock(), sick=sick, place=store.report_uri)
        book = RunBook(store, self.index, played.start, self.sinks)
        book.begin()
        for number, prompt in enumerate(self.recording.prompts):
            book.store.write_report(book.folder, prompt, self.recording.files[number % len(self.recording.files)])
            book.alive()
        book.finish(played.manifest, played.records, played.samples)
        self._valid(played)
        return played

    def died(self, model: str, run_id: str) -> None:
        """A run that starts and says no more."""
        start = self.recording.start(model, run_id, self.clock())
        RunBook(ReportStore.open(self.settings.store_uri), self.index, start, self.sinks).begin()

    def measured(self, played: PlayedRun) -> None:
        """A run's rows and outbox items alone, as `RunBook` writes them."""
        model = played.manifest.model_name
        attempt = self.index.start_run(played.start)
        previous = self.verdicts.get(model)
        context = context_of(played.manifest)
        items = run_items(attempt.run_key, self.sinks, played.samples, context, played.manifest, previous)
        points = [point_of(sample) for sample in played.samples]
        result = result_of(played.manifest, _NOT_STORED)
        self.index.finish_run(attempt, result, played.records, points, items)
        self.verdicts[model] = played.manifest.verdict
        self._valid(played)

    def _valid(self, played: PlayedRun) -> None:
        key, prompts = played.start.folder.key, len(self.recording.prompts)
        with self.index.transaction("record a validation") as connection:
            state = run_state(connection, key)
            assert state is not None
            write_validation(connection, state, ValidationRecord(True, self.clock(), prompts, 0, 171, 0.1))
            outbox.release(connection, key)


def ingest(index: Index, runs: Sequence[PlayedRun]) -> None:
    """Runs in one transaction: start and end of each, with samples and points."""
    with index.transaction("record a batch of runs") as connection:
        for played in runs:
            attempt = write.start_run(connection, played.start)
            points = [point_of(sample) for sample in played.samples]
            write.finish_run(connection, attempt, result_of(played.manifest, _NOT_STORED), played.records, points)
