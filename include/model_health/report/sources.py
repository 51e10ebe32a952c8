"""Finds the JSON documents in whatever holds reports: plain JSON, gzip, or the SQLite form; a path or bytes.

Nothing here knows what a report looks like. Everything that can be wrong with a file is a one-line ReportError that
names it: missing, truncated, not JSON, not UTF-8, too large once unpacked, nested too deep, a database without reports.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import quote

from model_health.errors import ReportError

Source = str | PathLike[str] | bytes

LIMIT_BYTES = 256 * 1024 * 1024
"""Largest JSON text that is read, after unpacking."""

GZIP_MAGIC = b"\x1f\x8b"
SQLITE_MAGIC = b"SQLite format 3\x00"
DATABASE_WORK = 500
"""Hundred thousands of SQLite's instructions that reading one file may take: some hundred thousand rows."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Document:
    """One JSON object and where it came from.

    Args:
        name: what errors call it: the file, and the trace within it if there are several.
        text: the JSON as found, unpacked.
        content: what it says; non-finite tokens are floats that are not finite.
    """

    name: str
    text: bytes
    content: dict[str, Any]

    def check_text(self) -> None:
        """Raise ReportError for half of a surrogate pair: JSON can escape one, but no file or index can hold it."""
        if _SURROGATE.search(self.text) is None:
            return
        try:
            json.dumps(self.content, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError) as error:
            reason = "holds half a character" if isinstance(error, UnicodeEncodeError) else "is nested too deep"
            raise ReportError(f"is not a report: it {reason}", subject=self.name) from error


@dataclass(frozen=True)
class StoredReport:
    """A report in a SQLite file, as its row describes it."""

    trace_id: str
    created_at_utc: str | None
    model_id: str | None
    schema_version: str | None


def documents(source: Source, *, name: str | None = None, limit: int = LIMIT_BYTES) -> Iterator[Document]:
    """Every document of a source, one after the other: a plain file has one, a SQLite file any number.

    Args:
        source: a path, or the bytes of a file.
        name: what errors call the source; its path by default.
        limit: largest JSON text in bytes.

    Raises:
        ReportError: the source cannot be read.
    """
    label = name or ("bytes" if isinstance(source, bytes) else str(Path(source)))
    if _head(source, label).startswith(SQLITE_MAGIC):
        with closing(_open(source, label)) as database:
            for trace_id, data in _rows(database, label):
                yield _document(data, f"{label}[{trace_id}]", limit)
        return
    yield _document(_bytes(source, label, limit), label, limit)


def stored_reports(source: Source, *, name: str | None = None) -> tuple[StoredReport, ...] | None:
    """What a SQLite file holds, newest first as far as its rows say; None for any other kind of file."""
    label = name or ("bytes" if isinstance(source, bytes) else str(Path(source)))
    if not _head(source, label).startswith(SQLITE_MAGIC):
        return None
    with closing(_open(source, label)) as database:
        columns = _columns(database, label)
        wanted = [c if c in columns else "NULL" for c in ("trace_id", "created_at_utc", "model_id", "schema_version")]
        order = " ORDER BY created_at_utc DESC" if "created_at_utc" in columns else ""
        rows = _query(database, f"SELECT {', '.join(wanted)} FROM reports{order}", label)  # noqa: S608 fixed words
        return tuple(StoredReport(str(row[0]), *(None if x is None else str(x) for x in row[1:])) for row in rows)


def _head(source: Source, label: str) -> bytes:
    if isinstance(source, bytes):
        return source[: len(SQLITE_MAGIC)]
    try:
        with Path(source).open("rb") as file:
            return file.read(len(SQLITE_MAGIC))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ReportError(f"cannot be read: {getattr(error, 'strerror', None) or error}", subject=label) from error


def _bytes(source: Source, label: str, limit: int) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        with Path(source).open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ReportError(f"cannot be read: {error.strerror or error}", subject=label) from error
    if len(data) > limit:
        raise _too_large(label, limit)
    return data


def _document(data: bytes, label: str, limit: int) -> Document:
    text = unpack(data, label, limit)
    if not text.strip():
        raise ReportError("is empty", subject=label)
    try:
        content = json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ReportError(f"is not UTF-8 text (byte {error.start})", subject=label) from error
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) - 1 or error.msg.startswith("Unterminated")
        where = "is cut off" if cut else "is not JSON"
        raise ReportError(f"{where}: {error.msg} at line {error.lineno} column {error.colno}", subject=label) from error
    except RecursionError as error:
        raise ReportError("is nested too deep to be a report", subject=label) from error
    except ValueError as error:  # an integer of thousands of digits
        raise ReportError(f"is not a report: {error}", subject=label) from error
    if not isinstance(content, dict):
        raise ReportError(f"is not a report: a JSON {type(content).__name__}, not an object", subject=label)
    return Document(name=label, text=text, content=content)


