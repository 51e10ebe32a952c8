"""Where a model comes from: exactly one source, and finding it without importing or downloading."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from model_health.config.sources import ModelSource, package_file, resolve_source
from model_health.errors import ModelSourceError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("keys", "kind", "label"),
    [
        ({"hub": "org/name"}, "hub", "org/name"),
        ({"hub": "gpt2"}, "hub", "gpt2"),
        ({"hub": "org/name", "gguf": "m.Q4.gguf"}, "hub_gguf", "org/name/m.Q4.gguf"),
        ({"path": "models/x"}, "path", "models/x"),
        ({"gguf": "models/x.gguf"}, "gguf", "models/x.gguf"),
        ({"gguf": "package:some_package/data/x.gguf"}, "gguf", "package:some_package/data/x.gguf"),
    ],
)
def test_each_form_is_recognised(keys: dict[str, str], kind: str, label: str) -> None:
    source = ModelSource.model_validate(keys)
    assert (source.kind, source.label) == (kind, label)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "names no source"),
        ({"hub": "a/b", "path": "c"}, "exactly one source"),
        ({"path": "c", "gguf": "d.gguf"}, "exactly one source"),
        ({"path": "c", "revision": COMMIT}, "revision belongs to a hub source"),
        ({"hub": "a/b", "gguf": "package:p/x.gguf"}, "stands without hub"),
        ({"hub": "a/b", "gguf": "../x.gguf"}, "names a file inside"),
        ({"hub": "a/b", "gguf": "/x.gguf"}, "names a file inside"),
        ({"gguf": "package:p"}, "package:<python_package>/<file>"),
        ({"gguf": "package:a.b/x.gguf"}, "package:<python_package>/<file>"),
        ({"gguf": "package:p/../../x.gguf"}, "package:<python_package>/<file>"),
        ({"hub": "a/b/c"}, "match pattern"),
        ({"hub": "../b"}, "match pattern"),
        ({"hub": ""}, "match pattern"),
        ({"path": ""}, "at least 1"),
    ],
)
def test_a_source_that_is_none_or_two_is_refused(keys: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSource.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "pinned"),
    [
        ({"hub": "a/b"}, False),
        ({"hub": "a/b", "revision": "main"}, False),
        ({"hub": "a/b", "revision": COMMIT[:12]}, False),
        ({"hub": "a/b", "revision": COMMIT}, True),
        ({"path": "x"}, True),
    ],
)
def test_only_a_full_commit_pins_a_hub_source(keys: dict[str, str], pinned: bool) -> None:
    assert ModelSource.model_validate(keys).pinned is pinned


def test_a_hub_source_resolves_without_looking_for_anything(tmp_path: Path) -> None:
    resolved = resolve_source(ModelSource(hub="a/b", gguf="x.gguf", revision=COMMIT), tmp_path)
    assert (resolved.location, resolved.gguf_file, resolved.revision) == ("a/b", "x.gguf", COMMIT)
    assert not resolved.is_local
    assert resolved.gguf_path is None


def test_relative_paths_are_taken_from_the_project(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "x.gguf").touch()
    folder = resolve_source(ModelSource(path="weights"), tmp_path)
    assert (folder.location, folder.is_local, folder.gguf_file) == (str(tmp_path / "weights"), True, None)
    file = resolve_source(ModelSource(gguf="weights/x.gguf"), tmp_path)
    assert file.gguf_path == tmp_path / "weights" / "x.gguf"
    absolute = resolve_source(ModelSource(path=str(tmp_path / "weights")), Path("/elsewhere"))
    assert absolute.location == str(tmp_path / "weights")


def test_a_missing_path_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"gone: is not a directory on this machine \(check source.path\)"):
        resolve_source(ModelSource(path="gone"), tmp_path)
    with pytest.raises(ModelSourceError, match=r"gone\.gguf: is not a file"):
        resolve_source(ModelSource(gguf="gone.gguf"), tmp_path)
    with pytest.raises(ModelSourceError, match="is not a file"):
        resolve_source(ModelSource(gguf="."), tmp_path)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python package that fails when it is imported, with a data file."""
    package = tmp_path / "site" / "package_with_weights"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "data" / "w.gguf").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return package


def test_a_file_in_a_package_is_found_without_importing_it(installed: Path, tmp_path: Path) -> None:
    source = ModelSource(gguf="package:package_with_weights/data/w.gguf")
    resolved = resolve_source(source, tmp_path)
    assert resolved.gguf_path == installed / "data" / "w.gguf"
    assert "package_with_weights" not in sys.modules


def test_a_missing_package_or_file_is_named(installed: Path) -> None:
    with pytest.raises(ModelSourceError, match="the Python package 'no_such_package' is not installed"):
        package_file("package:no_such_package/x.gguf")
    with pytest.raises(ModelSourceError, match="'package_with_weights' holds no file 'data'"):
        package_file("package:package_with_weights/data")
    with pytest.raises(ModelSourceError, match="holds no file"):
        package_file("package:sys/x.gguf")
    with pytest.raises(ModelSourceError, match=r"is not installed|holds no file"):  # as Python was started: file or -m
        package_file("package:__main__/x.gguf")
    with pytest.raises(ModelSourceError, match="is not of the form"):
        package_file("package:../x.gguf")


@pytest.mark.parametrize("name", ["~nobody-has-this-name/x", "x" * 300, "a\ud800b"])
@pytest.mark.parametrize("key", ["path", "gguf"])
def test_what_no_file_can_be_called_is_a_source_error(tmp_path: Path, key: str, name: str) -> None:
    source = ModelSource.model_construct(hub=None, path=None, gguf=None, revision=None).model_copy(update={key: name})
    with pytest.raises(ModelSourceError, match="is no path here"):
        resolve_source(source, tmp_path)
