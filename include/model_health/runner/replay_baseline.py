"""Makes a baseline of a configured model: chooses healthy runs, loads the model once, replays, writes.

Owns the order of the stages. What stands behind a baseline is checked in `baseline.create`; what is harmless is learned
in `baseline.tolerance` from replays under other ways to run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from model_health.baseline.create import Created, check_identity, choose_runs, write_baseline
from model_health.baseline.document import Provenance
from model_health.baseline.observations import ReplayObservation
from model_health.baseline.registry import promote
from model_health.baseline.store import BaselineStore
from model_health.baseline.tolerance import learn
from model_health.config.load import load_project
from model_health.config.settings import Settings
from model_health.config.suites import CanarySuite
from model_health.report.identity import ModelIdentity
from model_health.runner.identity import identify
from model_health.runner.loading import LoadedModel, load_model
from model_health.runner.replay import key_of, production_shape, replay_loaded
from model_health.runner.replay_plan import plan_again, plan_replay
from model_health.runner.replay_variants import harmless_variants, replay_variants
from model_health.store.reports import ReportStore

Say = Callable[[str], None]
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class BaselineRequest:
    """What to make a baseline of.

    Args:
        model, suite: by name; the model's first suite if None.
        provenance: who wants it, and why.
        runs: how many of the newest healthy runs stand behind it. run_ids: these runs instead.
        replays: how often the reference is replayed, to see whether its bits repeat.
        tolerances: whether to replay under other ways to run, and learn from it what is harmless.
        promote: whether it counts at once.
    """

    model: str
    provenance: Provenance
    suite: str | None = None
    runs: int = 1
    run_ids: tuple[str, ...] = field(default=())
    replays: int = 2
    tolerances: bool = True
    promote: bool = False
    store_uri: str | None = None


def create_baseline(request: BaselineRequest, settings: Settings, *, say: Say, clock: Clock) -> Created:
    """Make a baseline, and promote it if that is asked for.

    Raises:
        BadInput: the request, the configuration or the runs are wrong.
        CouldNotMeasure: the model could not be loaded or replayed, or the store failed. Nothing is half written.
    """
    project = load_project(settings)
    config = project.get_model(request.model)
    suite = project.get_suite(request.suite or config.suites[0])
    root = request.store_uri or settings.store_uri
    runs = choose_runs(
        ReportStore.open(root), config.name, suite.name, suite.digest(), count=request.runs, run_ids=request.run_ids
    )
    say(f"{config.name}: loading {config.source.label}")
    loaded = load_model(config, settings, progress=say)
    identity = identify(loaded)
    shape = production_shape(loaded)
    key = key_of(loaded, suite, shape, identity)
    check_identity(runs, key)
    items = plan_replay(suite, loaded, runs[0].tokens)
    say(f"{config.name}: replaying {len(items)} texts of {suite.name}, {request.replays} times")
    replays = [replay_loaded(loaded, items, key)]
    replays += [replay_loaded(loaded, plan_again(replays[0]), key) for _ in range(request.replays - 1)]
    tolerances = _learn(loaded, suite, replays, identity, say) if request.tolerances else None
    store = BaselineStore.open(root)
    created = write_baseline(store, replays, runs, provenance=request.provenance, now=clock(), tolerances=tolerances)
    if request.promote:
        promote(store, created.model, created.suite, created.baseline_id, request.provenance, clock())
    return created


def _learn(
    loaded: LoadedModel, suite: CanarySuite, replays: list[ReplayObservation], identity: ModelIdentity, say: Say
) -> JsonValue:
    reference = replays[0]
    pairs = [(reference, other) for other in replays[1:]]
    production = reference.key.shape
    items = plan_again(reference)
    variants = harmless_variants(loaded, production, items)
    say(f"{loaded.config.name}: learning what is harmless, {len(variants)} more replays")
    for variant, observed in replay_variants(loaded, suite, items, production, variants, identity=identity):
        if isinstance(observed, str):
            say(f"{loaded.config.name}: {variant.name} is left out: {observed}")
        else:
            pairs.append((reference, observed))
    learned: Any = learn(pairs, dtype=reference.key.dtype).model_dump(mode="json")
    return learned  # type: ignore[no-any-return]
