"""Where baselines lie: immutable folders and a numbered list of promotions, below the root of the report store.

    <root>/baselines/<model>/<suite>/<baseline id>/arrays.safetensors.gz
    <root>/baselines/<model>/<suite>/<baseline id>/baseline.json            written last
    <root>/baselines/<model>/<suite>/promotions/<number>-<baseline id>.json

Nothing is ever overwritten or removed here. Moves bytes; knows nothing of what a promotion means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_health.baseline.artefact import ID_LENGTH, Baseline, Packed, read_document, unpack
from model_health.baseline.document import BaselineDocument
from model_health.errors import StoreError
from model_health.store.files import Files, LocalFiles
from model_health.store.names import check_slug
from model_health.store.objects import ObjectFiles
from model_health.store.uri import StoreLocation, parse_location

BASELINES = "baselines"
PROMOTIONS = "promotions"
DOCUMENT = "baseline.json"
ARRAYS = "arrays.safetensors.gz"
MAX_STORED = 512 * 2**20

_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
_PROMOTION = re.compile(rf"([0-9]{{6}})-([0-9a-f]{{{ID_LENGTH}}})\.json")


class BaselineStore:
    """Baselines and promotions below one root. Make it with `open`."""

    def __init__(self, location: StoreLocation, files: Files) -> None:
        self.location = location
        self._files = files

    @classmethod
    def open(cls, uri: str | Path, *, options: Mapping[str, Any] | None = None) -> BaselineStore:
        """Open the store at a folder or URI; see `store.reports.ReportStore.open`."""
        location = parse_location(uri)
        if location.is_local:
            return cls(location, LocalFiles(Path(location.path)))
        return cls(location, ObjectFiles(location, options))

    def write(self, model: str, suite: str, packed: Packed) -> str:
        """Write a baseline, and return its URI. The same content again changes nothing."""
        folder = f"{_folder(model, suite)}/{packed.baseline_id}"
        if not self._files.exists(f"{folder}/{DOCUMENT}"):
            self._files.write(f"{folder}/{ARRAYS}", packed.arrays)
            self._files.write(f"{folder}/{DOCUMENT}", packed.document)
        return self._files.uri(folder)

    def read(self, model: str, suite: str, baseline_id: str) -> Baseline:
        """A baseline, whole.

        Raises:
            StoreError: there is none of that name, or a byte of it was changed.
        """
        folder = self._known(model, suite, baseline_id)
        data = self._files.read(f"{folder}/{DOCUMENT}", MAX_STORED)
        uri = self._files.uri(folder)
        self._belongs(read_document(data, baseline_id, uri), model, suite, uri)
        return unpack(data, self._files.read(f"{folder}/{ARRAYS}", MAX_STORED), baseline_id, uri)

    def read_document(self, model: str, suite: str, baseline_id: str) -> BaselineDocument:
        """A baseline without its arrays, which are not looked at. Raises as `read`."""
        folder = self._known(model, suite, baseline_id)
        uri = self._files.uri(folder)
        document = read_document(self._files.read(f"{folder}/{DOCUMENT}", MAX_STORED), baseline_id, uri)
        return self._belongs(document, model, suite, uri)

    def uri(self, model: str, suite: str, baseline_id: str) -> str:
        """Where a baseline lies, whether or not it is there."""
        return self._files.uri(f"{_folder(model, suite)}/{baseline_id}")

    def baselines(self, model: str | None = None, suite: str | None = None) -> list[tuple[str, str, str]]:
        """Model, suite and name of every finished baseline, in that order."""
        found = []
        for one in self._files.names(BASELINES) if model is None else [check_slug(model, "model name")]:
            suites = self._files.names(f"{BASELINES}/{one}") if suite is None else [check_slug(suite, "suite name")]
            for other in suites:
                names = self._files.names(f"{BASELINES}/{one}/{other}")
                found += [
                    (one, other, name)
                    for name in names
                    if _ID.fullmatch(name) and self._files.exists(f"{BASELINES}/{one}/{other}/{name}/{DOCUMENT}")
                ]
        return found

    def promotions(self, model: str, suite: str) -> list[tuple[int, str, bytes]]:
        """Number, baseline and content of every promotion, oldest first."""
        folder = f"{_folder(model, suite)}/{PROMOTIONS}"
        matches = [match for name in self._files.names(folder) if (match := _PROMOTION.fullmatch(name))]
        return [(int(m[1]), m[2], self._files.read(f"{folder}/{m[0]}", MAX_STORED)) for m in matches]

    def add_promotion(self, model: str, suite: str, number: int, baseline_id: str, content: bytes) -> str:
        """Write one promotion, and return its URI.

        Raises:
            StoreError: there is one of that number for that baseline already.
        """
        path = f"{_folder(model, suite)}/{PROMOTIONS}/{number:06d}-{baseline_id}.json"
        if self._files.exists(path):
            raise StoreError("this promotion is recorded already", subject=self._files.uri(path))
        self._files.write(path, content)
        return self._files.uri(path)

    def _known(self, model: str, suite: str, baseline_id: str) -> str:
        folder = f"{_folder(model, suite)}/{check_slug(baseline_id, 'baseline')}"
        if not self._files.exists(f"{folder}/{DOCUMENT}"):
            raise StoreError(
                "there is no such baseline", subject=self._files.uri(folder), hint="see: model-health baseline list"
            )
        return folder

    @staticmethod
    def _belongs(document: BaselineDocument, model: str, suite: str, uri: str) -> BaselineDocument:
        if (document.model_name, document.suite) != (model, suite):
            owner = f"{document.model_name}/{document.suite}"
            raise StoreError(f"is a baseline of {owner}, which was moved here", subject=uri)
        return document


def _folder(model: str, suite: str) -> str:
    return f"{BASELINES}/{check_slug(model, 'model name')}/{check_slug(suite, 'suite name')}"
