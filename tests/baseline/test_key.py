"""Keys: what differs between two of them names the axes, and some axes forbid any comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model_health.baseline.key import AXES, ReplayShape, changed_axes, comparable
from support.replays import made_up_key

KEY = made_up_key()
ONE_CHANGE: dict[str, dict[str, Any]] = {
    "suite": {"suite_digest": "5" * 64},
    "tokenizer": {"tokenizer_digest": "sha256:other"},
    "sketch": {"sketch_seed": 2},
    "weights": {"weights_digest": "sha256:other"},
    "config": {"config_digest": "sha256:other"},
    "dtype": {"dtype": "bfloat16"},
    "quantization": {"quantization": "bitsandbytes_int8"},
    "attention_backend": {"attention_backend": "eager"},
    "libraries": {"libraries": {"torch": "2.14.0", "transformers": "5.23.0"}},
    "device": {"device_name": "another processor"},
    "driver": {"driver": "cuda 12.8, driver 570"},
    "batch": {"shape": ReplayShape(batch_size=5, threads=1)},
    "padding": {"shape": ReplayShape(batch_size=4, padding_side="right", threads=1)},
    "cache": {"shape": ReplayShape(batch_size=4, cache="chunked", chunk_tokens=8, threads=1)},
    "threads": {"shape": ReplayShape(batch_size=4, threads=2)},
}


def test_every_axis_has_a_change() -> None:
    assert tuple(ONE_CHANGE) == AXES


@pytest.mark.parametrize("axis", AXES)
def test_one_change_is_one_axis(axis: str) -> None:
    other = replace(KEY, **ONE_CHANGE[axis])
    assert changed_axes(KEY, other) == changed_axes(other, KEY) == (axis,)
    assert comparable(KEY, other) == (axis not in ("suite", "tokenizer", "sketch"))
    assert changed_axes(other, other) == ()


def test_a_chat_template_belongs_to_the_tokenizer() -> None:
    assert changed_axes(KEY, replace(KEY, chat_template_digest="sha256:new")) == ("tokenizer",)


def test_the_version_and_name_of_a_suite_with_the_same_digest_do_not_matter() -> None:
    assert changed_axes(KEY, replace(KEY, suite="other", suite_version="2.0.0")) == ()


def test_threads_of_the_host_do_not_matter_on_a_gpu() -> None:
    gpu = replace(KEY, device_kind="cuda")
    assert changed_axes(gpu, replace(gpu, shape=ReplayShape(batch_size=4, threads=9))) == ()
