"""Atomic files under one root: what every backend of the report store must do, and the local folder that does it.

Owns durability (temporary file, fsync, rename, fsync of the folder) and confinement (no path or symbolic link leads out
of the root). Knows nothing of reports: it moves bytes under relative paths made by `names`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Protocol

from model_health.errors import StoreError
from model_health.store.faults import store_error

TEMP_SUFFIX = ".tmp"


class Files(Protocol):
    """Bytes under relative, slash-separated paths. Errors are `StoreError`s that name the URI."""

    def uri(self, path: str) -> str:
        """The URI of `path`, whether it exists or not."""

    def write(self, path: str, data: bytes) -> None:
        """Make `path` hold `data`: readers see the old bytes or the new ones, never a part."""

    def read(self, path: str, limit: int) -> bytes:
        """All bytes of `path`; refuses more than `limit` of them."""

    def names(self, path: str) -> list[str]:
        """Names of files and folders directly in `path`, sorted; empty if there is no such folder."""

    def exists(self, path: str) -> bool:
        """Whether there is a file at `path`."""

    def remove_file(self, path: str) -> None:
        """Remove the file at `path` if there is one."""

    def remove_folder(self, path: str) -> None:
        """Remove the folder at `path` and what it holds, if there is one."""


class LocalFiles:
    """`Files` in a local folder, made when first written to.

    Args:
        root: absolute folder, already resolved.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def uri(self, path: str) -> str:
        """See `Files.uri`."""
        return (self.root / path).as_uri()

    def write(self, path: str, data: bytes) -> None:
        """See `Files.write`."""
        target = self._inside(path, "write")
        temp = target.parent / f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMP_SUFFIX}"
        try:
            _make_folder(target.parent)
            try:
                _write_through(temp, data)
                temp.replace(target)
            except BaseException:
                # Also on KeyboardInterrupt and SystemExit: a temporary file must not outlive its writer.
                with contextlib.suppress(OSError):
                    temp.unlink()
                raise
            _sync_folder(target.parent)
        except OSError as err:
            raise store_error(err, self.uri(path), "write") from err

    def read(self, path: str, limit: int) -> bytes:
        """See `Files.read`."""
        target = self._inside(path, "read")
        try:
            with target.open("rb") as file:
                # Not `limit + 1`: Python would first reserve so much memory for each small file.
                data = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
        except OSError as err:
            raise store_error(err, self.uri(path), "read") from err
        if len(data) > limit:
            raise StoreError(f"cannot read: larger than {limit} bytes", subject=self.uri(path))
        return data

    def names(self, path: str) -> list[str]:
        """See `Files.names`."""
        try:
            return sorted(p.name for p in self._inside(path, "list").iterdir() if not p.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as err:
            raise store_error(err, self.uri(path), "list") from err

    def exists(self, path: str) -> bool:
        """See `Files.exists`."""
        try:
            return self._inside(path, "read").is_file()
        except OSError as err:
            raise store_error(err, self.uri(path), "read") from err

    def remove_file(self, path: str) -> None:
        """See `Files.remove_file`."""
        try:
            self._inside(path, "remove").unlink(missing_ok=True)
        except OSError as err:
            raise store_error(err, self.uri(path), "remove") from err

    def remove_folder(self, path: str) -> None:
        """See `Files.remove_folder`."""
        try:
            shutil.rmtree(self._inside(path, "remove"))
        except FileNotFoundError:
            return
        except OSError as err:
            raise store_error(err, self.uri(path), "remove") from err

    def _inside(self, path: str, doing: str) -> Path:
        """The real path of `path`, which must lie under the root once every symbolic link is followed."""
        target = self.root / path
        try:
            # The last part is not followed: a rename replaces a link, and reading one is checked by resolving it.
            resolved = target.resolve() if doing == "read" else target.parent.resolve() / target.name
        except (OSError, RuntimeError, ValueError) as err:
            raise store_error(err, self.root.as_uri(), doing) from err
        if not resolved.is_relative_to(self.root) or ".." in Path(path).parts:
            raise StoreError(f"cannot {doing}: the path leaves the store", subject=self.root.as_uri())
        return resolved


def _make_folder(folder: Path) -> None:
    """Like `mkdir -p`, and sync the parents of what was made: a file in a lost folder is a lost file."""
    missing = [folder, *folder.parents]
    made = [part for part in missing if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for part in made:
        _sync_folder(part.parent)


def _write_through(temp: Path, data: bytes) -> None:
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # Some network file systems cannot sync a folder; the rename has happened by then, so that is no failure.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
