"""Which runs a night consists of: those of models that have a promoted baseline on the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.baseline.artefact import pack
from model_health.baseline.registry import promote_named
from model_health.baseline.store import BaselineStore
from model_health.config.settings import Settings
from model_health.runner.supervise_targets import choose_targets
from support.projects import configured, model, suite
from support.regressions import ME
from support.replays import facts, made_up


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    models = [model(name, "w", suites=["smoke", "other"]) for name in ("tiny", "waiting", "never")]
    settings = configured(tmp_path, models=models, suites=[suite(), suite("other")])
    store = BaselineStore.open(settings.store_uri)
    for name in ("tiny", "waiting"):
        store.write(name, "smoke", pack(made_up(), facts(model_name=name)))
    promote_named(settings.store_uri, f"tiny/smoke/{store.baselines('tiny')[0][2]}", ME)
    return settings


def test_only_a_promoted_baseline_counts(settings: Settings) -> None:
    assert choose_targets(wants_cuda=False, accepted=True, settings=settings) == [{"model": "tiny", "suite": "smoke"}]
    assert choose_targets(wants_cuda=True, accepted=True, settings=settings) == []


def test_without_it_every_pair_is_chosen(settings: Settings) -> None:
    assert len(choose_targets(wants_cuda=False, settings=settings)) == 6


def test_what_somebody_asks_for_by_name_stays_so_that_its_run_says_why(settings: Settings) -> None:
    chosen = choose_targets(wants_cuda=False, model="never", suite="smoke", accepted=True, settings=settings)
    assert chosen == [{"model": "never", "suite": "smoke"}]


def test_a_broken_model_without_a_baseline_is_no_matter_of_the_night(settings: Settings) -> None:
    (settings.home / "configs/models/broken.yaml").write_text("name: [")
    assert choose_targets(wants_cuda=False, accepted=True, settings=settings) == [{"model": "tiny", "suite": "smoke"}]
