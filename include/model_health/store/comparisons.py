"""Where comparisons with a baseline lie: next to the run that was compared, or, for a candidate without a run, apart.

    <root>/runs/<model>/<suite>/<run folder>/comparison.json, flips.json, flips.md
    <root>/comparisons/<model>/<suite>/<comparison folder>/...                       the same three files

`comparison.json` is written last. Moves bytes; knows nothing of what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from model_health.errors import StoreError
from model_health.report.serialise import digest
from model_health.store.files import Files, LocalFiles
from model_health.store.names import RUNS, RunFolder
from model_health.store.objects import ObjectFiles
from model_health.store.reports import StoredFile
from model_health.store.uri import StoreLocation, parse_location

COMPARISONS: Final = "comparisons"
RESULT: Final = "comparison.json"
FLIPS_JSON: Final = "flips.json"
FLIPS_PAGE: Final = "flips.md"
MAX_BYTES: Final = 64 * 2**20


class ComparisonStore:
    """Results of comparisons below one root. Make it with `open`."""

    def __init__(self, location: StoreLocation, files: Files) -> None:
        self.location = location
        self._files = files

    @classmethod
    def open(cls, uri: str | Path, *, options: Mapping[str, Any] | None = None) -> ComparisonStore:
        """Open the store at a folder or URI; see `store.reports.ReportStore.open`."""
        location = parse_location(uri)
        if location.is_local:
            return cls(location, LocalFiles(Path(location.path)))
        return cls(location, ObjectFiles(location, options))

    def write(
        self, folder: RunFolder, result: bytes, *, flips: tuple[bytes, bytes] | None = None, of_run: bool = False
    ) -> StoredFile:
        """Write a result, and its flip report as JSON and Markdown; what an earlier try left there is replaced.

        Args:
            folder: of the run, or of a comparison that has none.
            result: JSON.
            flips: JSON and Markdown; None where nothing moved.
            of_run: whether `folder` is a run's.
        """
        base = _base(folder, of_run)
        self._files.remove_file(f"{base}/{RESULT}")
        for name, content in zip((FLIPS_JSON, FLIPS_PAGE), flips or (None, None), strict=True):
            if content is None:
                self._files.remove_file(f"{base}/{name}")
            else:
                self._files.write(f"{base}/{name}", content)
        self._files.write(f"{base}/{RESULT}", result)
        return StoredFile(self._files.uri(f"{base}/{RESULT}"), digest(result), len(result))

    def uri(self, folder: RunFolder, name: str, *, of_run: bool = False) -> str:
        """Where a file of a comparison lies, whether or not it is there."""
        return self._files.uri(f"{_base(folder, of_run)}/{name}")

    def read(self, folder: RunFolder, name: str = RESULT, *, of_run: bool = False) -> bytes:
        """A file of a comparison.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        path = f"{_base(folder, of_run)}/{name}"
        if name not in (RESULT, FLIPS_JSON, FLIPS_PAGE) or not self._files.exists(path):
            raise StoreError("there is no such file of a comparison", subject=self._files.uri(path))
        return self._files.read(path, MAX_BYTES)


def _base(folder: RunFolder, of_run: bool) -> str:
    return f"{RUNS if of_run else COMPARISONS}/{folder.key}"
