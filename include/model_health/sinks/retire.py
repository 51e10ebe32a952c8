"""Takes away what sinks still show of models, suites and gates that are no longer configured.

A gateway and a folder of text files forget nothing by themselves: the last numbers of a model that was taken out of
service would stand there for ever, and its age would page for ever. Owns what counts as configured; deletes only
through the sinks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from model_health.config.gates import load_gates
from model_health.config.load import load_project
from model_health.config.settings import Settings
from model_health.config.sinks import load_sinks
from model_health.errors import ConfigError, ModelHealthError
from model_health.gates.freshness import EVERYTHING
from model_health.sinks.groups import Configured
from model_health.sinks.registry import open_sink


@runtime_checkable
class Retiring(Protocol):
    """A sink that shows things until they are taken away."""

    def retire(self, configured: Configured) -> Collection[object]:
        """Take away what is not covered; what that was. Raises `DeliveryFailed` or `StoreError`."""


@dataclass
class Retired:
    """What was taken away: how many things, by sink; `problems` says why a sink did not do it."""

    taken: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def configured(settings: Settings, *, targets: Collection[str] | None = None) -> Configured:
    """What scheduled runs cover: the enabled models with their suites, and the gates.

    Args:
        settings: where the configuration lies.
        targets: of the outbox; None leaves what is shown of targets alone.

    Raises:
        BadInput: a model, a suite or the gates cannot be loaded: what is broken for an hour is not retired.
    """
    project = load_project(settings)
    if project.problems:
        raise project.problems[0].error
    pairs = {(model.name, suite) for model in project.enabled_models for suite in model.suites}
    return Configured(
        # Gates that judge the installation as a whole stand beside the models.
        pairs=frozenset(pairs | {(EVERYTHING, EVERYTHING)} if pairs else ()),
        gates=frozenset(load_gates(settings).rules),
        targets=None if targets is None else frozenset(targets),
    )


def retire(settings: Settings, *, targets: Collection[str] | None = None) -> Retired:
    """Take away from every enabled sink what is no longer configured. Doing it again takes nothing more.

    Each sink is asked by itself: one that does not answer keeps nothing from the others.

    Raises:
        BadInput: see `configured`; nothing is taken away then, and not where no model is enabled either.
    """
    known = configured(settings, targets=targets)
    if not known.pairs:
        raise ConfigError(
            "no model is enabled, so everything would be taken away",
            subject=str(settings.configs_dir),
            hint="check MODEL_HEALTH_HOME",
        )
    retired = Retired()
    for name in load_sinks(settings).enabled:
        try:
            sink = open_sink(name, settings)
            if isinstance(sink, Retiring):
                retired.taken[name] = len(sink.retire(known))
        except ModelHealthError as error:  # said by the caller, once every sink was asked
            retired.problems[name] = str(error)
    return retired
