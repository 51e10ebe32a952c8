"""A baseline as bytes and back: one JSON document, one safetensors file of arrays, named by their content.

The name of a baseline is the digest of its document, which holds the digest of its arrays: a changed byte anywhere is
noticed when it is read. Knows nothing of where the bytes lie.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model_health.baseline.document import BaselineDocument, ItemEntry
from model_health.baseline.observations import ItemObservation, ReplayObservation
from model_health.errors import StoreError
from model_health.report.serialise import digest, to_json

ID_LENGTH = 32
MAX_BYTES = 1 << 30
"""Largest arrays, decompressed, that are read: a hostile file must not fill the memory."""

_PER_TOKEN = ("token_ids", "logprobs", "entropy_bits", "argmax_ids", "top_ids", "top_logprobs", "norms")
_PER_SKETCH = ("sketch_rows", "sketches")
_CHANGED = "the file was changed after it was written"


@dataclass(frozen=True)
class Baseline:
    """A baseline that was read, whole and unchanged."""

    baseline_id: str
    document: BaselineDocument
    observation: ReplayObservation

    @property
    def reference(self) -> str:
        """Names it on the command line."""
        return f"{self.document.model_name}/{self.document.suite}/{self.baseline_id}"


@dataclass(frozen=True)
class Packed:
    """The bytes of a baseline."""

    baseline_id: str
    document: bytes
    arrays: bytes


def pack(observation: ReplayObservation, facts: Mapping[str, Any]) -> Packed:
    """The bytes of a baseline.

    Args:
        observation: the reference replay; it need not have looked up another's tokens.
        facts: the fields of `BaselineDocument` that the observation does not tell.
    """
    arrays = gzip.compress(save(_arrays(observation.items)), compresslevel=6, mtime=0)
    document = BaselineDocument.model_validate(
        {
            "key": observation.key,
            "state_names": observation.state_names,
            "items": [_entry(item) for item in observation.items],
            "arrays_digest": digest(arrays),
            "cpu_seconds": observation.cpu_seconds,
            "wall_seconds": observation.wall_seconds,
            **facts,
        }
    )
    data = to_json(document)
    return Packed(baseline_id_of(data), data, arrays)


def baseline_id_of(document: bytes) -> str:
    """The name that a document's content gives it."""
    return hashlib.sha256(document).hexdigest()[:ID_LENGTH]


def read_document(data: bytes, baseline_id: str, uri: str) -> BaselineDocument:
    """The document of a baseline.

    Raises:
        StoreError: it is not what its name says, or not a baseline of this format.
    """
    if baseline_id_of(data) != baseline_id:
        raise StoreError(_CHANGED, subject=uri, hint="restore it, or create a new baseline")
    try:
        return _DOCUMENTS.validate_python(json.loads(data))
    except (ValidationError, ValueError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise StoreError(
            f"is no baseline that this version can read: {first}", subject=uri, hint="create a new baseline"
        ) from error


def unpack(data: bytes, arrays: bytes, baseline_id: str, uri: str) -> Baseline:
    """A baseline from its bytes.

    Args:
        data: the document as stored.
        arrays: the arrays as stored.
        baseline_id: the name under which they lie.
        uri: where they lie, for errors.

    Raises:
        StoreError: a byte was changed, or this is no baseline of this format.
    """
    document = read_document(data, baseline_id, uri)
    if digest(arrays) != document.arrays_digest:
        raise StoreError(_CHANGED, subject=f"arrays of {uri}", hint="restore it, or create a new baseline")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(arrays)) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise StoreError(f"cannot read: larger than {MAX_BYTES} bytes", subject=uri)
        items = _items(load(content), document)
    except (OSError, EOFError, zlib.error, SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"its arrays do not fit its document: {error}", subject=uri) from error
    observation = ReplayObservation(
        document.key, document.state_names, items, document.cpu_seconds, document.wall_seconds
    )
    return Baseline(baseline_id, document, observation)


def _entry(item: ItemObservation) -> ItemEntry:
    return ItemEntry(
        item_id=item.item_id,
        prompt_id=item.prompt_id,
        kind=item.kind,
        group=item.group,
        context=len(item.context_ids),
        tokens=item.tokens,
        sketched=len(item.sketch_rows),
        decoder_start=len(item.decoder_start),
    )


def _arrays(items: Sequence[ItemObservation]) -> dict[str, Any]:
    joined = ("context_ids", "decoder_start", *_PER_TOKEN, *_PER_SKETCH)
    arrays = {name: np.concatenate([getattr(item, name) for item in items]) for name in joined}
    arrays["state_digests"] = np.stack([_bytes(item.state_digests) for item in items])
    arrays["logits_digest"] = np.stack([_bytes((item.logits_digest,))[0] for item in items])
    arrays["non_finite"] = np.stack([item.non_finite for item in items])
    arrays["logits_non_finite"] = np.asarray([item.logits_non_finite for item in items], dtype=np.int32)
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _bytes(digests: Sequence[str]) -> Any:
    return np.stack([np.frombuffer(bytes.fromhex(one), dtype=np.uint8) for one in digests])


def _items(arrays: dict[str, Any], document: BaselineDocument) -> tuple[ItemObservation, ...]:
    counts = {
        **{name: [entry.tokens for entry in document.items] for name in _PER_TOKEN},
        **{name: [entry.sketched for entry in document.items] for name in _PER_SKETCH},
        "context_ids": [entry.context for entry in document.items],
        "decoder_start": [entry.decoder_start for entry in document.items],
    }
    for name, lengths in counts.items():
        if len(arrays[name]) != sum(lengths):
            raise ValueError(f"{name} has {len(arrays[name])} rows, not {sum(lengths)}")
    if arrays["state_digests"].shape[:2] != (len(document.items), len(document.state_names)):
        raise ValueError("state_digests has another number of items or states")
    parts = {name: np.split(arrays[name], np.cumsum(lengths)[:-1]) for name, lengths in counts.items()}
    return tuple(
        ItemObservation(
            item_id=entry.item_id,
            prompt_id=entry.prompt_id,
            kind=entry.kind,
            group=entry.group,
            reference_logprobs=None,
            state_digests=tuple(bytes(row).hex() for row in arrays["state_digests"][at]),
            logits_digest=bytes(arrays["logits_digest"][at]).hex(),
            non_finite=arrays["non_finite"][at],
            logits_non_finite=int(arrays["logits_non_finite"][at]),
            **{name: parts[name][at] for name in counts},
        )
        for at, entry in enumerate(document.items)
    )


_DOCUMENTS = TypeAdapter(BaselineDocument)
