"""Runs that the runner itself made, of every kind of model whose reports differ, are valid in full."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from model_health.config.layers import LAYER_LEFT_OUT, STEP_LEFT_OUT
from model_health.errors import ConfigError
from model_health.report.load import load_report
from model_health.report.text import render_report
from model_health.runner.canary import run_canaries
from model_health.runner.request import RunRequest
from model_health.validate.run import validate_run
from support.models import ENCODER_DECODER, WITHOUT_ATTENTION
from support.projects import tiny_project

pytestmark = pytest.mark.slow


# Reports of other families have the same fields as one of these; that their numbers are right is shown by conformance.
KINDS = ("llama", "gemma2", "mixtral", ENCODER_DECODER[0], *WITHOUT_ATTENTION)


@pytest.mark.parametrize("family", KINDS)
def test_a_run_of_a_tiny_model_is_valid_and_its_entropies_are_bounded_by_its_vocabulary(
    family: str, tmp_path: Path
) -> None:
    settings = tiny_project(tmp_path, family=family)
    outcome = run_canaries(RunRequest(model="tiny"), settings)
    result = validate_run(outcome.manifest_uri, settings)
    assert result.failed("critical") == ()
    assert (result.valid, result.reports) == (True, 2)
    report = load_report(Path(outcome.manifest_uri.removeprefix("file://")).parent / "one.json.gz")
    assert report.model_health.vocab_size is not None
    assert outcome.manifest.model is not None
    assert outcome.manifest.model.vocab_size == report.model_health.vocab_size


@pytest.mark.parametrize("family", ["llama", "t5", "mixtral"])
def test_a_run_that_leaves_layers_and_steps_out_is_valid_and_can_be_shown(family: str, tmp_path: Path) -> None:
    measure = {"preset": "full", "layers": {"stride": 3}, "every": 2}
    settings = tiny_project(tmp_path, family=family, measure=measure)
    outcome = run_canaries(RunRequest(model="tiny"), settings)
    result = validate_run(outcome.manifest_uri, settings)
    assert result.failures == ()
    assert (result.valid, result.reports) == (True, 2)
    report = load_report(Path(outcome.manifest_uri.removeprefix("file://")).parent / "one.json.gz")
    assert report.why_null("timeline.layers.anomalies", step=0, layer=1) == LAYER_LEFT_OUT
    assert report.why_null("timeline.layers.anomalies", step=1, layer=3) == STEP_LEFT_OUT
    shown = StringIO()
    render_report(report, Console(file=shown, width=200))
    assert LAYER_LEFT_OUT in shown.getvalue()
    assert STEP_LEFT_OUT in shown.getvalue()


def test_a_run_with_layers_that_the_model_does_not_have_says_so_by_its_name(tmp_path: Path) -> None:
    settings = tiny_project(tmp_path, measure={"layers": {"indices": [7]}})
    with pytest.raises(ConfigError, match=r"tiny: measure\.layers: layer 7 is out of range"):
        run_canaries(RunRequest(model="tiny"), settings)
