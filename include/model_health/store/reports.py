"""The report store: one compressed JSON file per canary prompt and one manifest per run, at a URI.

    <root>/runs/<model>/<suite>/<run folder>/<prompt_id>.json.gz
    <root>/runs/<model>/<suite>/<run folder>/manifest.json
    <root>/runs/<model>/<suite>/<run folder>/validation.json     once the run was validated

A run's folder follows from its run id, so a retry overwrites its own files and nothing else. The manifest is written
last: a folder without one is an unfinished run. The store moves bytes and knows nothing of what a report says.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from model_health.errors import BadInput, StoreError
from model_health.report.serialise import digest as digest_of
from model_health.store.files import Files, LocalFiles
from model_health.store.names import MANIFEST, REPORT_SUFFIX, RUNS, VALIDATION, RunFolder, check_slug
from model_health.store.objects import ObjectFiles
from model_health.store.uri import StoreLocation, parse_location

_GZIP = b"\x1f\x8b"
MAX_BYTES = 512 * 2**20
"""Largest report, compressed or not, that is read: a damaged or hostile file must not fill the memory."""


@dataclass(frozen=True)
class StoredFile:
    """What was written. `digest` is of the stored bytes, so `sha256sum` finds the same; `size` is in bytes."""

    uri: str
    digest: str
    size: int


@dataclass(frozen=True)
class StoredRun:
    """A run's folder in the store. `finished` means that its manifest is there."""

    folder: RunFolder
    uri: str
    manifest_uri: str
    finished: bool