def unpack(data: bytes, label: str, limit: int = LIMIT_BYTES) -> bytes:
    """The JSON text of a file's bytes, gzipped or not. Raises ReportError: damaged, cut off, or over `limit` bytes."""
    if not data.startswith(GZIP_MAGIC):
        if len(data) > limit:
            raise _too_large(label, limit)
        return data
    try:
        text = _gunzip(data, limit + 1)
    except EOFError as error:
        raise ReportError("is a gzip file that is cut off", subject=label) from error
    except zlib.error as error:
        raise ReportError(f"is a damaged gzip file: {error}", subject=label) from error
    if len(text) > limit:
        raise _too_large(label, limit)
    return text


def _gunzip(data: bytes, most: int) -> bytes:
    """The first `most` bytes of what was compressed, in one piece: `gzip.GzipFile` takes them in small ones.

    Raises:
        EOFError: the file ends too early.
        zlib.error: it is damaged.
    """
    parts: list[bytes] = []
    left, rest = most, data
    while rest and left:
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: a gzip header and checksum
        parts.append(member.decompress(rest, left))
        left -= len(parts[-1])
        if left and not member.eof:
            raise EOFError
        rest = member.unused_data.lstrip(b"\0")  # a file may hold several members, and be padded
    return b"".join(parts)


def _too_large(label: str, limit: int) -> ReportError:
    return ReportError(f"is larger than {limit / 2**20:g} MiB of JSON", subject=label, hint="a report is far smaller")


def _open(source: Source, label: str) -> sqlite3.Connection:
    try:
        if isinstance(source, bytes):
            database = sqlite3.connect(":memory:")
            database.deserialize(source)
        else:
            database = sqlite3.connect(f"file:{quote(os.fsencode(Path(source)))}?mode=ro", uri=True)
        # Pages that refer to each other in a circle would be read for ever.
        left = iter(range(DATABASE_WORK))
        database.set_progress_handler(lambda: next(left, None) is None, 100_000)
    except sqlite3.Error as error:
        raise ReportError(f"is a damaged SQLite file: {error}", subject=label) from error
    return database


def _query(database: sqlite3.Connection, statement: str, label: str) -> list[tuple[Any, ...]]:
    try:
        return database.execute(statement).fetchall()
    except sqlite3.Error as error:
        raise ReportError(f"is a damaged SQLite file: {error}", subject=label) from error


def _columns(database: sqlite3.Connection, label: str) -> set[str]:
    # A view's text, or a virtual table's, would be run: it may have no end.
    made = _query(database, "SELECT sql FROM sqlite_master WHERE name = 'reports' AND type = 'table'", label)
    plain = [row for row in made if isinstance(row[0], str) and row[0].upper().startswith("CREATE TABLE")]
    columns = {str(row[1]) for row in _query(database, "PRAGMA table_info(reports)", label)} if plain else set()
    if "trace_id" not in columns or not columns & {"report_json", "report_blob"}:
        raise ReportError("is a SQLite file without a table of reports", subject=label)
    return columns


def _rows(database: sqlite3.Connection, label: str) -> Iterator[tuple[str, bytes]]:
    """Trace id and data of each row, fetched one by one: the compressed blob, or the text where there is no blob."""
    columns = _columns(database, label)
    wanted = [column if column in columns else "NULL" for column in ("report_blob", "report_json")]
    for (trace_id,) in _query(database, "SELECT trace_id FROM reports ORDER BY rowid", label):
        statement = f"SELECT {', '.join(wanted)} FROM reports WHERE trace_id IS ?"  # noqa: S608 fixed words
        try:
            row = database.execute(statement, (trace_id,)).fetchone()
        except sqlite3.Error as error:
            raise ReportError(f"is a damaged SQLite file: {error}", subject=label) from error
        if row is None:
            raise ReportError("is a damaged SQLite file: a row is listed and not there", subject=label)
        data = row[0] or row[1]
        if not data or not isinstance(data, (str, bytes)):
            raise ReportError("is a row without a report", subject=f"{label}[{trace_id}]")
        yield str(trace_id), data.encode("utf-8", "replace") if isinstance(data, str) else bytes(data)
