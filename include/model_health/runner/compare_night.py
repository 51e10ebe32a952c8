"""Holds a canary run against the promoted baseline while its model is loaded: one load serves generation and replay.

Owns what a run does for it: finds the baseline before the model loads, compares after generation, and puts the result
next to the run's reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from model_health.baseline.nightly import screen_night
from model_health.baseline.policy import judge
from model_health.baseline.registry import load
from model_health.baseline.store import BaselineStore
from model_health.config.gates import load_gates
from model_health.config.models import ModelConfig
from model_health.config.settings import Settings
from model_health.config.suites import CanarySuite
from model_health.gates.night import night_of
from model_health.report.identity import ModelIdentity
from model_health.report.manifest import PromptEntry
from model_health.runner.compare import Compared, compare_loaded
from model_health.runner.compare_record import ComparisonPlace, write_comparison
from model_health.runner.compare_run import reloader
from model_health.runner.loading import LoadedModel
from model_health.runner.request import RunRequest
from model_health.store.comparisons import ComparisonStore
from model_health.store.index.index import Index
from model_health.store.names import RunFolder


class NightComparison:
    """The comparison of one run with the promoted baseline of its model and suite.

    Raises:
        BadInput: nothing is promoted for them, or gates.yaml is wrong.
        StoreError: the baseline cannot be read.
    """

    def __init__(self, request: RunRequest, config: ModelConfig, suite: CanarySuite, settings: Settings) -> None:
        self._root = request.store_uri or settings.store_uri
        self._baseline = load(BaselineStore.open(self._root), f"{config.name}/{suite.name}")
        self._policy = load_gates(settings).regression
        self._config, self._suite, self._settings = config, suite, settings
        self._night = night_of(request.airflow.dag_id, request.airflow.run_id) if request.airflow is not None else None
        self._compared: Compared | None = None

    def compare(self, loaded: LoadedModel, entries: Sequence[PromptEntry], identity: ModelIdentity | None) -> Compared:
        """Replay and answer. Without a scheduler that screens all models of a night, this one is screened alone."""
        reload = reloader(self._config, self._settings)
        compared = compare_loaded(
            loaded,
            self._suite,
            self._baseline,
            self._policy,
            purpose="nightly",
            entries=entries,
            identity=identity,
            reload=reload,
        )
        if self._night is None:
            found, name = compared.comparison, self._config.name
            screened = screen_night({name: found.p_values}, level=found.level)[name]
            verdict = judge(found, self._policy, use="nightly", model=name, suite=self._suite.name, screened=screened)
            compared = replace(compared, verdict=verdict)
        self._compared = compared
        return compared

    def keep(self, index: Index, folder: RunFolder, at: datetime) -> dict[str, Any] | None:
        """Put the result next to the run; what a summary says of it, None where the run ended before."""
        if self._compared is None:
            return None
        place = ComparisonPlace(folder, True, self._config.name, "nightly", at, self._night)
        result, stored = write_comparison(
            ComparisonStore.open(self._root), index, self._compared, self._baseline, place
        )
        return {
            "answer": result["answer"],
            "verdict": result["verdict"],
            "exit_code": result["exit_code"],
            "reason": "; ".join(self._compared.verdict.reasons)[:300],
            "result_uri": stored.uri,
        }
