"""Ways in which a valid document goes bad: in its structure, in its text, in its bytes. Knows none of the documents.

Structural changes are drawn as pairs of a place and a change. A document has as many places as it has values, so the
place is a number that is taken modulo their count: it stays meaningful while hypothesis makes an example smaller.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

RAW = {
    "@huge@": "9" * 5000,
    "@large@": "1" + "0" * 300,
    "@overflow@": "1e999",
    "@tiny@": "1e-999",
    "@minus@": "-0",
    "@deep@": "[" * 3000 + "]" * 3000,
    "@deeper@": '{"a":' * 900 + "1" + "}" * 900,
    "@open@": "[",
    "@twice@": '{"a":1,"a":2}',
}
"""What no writer of JSON would write, by the text that stands for it."""

TEXTS = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\n\r\t",
    "two\nlines",
    "\u2028\x85\x1c",
    "\ud800",
    "\udcff",
    "\x1b[31m\x07",
    "\ufffd\u202e\u0301",
    "[bold]x[/bold][/]",
    "%s%n{0}{x!r}$(id)`id`",
    "..",
    "../../guard/kept",
    "/etc/passwd",
    "guard/../../guard",
    "C:\\guard",
    "file:///etc/passwd",
    "http://127.0.0.1:9/",
    "s3://user:secret@bucket/x",
    "https://",
    "http://[::1",
    "memory://",
    "~root/x",
    "x" * 300,
    "9" * 400,
    "null",
    "NaN",
    "2026-13-45T99:99:99Z",
    "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00:00+23:59",
    "0.3.0",
    "sha256:",
    *RAW,
]
NUMBERS = [0, -1, 1, 2, 10**6, 2**31, 2**53 + 1, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308, -1e-308]
NUMBERS += [math.nan, math.inf, -math.inf]
SHAPES: list[Any] = [None, True, False, [], {}, [None], [[]], {"": None}, {"a": {"b": []}}, [1, "a", None]]

values = st.one_of(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.sampled_from(SHAPES), st.text(max_size=20))
keys = st.one_of(st.sampled_from([*TEXTS, "name", "<<", "$ref", "__class__", "model_health"]), st.text(max_size=10))

Edit = tuple[str, int, Any]
KINDS = ["set", "set", "like", "like", "like", "remove", "rename", "add", "double", "nest", "swap", "empty"]
edits = st.tuples(st.sampled_from(KINDS), st.integers(0, 10_000), st.one_of(values, keys))
Edits = list[Edit]


def changed(content: Any, changes: Edits) -> Any:
    """A copy of the content with each of the changes, one after the other."""
    content = copy.deepcopy(content)
    for kind, place, value in changes:
        places = list(_places(content))
        if not places:
            return value
        holder, key = places[place % len(places)]
        _change(kind, holder, key, copy.deepcopy(value), places[(place * 7 + 3) % len(places)])
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every value's holder and key. What is wide is passed over after a while: its items are alike."""
    items = list(content.items()) if isinstance(content, dict) else list(enumerate(content))
    for key, value in items[:200]:
        yield content, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def _change(kind: str, holder: Any, key: Any, value: Any, other: tuple[Any, Any]) -> None:
    if kind == "set":
        holder[key] = value
    elif kind == "like":  # of the same type: what a check of types does not notice
        same = [one for one in (*NUMBERS, *TEXTS, *SHAPES) if type(one) is type(holder[key])]
        holder[key] = copy.deepcopy(same[sum(map(ord, repr(value))) % len(same)]) if same else value
    elif kind == "remove":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        holder[str(value)] = holder.pop(key)
    elif kind == "add" and isinstance(holder, dict):
        holder[str(value)] = value
    elif kind in ("add", "double") and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]) if kind == "double" else value)
    elif kind == "nest":
        holder[key] = [holder[key]] if isinstance(value, int) else {"a": holder[key]}
    elif kind == "swap":
        holder[key] = copy.deepcopy(other[0][other[1]])
    elif kind == "empty":
        holder[key] = type(holder[key])()


def to_text(content: Any) -> str:
    """JSON, and what stands for that which JSON has not."""
    text = json.dumps(content)
    for sign, raw in RAW.items():
        text = text.replace(f'"{sign}"', raw)
    return text


# ------------------------------------------------------------------------------------------------------------- bytes
PIECES = [b"\x00", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\n", b"\t", b'"']
PIECES += [
    b"{",
    b"[",
    b"}",
    b"]",
    b",",
    b":",
    b"\x1f\x8b",
    b"SQLite format 3\x00",
    b"PK\x03\x04",
    b"9" * 400,
    b"\\ud800",
]

ByteEdit = tuple[str, int, bytes]
byte_edits = st.lists(
    st.tuples(
        st.sampled_from(["cut", "insert", "replace", "flip", "drop", "repeat", "front", "back"]),
        st.integers(0, 2**20),
        st.one_of(st.sampled_from(PIECES), st.binary(max_size=12)),
    ),
    max_size=4,
)


def damaged(data: bytes, changes: list[ByteEdit]) -> bytes:
    """The bytes after each change."""
    for kind, place, piece in changes:
        at = place % (len(data) + 1)
        end = min(at + 1 + place % 97, len(data))
        if kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "replace":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << place % 8)]) + data[at + 1 :]
        elif kind == "drop":
            data = data[:at] + data[end:]
        elif kind == "repeat":
            data = data[:end] + data[at:end] * 3 + data[end:]
        elif kind == "front":
            data = piece + data
        elif kind == "back":
            data = data + piece
    return data


def as_it_is(data: bytes) -> bytes:
    """Not wrapped."""
    return data


def bomb(data: bytes) -> bytes:
    """Gzip of the data and then of 4 MiB that compress to nothing."""
    return gzip.compress(data + b" " * 2**22, compresslevel=1)


def twice(data: bytes) -> bytes:
    """Gzip in gzip."""
    return gzip.compress(gzip.compress(data, compresslevel=1), compresslevel=1)


def members(data: bytes) -> bytes:
    """A gzip file of several members, padded."""
    half = len(data) // 2
    return gzip.compress(data[:half], 1) + gzip.compress(b"", 1) + gzip.compress(data[half:], 1) + b"\0" * 64


def zipped(data: bytes) -> bytes:
    """Gzip."""
    return gzip.compress(data, compresslevel=1)


wrappings: st.SearchStrategy[Callable[[bytes], bytes]] = st.sampled_from(
    [as_it_is, as_it_is, as_it_is, as_it_is, zipped, zipped, zipped, bomb, twice, members]
)
