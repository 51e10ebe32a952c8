"""The shipped suite on the shipped model, SmolLM2-135M-Instruct: bait loops, everything else is healthy."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.config.load import load_project
from model_health.config.settings import Settings, load_settings
from model_health.report.load import load_report
from model_health.report.manifest import Manifest
from model_health.runner import overhead as overhead_module
from model_health.runner.batches import make_batches
from model_health.runner.canary import run_canaries
from model_health.runner.loading import load_model
from model_health.runner.overhead import measure_overhead
from model_health.runner.prompts import tokenize
from model_health.runner.request import RunRequest
from model_health.store.reports import ReportStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).resolve().parents[2]
BAIT = "repetition_bait"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The repository's own configuration and cache; reports and index elsewhere."""
    folder = tmp_path_factory.mktemp("smollm2")
    return load_settings(
        {
            "MODEL_HEALTH_HOME": str(REPOSITORY),
            "MODEL_HEALTH_STORE_URI": str(folder / "store"),
            "MODEL_HEALTH_INDEX_URL": f"sqlite:///{folder / 'index.db'}",
        }
    )


@pytest.fixture(scope="module")
def manifest(settings: Settings) -> Manifest:
    return run_canaries(RunRequest(model="smollm2-135m", suite="core", run_id="test"), settings).manifest


def test_the_run_is_healthy(manifest: Manifest) -> None:
    assert manifest.verdict == "healthy", {entry.prompt_id: entry.unhealthy_flags for entry in manifest.prompts}
    assert len(manifest.prompts) >= 24
    assert len({entry.group for entry in manifest.prompts}) == 9


def test_every_bait_prompt_loops_with_its_period_and_no_other_prompt_does(
    manifest: Manifest, settings: Settings
) -> None:
    store = ReportStore.open(settings.store_uri)
    for entry in manifest.prompts:
        assert ("loop_detected" in entry.flags) == (entry.group == BAIT), entry.prompt_id
        assert (entry.loop_period is not None) == (entry.group == BAIT), entry.prompt_id
        if entry.group != BAIT:
            assert entry.unhealthy_flags == (), entry.prompt_id
            continue
        report = load_report(store.read_bytes(entry.report_uri))
        longest = max(report.model_health.loops or (), key=lambda loop: loop.length)
        tokens = report.generated.token_ids[longest.start_step : longest.start_step + longest.length]
        assert longest.witness == "tokens"
        assert tokens[longest.period :] == tokens[: -longest.period]


def test_reports_stay_small(manifest: Manifest) -> None:
    """120 KB a report of 64 tokens and 30 layers; the largest file of the run counts."""
    sizes = {
        entry.prompt_id: Path(entry.report_uri.removeprefix("file://")).stat().st_size for entry in manifest.prompts
    }
    assert max(sizes.values()) < 200_000, sizes


def test_capture_needs_hardly_more_memory_than_plain_generate_at_batch_16(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead_module, "ROUNDS", 1)  # memory is taken in the first round, further ones are for times
    project = load_project(settings)
    config = project.get_model("smollm2-135m")
    loaded = load_model(config, settings)
    suite = project.get_suite("core")
    short = suite.model_copy(
        update={
            "prompts": tuple(
                prompt.model_copy(update={"max_new_tokens": 8, "sampling": None, "stop": ()})
                for prompt in suite.prompts
                if prompt.group != "long_context"
            )
        }
    )
    batch = next(b for b in make_batches(tokenize(short, loaded), loaded, 16) if len(b.prompts) == 16)
    overhead = measure_overhead(loaded, batch, config.measure.resolve())
    assert overhead.batch_size == 16
    assert overhead.plain_peak_memory_bytes
    assert overhead.instrumented_peak_memory_bytes
    assert overhead.instrumented_peak_memory_bytes <= 1.10 * overhead.plain_peak_memory_bytes
