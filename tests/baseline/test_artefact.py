"""A baseline as bytes: whole, the same for the same content, refused when a byte was changed."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from model_health.baseline.artefact import ID_LENGTH, Packed, baseline_id_of, pack, read_document, unpack
from model_health.baseline.observations import ItemObservation
from model_health.errors import StoreError
from model_health.report.serialise import digest
from support.replays import facts, made_up, made_up_item

SEEN = made_up(made_up_item(decoder_start=np.asarray([7], np.int32)), made_up_item("one:golden", 7, 1))
PACKED = pack(SEEN, facts(tolerances={"floors": [1.5]}))


def opened(packed: Packed = PACKED, **replaced: Any) -> Any:
    fields = {"data": packed.document, "arrays": packed.arrays, "baseline_id": packed.baseline_id, "uri": "here"}
    return unpack(**{**fields, **replaced})


def same(one: ItemObservation, other: ItemObservation) -> None:
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        found = getattr(other, name)
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype
            np.testing.assert_array_equal(found, value)
        else:
            assert found == value


def test_what_is_read_is_what_was_written() -> None:
    found = opened()
    assert found.observation.key == SEEN.key
    assert found.observation.state_names == SEEN.state_names
    for one, other in zip(SEEN.items, found.observation.items, strict=True):
        same(one, other)
    assert found.document.tolerances == {"floors": [1.5]}
    assert found.document.provenance.reason == "a test"
    assert found.reference == f"tiny/smoke/{PACKED.baseline_id}"


def test_the_same_content_has_the_same_bytes_and_name() -> None:
    again = pack(SEEN, facts(tolerances={"floors": [1.5]}))
    assert again == PACKED
    assert len(again.baseline_id) == ID_LENGTH
    assert pack(SEEN, facts()).baseline_id != PACKED.baseline_id


def test_numbers_that_are_none_survive() -> None:
    sick = made_up(made_up_item(logprobs=np.asarray([np.nan, -np.inf, 0, 0, 0], np.float32)))
    packed = pack(sick, facts())
    found = opened(packed).observation.items[0]
    np.testing.assert_array_equal(found.logprobs, sick.items[0].logprobs)


@given(st.integers(0, len(PACKED.document) - 1), st.integers(0, 7))
def test_one_changed_bit_of_the_document_is_refused(at: int, bit: int) -> None:
    changed = bytearray(PACKED.document)
    changed[at] ^= 1 << bit
    with pytest.raises(StoreError, match="changed after it was written"):
        opened(data=bytes(changed))


@given(st.integers(0, len(PACKED.arrays) - 1), st.integers(0, 7))
def test_one_changed_bit_of_the_arrays_is_refused(at: int, bit: int) -> None:
    changed = bytearray(PACKED.arrays)
    changed[at] ^= 1 << bit
    with pytest.raises(StoreError, match="arrays of here: the file was changed"):
        opened(arrays=bytes(changed))


def forged(document: dict[str, Any], arrays: bytes) -> Packed:
    """A baseline whose digests fit, made by somebody else."""
    data = json.dumps({**document, "arrays_digest": digest(arrays)}).encode()
    return Packed(baseline_id_of(data), data, arrays)


@pytest.mark.parametrize("damage", ["missing array", "fewer rows", "fewer states", "no safetensors", "no gzip"])
def test_arrays_that_do_not_fit_their_document_are_refused(damage: str) -> None:
    arrays = load(gzip.decompress(PACKED.arrays))
    content: bytes | None = None
    if damage == "missing array":
        del arrays["norms"]
    elif damage == "fewer rows":
        arrays["logprobs"] = arrays["logprobs"][:-1]
    elif damage == "fewer states":
        arrays["state_digests"] = np.ascontiguousarray(arrays["state_digests"][:, :-1])
    elif damage == "no safetensors":
        content = gzip.compress(b"nothing of the kind")
    else:
        content = b"nothing of the kind"
    packed = forged(json.loads(PACKED.document), gzip.compress(save(arrays)) if content is None else content)
    with pytest.raises(StoreError, match="do not fit its document"):
        opened(packed)


@pytest.mark.parametrize("change", [{"format": "9.0.0"}, {"surplus": 1}, {"items": []}, {"runs": []}])
def test_another_format_is_refused_in_one_line(change: dict[str, Any]) -> None:
    packed = forged({**json.loads(PACKED.document), **change}, PACKED.arrays)
    with pytest.raises(StoreError, match="no baseline that this version can read") as caught:
        opened(packed)
    assert "\n" not in str(caught.value)


def test_a_document_can_be_read_without_its_arrays() -> None:
    document = read_document(PACKED.document, PACKED.baseline_id, "here")
    assert [item.item_id for item in document.items] == ["one:continuation", "one:golden"]
