"""One file that holds the index and the store, and the way back: `model-health store backup` and `restore`.

    index/<table>.jsonl          every row, in one snapshot of the database
    store/<path>                 every file of runs, baselines and comparisons
    backup.json                  last: version of the schema, rows by table, a digest of every other member

The index comes first: what it names was written before, so it is in the store. Nothing is half-written: a backup has
its name once it is complete, and a restore reads the whole file before it writes anything, into an empty target only.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from model_health.errors import BadInput, StoreError
from model_health.store.files import Files, LocalFiles
from model_health.store.index import dump
from model_health.store.names import RUNS
from model_health.store.objects import ObjectFiles
from model_health.store.uri import parse_location

FORMAT: Final = "1.0.0"
FOLDERS: Final = (RUNS, "baselines", "comparisons")
CONTENTS: Final = "backup.json"
MAX_FILE: Final = 512 * 2**20
_BLOCK: Final = 2**20


@dataclass(frozen=True)
class Backup:
    """What a backup holds: rows by table, files of the store, and their bytes."""

    rows: dict[str, int]
    files: int
    size: int

    @property
    def words(self) -> str:
        """For people."""
        return f"{sum(self.rows.values())} rows of {len(self.rows)} tables and {self.files} files, {self.size} bytes"


def backup(index_url: str, store_uri: str, target: Path, *, now: datetime) -> Backup:
    """Write a backup, readable by nobody else.

    Raises:
        BadInput: the target exists, or its folder does not.
        StoreError: something cannot be read or written; no target is left then.
    """
    if target.exists() or not target.parent.is_dir():
        raise BadInput("exists already" if target.exists() else "lies in no folder", subject=str(target))
    files = _files(store_uri)
    digests: dict[str, str] = {}
    rows: dict[str, int] = {}
    half = ""
    try:
        descriptor, half = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # 0600
        with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w") as tar:
            with dump.snapshot(index_url) as (revision, connection):
                for name in dump.TABLES:
                    with tempfile.TemporaryFile() as lines:
                        rows[name] = dump.write_table(connection, name, lines)
                        _add(tar, f"index/{name}.jsonl", lines, digests)
            stored = 0
            for path in _walk(files):
                content = files.read(path, MAX_FILE)
                stored += len(content)
                _add(tar, f"store/{path}", io.BytesIO(content), digests)
            about = {"format": FORMAT, "revision": revision, "made_at": now.isoformat(), "rows": rows}
            _add(tar, CONTENTS, io.BytesIO(json.dumps({**about, "digests": digests}, indent=1).encode()), {})
            tar.close()
            raw.flush()
            os.fsync(raw.fileno())
        Path(half).replace(target)
    except OSError as error:
        raise StoreError(f"cannot be written: {error.strerror}", subject=str(target)) from error
    finally:
        if half:
            Path(half).unlink(missing_ok=True)
    return Backup(rows, sum(name.startswith("store/") for name in digests), stored)


def restore(source: Path, index_url: str, store_uri: str) -> Backup:
    """Fill an empty index and an empty store from a backup.

    Raises:
        BadInput: the file is no backup, or was changed after it was made.
        StoreError: the target is not empty, or cannot be written; what was written by then has to be removed by hand.
    """
    about = _verified(source)
    files = _files(store_uri)
    for folder in FOLDERS:
        if files.names(folder):
            hint = "restore into an empty store: name another one, or remove this one yourself"
            raise StoreError(f"the store is not empty: it has {folder}", subject=files.uri(folder), hint=hint)
    dump.check_empty(index_url)
    count = size = 0
    with tarfile.open(source) as tar:
        for member in tar:
            if member.name.startswith("store/"):
                content = _content(tar, member).read()
                files.write(member.name.removeprefix("store/"), content)
                count, size = count + 1, size + len(content)
        names = [name for name in dump.TABLES if f"index/{name}.jsonl" in about["digests"]]
        lines = ((name, _content(tar, tar.getmember(f"index/{name}.jsonl"))) for name in names)
        rows = dump.load(index_url, about["revision"], lines)
    return Backup(rows, count, size)


def _verified(source: Path) -> dict[str, Any]:
    """What a backup says of itself, once every byte of it was held against that."""
    subject = str(source)
    found: dict[str, str] = {}
    try:
        with tarfile.open(source) as tar:
            for member in tar:
                if member.name in found or not member.isfile() or not _is_ours(member.name):
                    raise BadInput(f"holds what no backup has: {member.name[:100]!r}", subject=subject)
                if member.name == CONTENTS:
                    about = json.loads(_content(tar, member).read())
                else:
                    found[member.name] = _digest(_content(tar, member))
        if about["format"] != FORMAT or not isinstance(about["revision"], str):
            raise BadInput(f"is a backup of another format ({about['format']})", subject=subject)
        expected: dict[str, str] = dict(about["digests"])
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"cannot be read as a backup: {reason}", subject=subject) from None
    except (UnboundLocalError, KeyError, TypeError, ValueError):
        raise BadInput("is no backup, or not a whole one", subject=subject) from None
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        raise BadInput(f"was changed after it was made, first at {wrong[0]}", subject=subject)
    return dict(about)


def _is_ours(name: str) -> bool:
    kind, *parts = name.split("/")
    if name == CONTENTS:
        return True
    if kind == "index":
        return len(parts) == 1 and parts[0].endswith(".jsonl")
    inside = len(parts) > 1 and parts[0] in FOLDERS
    return kind == "store" and inside and not any(part in ("", ".", "..") or "\x00" in part for part in parts)


def _walk(files: Files) -> Iterator[str]:
    """Every file of the store, by path."""
    waiting = list(reversed(FOLDERS))
    while waiting:
        path = waiting.pop()
        if path not in FOLDERS and files.exists(path):
            yield path
        else:
            waiting += [f"{path}/{name}" for name in reversed(files.names(path))]


def _files(store_uri: str) -> Files:
    location = parse_location(store_uri)
    return LocalFiles(Path(location.path)) if location.is_local else ObjectFiles(location)


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], digests: dict[str, str]) -> None:
    content.seek(0)
    digests[name] = _digest(content)
    member = tarfile.TarInfo(name)
    member.size, member.mode = content.tell(), 0o600
    content.seek(0)
    tar.addfile(member, content)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None, "only files come this far"
    return file


def _digest(content: IO[bytes]) -> str:
    found = hashlib.sha256()
    while block := content.read(_BLOCK):
        found.update(block)
    return f"sha256:{found.hexdigest()}"
