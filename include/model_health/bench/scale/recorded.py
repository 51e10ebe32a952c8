"""A recorded run that any number of made-up models repeat: its reports' samples, index rows, manifest and files.

Owns which recording is played and what of it changes from run to run (names, times, the verdict). The reports are built
once, by the library's own builder; playing a run builds none, so what follows a report can be driven by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from model_health.report.extension import SuiteIdentity
from model_health.report.identity import DeviceIdentity, ModelIdentity
from model_health.report.manifest import Manifest, PromptEntry
from model_health.report.samples import Sample, samples_of_manifest, samples_of_report
from model_health.report.serialise import digest, to_gzip
from model_health.report.synthetic import PREFIX
from model_health.report.trace import Trace
from model_health.runner.book import record_of, run_start
from model_health.store.index.records import RunStart, SampleRecord
from model_health.store.names import RunFolder
from model_health.validate.made_up import made_up_report

SUITE: Final = SuiteIdentity(name="recorded", version="1.0.0", digest="sha256:" + "0" * 64)
SICK_FLAG: Final = "nan_detected"
TOOK: Final = timedelta(seconds=40)
"""How long a recorded run took: the made-up clock stands still while it is played."""


Place = Callable[[RunFolder, str], str]


def _nowhere(folder: RunFolder, prompt: str) -> str:
    return f"recorded/{folder.model}/{prompt}.json.gz"


def model_name(number: int) -> str:
    """The name of a made-up model."""
    return f"{PREFIX}{number:06d}"


@dataclass(frozen=True)
class PlayedRun:
    """One run of one model, ready to be written."""

    start: RunStart
    manifest: Manifest
    records: tuple[SampleRecord, ...]
    samples: tuple[Sample, ...]


class Recording:
    """A run of `prompts` prompts of `tokens` tokens, of a model of `layers` layers."""

    def __init__(self, *, prompts: int, tokens: int, layers: int, variants: int = 4) -> None:
        made = [made_up_report(steps=tokens, layers=layers, seed=seed) for seed in range(min(variants, prompts))]
        self.traces: tuple[Trace, ...] = tuple(made)
        self.prompts = tuple(f"prompt-{number:03d}" for number in range(prompts))
        self._samples = [samples_of_report(trace) for trace in made]

    @cached_property
    def files(self) -> tuple[bytes, ...]:
        """A report's bytes as they are stored, of each variant."""
        return tuple(to_gzip(trace) for trace in self.traces)

    @cached_property
    def _digests(self) -> tuple[str, ...]:
        return tuple(digest(content) for content in self.files)

    def start(self, model: str, run_id: str, at: datetime) -> RunStart:
        """What is written down before the model loads."""
        return run_start(
            model, SUITE.name, run_id, at, suite_version=SUITE.version, suite_digest=SUITE.digest, airflow=None
        )

    def play(self, model: str, run_id: str, at: datetime, *, sick: bool = False, place: Place = _nowhere) -> PlayedRun:
        """The run as `model` would have made it at `at`.

        Args:
            model: its name.
            run_id: of the run.
            at: when it started.
            sick: whether there was NaN in its first prompt.
            place: the URI of a prompt's report.
        """
        ended, start = at + TOOK, self.start(model, run_id, at)
        entries = [
            self._entry(place(start.folder, name), number, name, sick and number == 0)
            for number, name in enumerate(self.prompts)
        ]
        manifest = Manifest(
            run_id=run_id,
            model_name=model,
            suite=SUITE,
            status="measured",
            verdict="unhealthy" if sick else "healthy",
            started_at=at,
            ended_at=ended,
            model=ModelIdentity(
                source=model, architecture="Made", model_type="made", layers=1, device=DeviceIdentity(kind="cpu")
            ),
            prompts=tuple(entries),
        )
        samples = [*self._prompt_samples(model, ended), *samples_of_manifest(manifest)]
        records = tuple(record_of(entry, "length", {}) for entry in entries)
        return PlayedRun(start, manifest, records, tuple(samples))

    def _prompt_samples(self, model: str, at: datetime) -> Sequence[Sample]:
        variants = len(self.traces)
        return [
            replace(sample, labels={**sample.labels, "model": model, "suite": SUITE.name}, timestamp=at, prompt_id=name)
            for number, name in enumerate(self.prompts)
            for sample in self._samples[number % variants]
        ]

    def _entry(self, uri: str, number: int, name: str, sick: bool) -> PromptEntry:
        variant = number % len(self.traces)
        values = {sample.metric: sample.value for sample in self._samples[variant]}
        flags = (SICK_FLAG,) if sick else ()
        stated = {field: values[field] for field in PromptEntry.model_fields if field in values}
        return PromptEntry.model_validate(
            {
                **stated,
                "prompt_id": name,
                "group": self.traces[variant].model_health.group,
                "report_uri": uri,
                "digest": self._digests[variant],
                "flags": flags,
                "unhealthy_flags": flags,
                "tolerated": (),
            }
        )
