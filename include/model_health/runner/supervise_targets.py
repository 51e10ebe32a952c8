"""Owns which runs a Dag run consists of: the pairs of model and suite, split by the resource they wait for.

Asked when the Dag runs, not when it is parsed: parsing stays as cheap for a thousand models as for one, and a change of
`configs/` needs no new parse.
"""

from __future__ import annotations

from model_health.baseline.registry import current
from model_health.baseline.store import BaselineStore
from model_health.config.load import load_project
from model_health.config.settings import Settings, load_settings


def choose_targets(
    *,
    wants_cuda: bool,
    model: str | None = None,
    suite: str | None = None,
    accepted: bool = False,
    settings: Settings | None = None,
) -> list[dict[str, str]]:
    """Return `{"model": ..., "suite": ...}` of each run, sorted by model.

    A model whose file is broken, and a name that nobody configured, stay in the list (among those without CUDA): their
    own run then fails and says why, and the other models are not harmed.

    Args:
        wants_cuda: whether to list the models that ask for CUDA, or all others.
        model: only this one, enabled or not; None: every enabled model.
        suite: this suite for all; None: the suites that each model names.
        accepted: only pairs that have a promoted baseline; one that somebody asks for by name stays, and says so.
        settings: read from the environment if None.

    Raises:
        ConfigError: the settings are wrong, or there is no configs folder.
        StoreError: promotions cannot be read.
    """
    settings = settings or load_settings()
    project = load_project(settings)
    if model:
        configs = [project.models[model]] if model in project.models else []
        broken = [] if configs else [model]
    else:
        configs = list(project.enabled_models)
        broken = sorted({problem.name for problem in project.problems if problem.kind == "model"})
    pairs = [(config.name, name) for config in configs for name in config.suites if config.wants_cuda == wants_cuda]
    if not wants_cuda:
        pairs += [(name, suite or "none") for name in broken]
    if suite:
        pairs = [(name, suite) for name in dict.fromkeys(name for name, _ in pairs)]
    if accepted and not model:
        store = BaselineStore.open(settings.store_uri)
        pairs = [pair for pair in pairs if pair[1] in project.suites and current(store, *pair) is not None]
    return [{"model": name, "suite": of_suite} for name, of_suite in sorted(pairs)]
