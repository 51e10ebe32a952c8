"""Writes the whole demonstration: every night of every model in order of time, with all that follows from each.

Owns that order, and which nights are compared, judged and self-tested. Everything is seeded: the same seed and last
night give the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from model_health.alerting.links import LinkMaker
from model_health.alerting.record import record
from model_health.alerting.watch import look_at_the_clock
from model_health.baseline.store import BaselineStore
from model_health.config.gates import load_gates
from model_health.config.settings import Settings
from model_health.demo.deliveries import deliver
from model_health.demo.home import make_home
from model_health.demo.nights import NightWriter, QuickFiles, quick_store
from model_health.demo.occasion import Occasion
from model_health.demo.plan import FEWEST_NIGHTS, MODELS, DemoModel, loop_days, upgrade_day
from model_health.demo.regression import Regression
from model_health.demo.self_tests import WEEKS, self_test_of
from model_health.demo.texts import SUITE
from model_health.errors import BadInput
from model_health.gates.evaluate import evaluate
from model_health.gates.locate import Locator
from model_health.report.manifest import Manifest, Verdict
from model_health.report.samples import Sample
from model_health.report.serialise import digest, to_json
from model_health.store.comparisons import ComparisonStore
from model_health.store.index.index import Index
from model_health.store.index.self_tests import write_self_test
from model_health.store.uri import parse_location

Say = Callable[[str], None]


@dataclass(frozen=True)
class Demonstration:
    """What was written, and where."""

    home: Path
    runs: int
    reports: int
    comparisons: int
    alerts: int


def write_demonstration(
    out: Path, shipped: Path, *, seed: int, nights: int, now: datetime, say: Say = lambda line: None
) -> Demonstration:
    """Make a folder with a year (or so) of made-up nights, in place of an earlier demonstration.

    Args:
        out: the folder; see `home.make_home`.
        shipped: where gates are taken from.
        seed: of every number.
        nights: at least `FEWEST_NIGHTS`.
        now: the last night is the one before it.
        say: told what happens.

    Raises:
        BadInput: too few nights, or the folder holds something else.
    """
    if nights < FEWEST_NIGHTS:
        raise BadInput(f"needs at least {FEWEST_NIGHTS} nights for its incidents", subject=f"{nights} nights")
    settings = make_home(out.resolve(), shipped)
    last = now.astimezone(UTC).replace(hour=2, minute=0, second=0, microsecond=0)
    last -= timedelta(days=1) if last + timedelta(hours=1) > now else timedelta()
    with Index.open(settings.index_url, clock=lambda: now) as index:
        year = _Year(settings, index, seed, nights, last - timedelta(days=nights - 1))
        year.write(say)
    say("looking at the clock")
    judged = look_at_the_clock(settings=settings, clock=lambda: now)
    return Demonstration(out.resolve(), year.runs, year.reports, year.comparisons, year.alerts + len(judged.said))


class _Year:
    def __init__(self, settings: Settings, index: Index, seed: int, nights: int, first: datetime) -> None:
        root = Path(settings.store_uri)
        self.index, self.seed, self.nights, self.first = index, seed, nights, first
        self.gates = load_gates(settings)
        self.store = quick_store(root)
        self.writer = NightWriter(self.store)
        location, files = parse_location(root), QuickFiles(root)
        self.regression = Regression(
            BaselineStore(location, files), ComparisonStore(location, files), index, self.gates
        )
        self.links = LinkMaker(index, settings, self.gates)
        self.verdicts: dict[str, Verdict] = {}
        self.runs = self.reports = self.comparisons = self.alerts = 0

    def write(self, say: Say) -> None:
        """Every night in order."""
        for day in range(self.nights):
            if day % 30 == 0:
                say(f"night {day + 1} of {self.nights}")
            written: list[tuple[Occasion, Manifest]] = []
            with self.index.transaction("write a night") as connection:
                for number, model in enumerate(MODELS):
                    started = self.first + timedelta(days=day, minutes=7 * number)
                    night = Occasion(model, day, self.nights, self.seed, started)
                    if night.dies:
                        self.writer.start(connection, night)
                    if night.silent:
                        continue
                    manifest, samples = self.writer.write(connection, night)
                    self._deliver(connection, night, manifest, samples)
                    written.append((night, manifest))
            for night, manifest in written:
                self._after(night, manifest)

    def _deliver(self, connection: Connection, night: Occasion, manifest: Manifest, samples: list[Sample]) -> None:
        before = self.verdicts.get(night.model.name)
        left = self.nights - 1 - night.day
        deliver(connection, night.folder.key, manifest, samples, before, nights_left=left)
        self.verdicts[night.model.name] = manifest.verdict

    def _after(self, night: Occasion, manifest: Manifest) -> None:
        self.runs += 1
        self.reports += len(manifest.prompts) if night.keeps_reports else 0
        if night.day in (0, upgrade_day(self.nights) + 1) and manifest.verdict == "healthy":
            why = "first accepted" if night.day == 0 else "torch and transformers were upgraded; replays are equivalent"
            content = to_json(manifest, indent=2)
            self.regression.accept(night, manifest, self.store.manifest_uri(night.folder), digest(content), why)
        elif manifest.status == "measured" and self._compares(night):
            self.regression.hold(night)
            self.comparisons += 1
        if self._judges(night):
            self._judge(night, manifest.ended_at + timedelta(minutes=5))
        if (self.nights - 1 - night.day) % 7 == 1 and self.nights - 1 - night.day < 7 * WEEKS:
            self._self_test(night.model, night)

    def _compares(self, night: Occasion) -> bool:
        left = self.nights - 1 - night.day
        return left < 7 or night.day % 30 == 0 or night.keeps_reports or night.day == upgrade_day(self.nights)

    def _judges(self, night: Occasion) -> bool:
        ends = self.nights - night.model.ends
        around = range(loop_days(self.nights).start - 1, loop_days(self.nights).stop + 3)
        return night.day >= ends - 4 or (night.model.loops and night.day in around)

    def _judge(self, night: Occasion, at: datetime) -> None:
        rules = tuple(self.gates.rules.values())
        locator = Locator(self.index, self.store)
        figures = self.gates.regression.statistics
        results = evaluate(night.model.name, SUITE, self.index, rules, at, locator=locator, statistics=figures)
        self.alerts += len(record(self.index, results, self.gates, self.links, at))

    def _self_test(self, model: DemoModel, night: Occasion) -> None:
        newest = self.nights - 1 - night.day < 7
        test = self_test_of(model, night.started + timedelta(hours=3), fails=newest and model.drifts)
        with self.index.transaction("record a self-test") as connection:
            write_self_test(connection, test)
