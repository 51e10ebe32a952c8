"""Unpacking gzip by hand gives what the standard library gives, and never more than the limit."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.errors import ReportError
from model_health.report.sources import unpack

bodies = st.lists(st.binary(max_size=300), min_size=1, max_size=4)


@given(parts=bodies, padding=st.integers(0, 20))
def test_members_and_padding_are_taken_as_gzip_takes_them(parts: list[bytes], padding: int) -> None:
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts) + b"\0" * padding
    assert unpack(packed, "a file") == gzip.decompress(packed) == b"".join(parts)


@given(parts=bodies, below=st.integers(1, 50))
def test_the_limit_holds_over_all_members(parts: list[bytes], below: int) -> None:
    packed, size = b"".join(gzip.compress(part, mtime=0) for part in parts), sum(map(len, parts))
    assert len(unpack(packed, "a file", limit=size)) == size
    if size >= below:
        with pytest.raises(ReportError, match=r"^a file: is larger than"):
            unpack(packed, "a file", limit=size - below)


@given(parts=bodies, cut=st.integers(1, 17))
def test_a_file_that_ends_early_is_cut_off_wherever_it_ends(parts: list[bytes], cut: int) -> None:
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts)
    with pytest.raises(ReportError, match="is a gzip file that is cut off"):
        unpack(packed[:-cut], "a file")


@pytest.mark.parametrize("place", [4, -2, -6])
def test_a_changed_byte_is_noticed_by_the_checksum_or_the_length(place: int) -> None:
    packed = bytearray(gzip.compress(b"a report " * 50, mtime=0))
    packed[place if place < 0 else place + 10] ^= 0xFF
    with pytest.raises(ReportError, match=r"is a (damaged gzip file|gzip file that is cut off)"):
        unpack(bytes(packed), "a file")


def test_what_follows_and_is_no_gzip_is_damage() -> None:
    with pytest.raises(ReportError, match="is a damaged gzip file"):
        unpack(gzip.compress(b"{}") + b"more", "a file")


def test_a_bomb_is_not_unpacked_beyond_the_limit() -> None:
    with pytest.raises(ReportError, match="is larger than"):
        unpack(gzip.compress(b"\0" * 50_000_000), "a file", limit=1000)
