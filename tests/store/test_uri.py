"""Store URIs: the allow-list, canonical forms, and secrets that must not pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.errors import ConfigError
from model_health.store.uri import SCHEMES, parse_location


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("S3://bucket/a/b/", "s3://bucket/a/b"),
        ("gs://bucket", "gs://bucket"),
        ("abfs://container@account.dfs.example/x", "abfs://container@account.dfs.example/x"),
        ("memory://", "memory://"),
        ("memory://here/", "memory://here"),
    ],
)
def test_an_object_store_has_one_canonical_uri(text: str, uri: str) -> None:
    assert parse_location(text).uri == uri


def test_a_plain_path_and_its_file_uri_are_the_same_place(tmp_path: Path) -> None:
    folder = tmp_path / "with space and %41"
    assert parse_location(str(folder)) == parse_location(folder.as_uri())
    assert parse_location(str(folder)).path == str(folder)


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_location("reports/../store").path == str(tmp_path / "store")


@pytest.mark.parametrize(
    "text",
    [
        "http://host/x",
        "https://host/x",
        "ftp://host/x",
        "ssh://host/x",
        "simplecache::s3://bucket/x",
        "s3://bucket::file:///etc",
        "github://owner:repo@/x",
        "sqlite:///x.db",
        "reference::x",
    ],
)
def test_a_scheme_that_is_not_listed_is_refused_with_the_list(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_location(text)
    assert "s3://" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "s3://",
        "s3:/bucket",
        "s3:///key",
        "s3://bucket/../other",
        "s3://bucket//x",
        "s3://bucket/x?versionId=1",
        "file://host/x",
        "file:///x?y",
        "file://relative",
        "/tmp/a\x00b",
        "/tmp/a\nb",
        "a\ud800b",
        "file://[::1",
    ],
)
def test_a_malformed_uri_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_location(text)
    assert "\n" not in str(caught.value)
    assert "\x00" not in str(caught.value)


@pytest.mark.parametrize("text", ["s3://KEY:hunter2@bucket/x", "abfs://user:hunter2@host/x", "http://u:hunter2@h/x"])
def test_credentials_in_a_uri_are_refused_and_not_printed(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_location(text)
    assert "hunter2" not in str(caught.value)


@given(st.sampled_from(SCHEMES), st.from_regex(r"[a-z0-9]{3,20}(/[A-Za-z0-9._=-]{1,10}){0,4}", fullmatch=True))
def test_parsing_a_canonical_uri_changes_nothing(scheme: str, path: str) -> None:
    if any(part in (".", "..") for part in path.split("/")):
        return
    text = f"file:///{path}" if scheme == "file" else f"{scheme}://{path}"
    location = parse_location(text)
    assert parse_location(location.uri) == location