class ReportStore:
    """Reports, manifests and validations below one root. Make it with `open`."""

    def __init__(self, location: StoreLocation, files: Files) -> None:
        self.location = location
        self._files = files

    @classmethod
    def open(cls, uri: str | Path, *, options: Mapping[str, Any] | None = None) -> ReportStore:
        """Open the store at a folder or URI; nothing is created before the first write.

        `options` go to the client of an object store (endpoint, region). Raises `ConfigError` for a URI that is not
        allowed or whose client library is missing.
        """
        location = parse_location(uri)
        if location.is_local:
            return cls(location, LocalFiles(Path(location.path)))
        return cls(location, ObjectFiles(location, options))

    @property
    def uri(self) -> str:
        """The root's canonical URI."""
        return self.location.uri

    def begin_run(self, run: RunFolder) -> str:
        """Clear what an earlier try of this run left, its manifest first, and return the folder's URI.

        From here on the run counts as unfinished until `write_manifest`, so nobody reads half of one try and half of
        another.
        """
        self._files.remove_file(run.manifest_path)
        self._files.remove_folder(run.path)
        return self._files.uri(run.path)

    def write_report(self, run: RunFolder, prompt_id: str, content: bytes) -> StoredFile:
        """Write one report, replacing an earlier one of the same run and prompt.

        `content` is JSON, which is compressed here, or JSON that already is gzipped, which is stored as it is.
        """
        # mtime=0 and no file name: the same report always gives the same bytes.
        packed = content if content.startswith(_GZIP) else gzip.compress(content, compresslevel=6, mtime=0)
        return self._write(run.report_path(prompt_id), packed)

    def write_manifest(self, run: RunFolder, content: bytes) -> StoredFile:
        """Write the run's manifest, which finishes the run. Call it after every report is written."""
        return self._write(run.manifest_path, content)

    def write_validation(self, run: RunFolder, content: bytes) -> StoredFile:
        """Write what validation found about a run, replacing an earlier result."""
        return self._write(run.validation_path, content)

    def read_bytes(self, uri: str, *, digest: str | None = None) -> bytes:
        """The content of a report or manifest of this store, decompressed.

        Args:
            uri: as returned by a write; a path relative to the root, or inside it, is fine too.
            digest: expected digest of the stored bytes (`sha256:...`); a mismatch is a `StoreError`.
        """
        path = self._relative(uri)
        data = self.read_stored(uri)
        if digest is not None and (found := digest_of(data)) != digest:
            raise StoreError(
                f"the file was changed after it was written (digest {found[:19]}, expected {digest[:19]})",
                subject=uri,
                hint="run the suite again, or restore the file",
            )
        return _unpack(data, uri) if path.endswith(".gz") else data

    def read_stored(self, uri: str) -> bytes:
        """The bytes of a file of this store as they lie there, compressed or not: those that its digest is of."""
        path = self._relative(uri)
        if not path.endswith((REPORT_SUFFIX, f"/{MANIFEST}", f"/{VALIDATION}")):
            raise StoreError("not a report or a manifest", subject=uri, hint=f"name a *{REPORT_SUFFIX} or {MANIFEST}")
        return self._files.read(path, MAX_BYTES)

    def read_file(self, path: str) -> bytes:
        """The bytes of any file below the root, compressed or not, for reports that no run of this store wrote.

        `path` is relative to the root. Raises `StoreError` for a path that leaves it.
        """
        if "\x00" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise StoreError("not a path below the store", subject=path, hint=f"the store is {self.uri}")
        return self._files.read(path, MAX_BYTES)

    def read_report(self, run: RunFolder, prompt_id: str, *, digest: str | None = None) -> bytes:
        """The JSON of one report."""
        return self.read_bytes(self.report_uri(run, prompt_id), digest=digest)

    def report_uri(self, run: RunFolder, prompt_id: str) -> str:
        """Where the report of one prompt lies, whether or not it is there."""
        return self._files.uri(run.report_path(prompt_id))

    def manifest_uri(self, run: RunFolder) -> str:
        """Where a run's manifest lies, whether or not it is there."""
        return self._files.uri(run.manifest_path)

    def read_manifest(self, run: RunFolder, *, digest: str | None = None) -> bytes:
        """The JSON of a run's manifest. Raises `StoreError` if the run is unfinished or unknown."""
        if not self._files.exists(run.manifest_path):
            known = bool(self._files.names(run.path))
            raise StoreError(
                "the run is unfinished: it has no manifest" if known else "there is no such run",
                subject=self._files.uri(run.path),
            )
        return self.read_bytes(self.manifest_uri(run), digest=digest)

    def is_validated(self, run: RunFolder) -> bool:
        """Whether somebody validated this run."""
        return self._files.exists(run.validation_path)

    def list_runs(
        self, model: str | None = None, suite: str | None = None, *, finished_only: bool = True
    ) -> Iterator[StoredRun]:
        """The runs in the store, in order of model, suite and folder name. Folders that are no run's are passed over.

        This walks the store; for anything but a rebuild ask the index.
        """
        for folder in self._folders(model, suite):
            finished = self._files.exists(folder.manifest_path)
            if finished or not finished_only:
                uri = self._files.uri(folder.path)
                yield StoredRun(folder, uri, self._files.uri(folder.manifest_path), finished)

    def prompt_ids(self, run: RunFolder) -> list[str]:
        """The prompts that have a report in this run so far, sorted."""
        names = self._files.names(run.path)
        return [name.removesuffix(REPORT_SUFFIX) for name in names if name.endswith(REPORT_SUFFIX)]

    def local_path(self, uri: str) -> Path | None:
        """Where `uri` lies on this machine, for people to open; None in an object store."""
        return Path(self.location.path) / self._relative(uri) if self.location.is_local else None

    def _folders(self, model: str | None, suite: str | None) -> Iterator[RunFolder]:
        models = self._files.names(RUNS) if model is None else [check_slug(model, "model name")]
        for one in models:
            suites = self._files.names(f"{RUNS}/{one}") if suite is None else [check_slug(suite, "suite name")]
            for other in suites:
                for name in self._files.names(f"{RUNS}/{one}/{other}"):
                    try:
                        yield RunFolder(one, other, name)
                    except BadInput:
                        continue  # A stray file of somebody else's: never a run that this store wrote.

    def _write(self, path: str, stored: bytes) -> StoredFile:
        self._files.write(path, stored)
        return StoredFile(self._files.uri(path), digest_of(stored), len(stored))

    def _relative(self, uri: str) -> str:
        """The path of `uri` below the root. Refuses every other place, however it is written."""
        root = self.location.path if self.location.is_local else self.uri
        text = uri
        if self.location.is_local:
            try:
                text = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
                if text.startswith("/"):
                    text = os.path.realpath(text)  # The root is resolved too, so a linked spelling of it is the same.
            except ValueError:  # no address at all, a NUL, or a character that no file name can have
                text = ""
        root = root.rstrip("/")
        if text.startswith(f"{root}/"):
            text = text[len(root) :].lstrip("/")
        parts = text.split("/")
        if parts[0] != RUNS or "\x00" in text or any(part in ("", ".", "..") for part in parts):
            raise StoreError("not a file of this store", subject=uri, hint=f"the store is {self.uri}")
        return text


def _unpack(data: bytes, uri: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as err:
        raise StoreError(
            f"the file is damaged: {err}", subject=uri, hint="run the suite again, or restore the file"
        ) from err
    if len(content) > MAX_BYTES:
        raise StoreError(f"cannot read: larger than {MAX_BYTES} bytes", subject=uri)
    return content
