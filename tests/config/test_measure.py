"""What the presets measure, and how switches override them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_health.config.measure import PRESETS, MeasureConfig, MeasureSwitches, Sketch

PROMPT_PARTS = ("prompt_attention_sparse", "basin_scores", "layer_transformations", "prompt_surprisals")


def on(switches: MeasureSwitches) -> set[str]:
    return {name for name, value in switches if value is True}


def test_flags_measures_what_the_health_flags_need() -> None:
    switches = MeasureConfig(preset="flags").resolve()
    assert on(switches) == {"logits", "hidden", "lag_similarity"}
    assert switches.sketch.dim == 0


def test_standard_leaves_out_the_costly_parts_of_a_long_prompt() -> None:
    everything = on(MeasureConfig(preset="full").resolve())
    assert everything - on(MeasureConfig().resolve()) == {"prompt_attention_sparse", "prompt_surprisals"}


def test_full_measures_everything() -> None:
    switches = MeasureConfig(preset="full").resolve()
    assert False not in dict(switches).values()
    assert switches.sketch.dim == 0  # sketches are asked for by name: they make a report half as large again


def test_a_switch_overrides_its_preset_both_ways() -> None:
    switches = MeasureConfig(preset="flags", attention=True, hidden=False, topk=3, sketch=Sketch(dim=4)).resolve()
    assert switches.attention
    assert not switches.hidden
    assert (switches.topk, switches.sketch.dim) == (3, 4)


def test_no_prompt_telemetry_switches_all_its_parts_off() -> None:
    switches = MeasureConfig(preset="full", prompt_telemetry=False, basin_scores=True).resolve()
    assert [getattr(switches, part) for part in PROMPT_PARTS] == [False] * 4


@given(st.sampled_from(sorted(PRESETS)), st.dictionaries(st.sampled_from(PROMPT_PARTS), st.booleans()))
def test_resolving_is_explicit_and_stable(preset: str, parts: dict[str, bool]) -> None:
    switches = MeasureConfig.model_validate({"preset": preset, "prompt_telemetry": True, **parts}).resolve()
    assert None not in dict(switches).values()
    assert all(getattr(switches, part) is value for part, value in parts.items())
    assert MeasureConfig.model_validate({"preset": "flags", **switches.model_dump()}).resolve() == switches


@pytest.mark.parametrize(
    "wrong",
    [{"preset": "all"}, {"topk": 0}, {"topk": True}, {"logits": "yes"}, {"sparse_threshold": float("nan")},
     {"sparse_threshold": 1.0}, {"sketch": {"dim": -1}}, {"sketch": {"dims": 8}}, {"sparse_cap": 0},
     {"every": 0}, {"every": True}, {"layers": {}}, {"layers": {"stride": 0}}, {"layers": {"indices": []}},
     {"layers": {"indices": [1.5]}}, {"layers": {"stride": 2, "regex": "a"}}, {"layers": {"regex": "("}},
     {"layers": {"regex": ""}}, {"layers": [1, 2]}],
)  # fmt: skip
def test_a_wrong_switch_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MeasureConfig.model_validate(wrong)


def test_the_mirror_of_switches_stays_complete() -> None:
    assert set(MeasureConfig.model_fields) == {"preset", *MeasureSwitches.model_fields}
