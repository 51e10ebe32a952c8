"""Which layers a choice takes, and what it says where it takes none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_health.config.json_schema import yaml_schema
from model_health.config.layers import ALL_LAYERS, LayerChoice
from model_health.config.measure import PRESETS, MeasureConfig
from model_health.errors import ConfigError

NAMES = [f"model.layers.{number}" for number in range(12)]


def pick(**choice: object) -> tuple[int, ...]:
    (chosen,) = LayerChoice.model_validate(choice).pick([NAMES], "tiny")
    return chosen


def test_indices_are_ascending_once_and_negative_ones_count_from_the_end() -> None:
    assert pick(indices=[5, -1, 0, 11]) == (0, 5, 11)


def test_a_stride_takes_the_first_layer_and_every_so_manieth_after_it() -> None:
    assert pick(stride=5) == (0, 5, 10)
    assert pick(stride=100) == (0,)


def test_a_regex_is_searched_for_in_the_name_of_the_module() -> None:
    assert pick(regex=r"\.(1|10)$") == (1, 10)
    assert pick(regex="layers") == tuple(range(12))


@given(st.integers(1, 40), st.integers(1, 40))
def test_any_stride_is_those_indices(count: int, stride: int) -> None:
    names = [[str(number) for number in range(count)]]
    indices = tuple(range(0, count, stride))
    assert LayerChoice(stride=stride).pick(names, "m") == LayerChoice(indices=indices).pick(names, "m") == (indices,)


def test_every_stack_is_chosen_from_by_itself_and_one_of_them_may_be_left_out() -> None:
    stacks = [["decoder.0", "decoder.1"], ["encoder.0", "encoder.1", "encoder.2"]]
    assert LayerChoice(indices=(-1,)).pick(stacks, "m") == ((1,), (2,))
    assert LayerChoice(regex="^encoder").pick(stacks, "m") == ((), (0, 1, 2))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"indices": [12]}, "tiny: measure.layers: layer 12 is out of range, a stack of this model has 12 layers"),
        ({"indices": [0, -13]}, "layer -13 is out of range"),
        ({"regex": "blocks"}, "measure.layers: regex 'blocks' chooses no layer (the first layer is 'model.layers.0')"),
    ],
    ids=str,
)  # fmt: skip
def test_a_choice_of_nothing_names_model_key_and_what_there_is(choice: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pick(**choice)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({}, "exactly one of indices, stride and regex, not none"),
        ({"indices": [1], "stride": 2}, "not indices and stride"),
        ({"regex": "(["}, "is not a regular expression"),
    ],
    ids=str,
)
def test_exactly_one_way_is_given_and_it_makes_sense(choice: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LayerChoice.model_validate(choice)


def test_every_preset_looks_at_all_layers_at_every_step() -> None:
    assert {(preset.layers, preset.every) for preset in PRESETS.values()} == {(ALL_LAYERS, 1)}
    assert ALL_LAYERS.takes_all


def test_a_choice_overrides_its_preset() -> None:
    switches = MeasureConfig.model_validate({"preset": "full", "layers": {"indices": [0, -1]}, "every": 8}).resolve()
    assert (switches.layers.indices, switches.every) == ((0, -1), 8)
    assert not switches.layers.takes_all


def test_editors_know_the_keys() -> None:
    schema = yaml_schema("model")["$defs"]
    assert set(schema["LayerChoice"]["properties"]) == {"indices", "stride", "regex"}
    assert {"layers", "every"} <= set(schema["MeasureConfig"]["properties"])
