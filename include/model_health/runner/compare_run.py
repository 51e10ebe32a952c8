"""From the name of a baseline and of a candidate to a verdict on record: what `model-health compare` calls.

Owns the stages and what becomes of a candidate that does not load: files that are there and damaged are *broken*, files
that are not there are the caller's mistake.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from model_health.baseline.registry import load
from model_health.baseline.store import BaselineStore
from model_health.config.gates import load_gates
from model_health.config.load import load_project
from model_health.config.models import ModelConfig
from model_health.config.settings import Settings
from model_health.errors import ModelSourceError
from model_health.runner.compare import Purpose, compare_loaded, compared_unloadable
from model_health.runner.compare_candidate import CandidateChoices, candidate_config, is_local
from model_health.runner.compare_record import ComparisonPlace, write_comparison
from model_health.runner.loading import LoadedModel, load_model
from model_health.store.comparisons import ComparisonStore
from model_health.store.index.index import Index
from model_health.store.names import RunFolder

Say = Callable[[str], None]
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class CompareRequest:
    """What is compared with what.

    Args:
        baseline: MODEL/SUITE (the promoted one), MODEL/SUITE/ID or ID.
        candidate: see `compare_candidate`; None: the baseline's own model, as it is configured.
        purpose: what for.
        choices: over the candidate's configuration.
        store_uri: where the baseline lies and the result goes; None: the installation's store.
    """

    baseline: str
    candidate: str | None = None
    purpose: Purpose = "promotion"
    choices: CandidateChoices = field(default_factory=CandidateChoices)
    store_uri: str | None = None


def compare_candidate(request: CompareRequest, settings: Settings, *, say: Say, clock: Clock) -> dict[str, Any]:
    """Compare, and put it on record; what `comparison.json` says, and where it lies.

    Raises:
        BadInput: the baseline, the candidate or the configuration is wrong, or not there.
        CouldNotMeasure: the model could not be replayed, or the store or the index failed.
    """
    root = request.store_uri or settings.store_uri
    baseline = load(BaselineStore.open(root), request.baseline)
    name, suite_name = baseline.document.model_name, baseline.document.suite
    project = load_project(settings)
    policy = load_gates(settings).regression
    suite = project.get_suite(suite_name)
    candidate = request.candidate or name
    config = candidate_config(candidate, name, project, settings, request.choices)
    say(f"{candidate}: loading {config.source.label}")
    try:
        loaded = load_model(config, settings, progress=say)
    except ModelSourceError as error:
        if not is_local(config):
            raise
        compared = compared_unloadable(str(error), baseline, policy, purpose=request.purpose)
    else:
        say(f"{candidate}: replaying {len(baseline.observation.items)} texts of {suite.name}")
        compared = compare_loaded(
            loaded, suite, baseline, policy, purpose=request.purpose, reload=reloader(config, settings)
        )
    now = clock()
    run_id = f"compare-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    folder = RunFolder.of(name, suite_name, run_id)
    place = ComparisonPlace(folder, of_run=False, candidate=candidate, purpose=request.purpose, at=now)
    with Index.open(settings.index_url) as index:
        result, _ = write_comparison(ComparisonStore.open(root), index, compared, baseline, place)
    return result


def reloader(config: ModelConfig, settings: Settings) -> Callable[[], LoadedModel]:
    """Loads the model again from its files, on the CPU in float32."""

    def reload() -> LoadedModel:
        values = {**config.model_dump(), "device": "cpu", "dtype": "float32", "quantization": "none"}
        if str(values["attention_backend"]).startswith("flash"):
            values["attention_backend"] = "auto"
        return load_model(ModelConfig.model_validate(values), settings)

    return reload
