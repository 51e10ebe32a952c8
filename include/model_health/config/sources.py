"""Where a model's or tokenizer's files come from, and finding them on this machine.

Owns the four forms of a source and what each resolves to. It downloads nothing, imports no package and does not know
how files are loaded.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from model_health.config.base import ConfigModel
from model_health.config.paths import local_path
from model_health.errors import ConfigError, ModelSourceError

PACKAGE_PREFIX = "package:"
_PACKAGE_FILE = re.compile(r"^package:(?P<package>[A-Za-z_][A-Za-z0-9_]*)/(?P<file>[^\\]+)$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")

HubId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$", max_length=200)]
Location = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]


class ModelSource(ConfigModel):
    """Exactly one of: a hub id, a local directory, a GGUF file, or a hub id with a GGUF file in that repository."""

    hub: HubId | None = Field(default=None, description="Repository on the Hugging Face hub, owner/name.")
    path: Location | None = Field(default=None, description="Local directory; relative to the project's folder.")
    gguf: Location | None = Field(
        default=None,
        description="GGUF file: a local path, package:<python_package>/<file>, or with `hub` a file name in it.",
    )
    revision: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        default=None, description="Commit of the hub repository (40 hexadecimal digits pin it)."
    )

    @model_validator(mode="after")
    def _one_source(self) -> ModelSource:
        if self.path is not None and (self.hub is not None or self.gguf is not None):
            raise ValueError("path cannot be combined with hub or gguf: give exactly one source")
        if self.hub is None and self.path is None and self.gguf is None:
            raise ValueError("names no source: give one of hub, path or gguf")
        if self.revision is not None and self.hub is None:
            raise ValueError("revision belongs to a hub source only")
        if self.gguf is not None and self.gguf.startswith(PACKAGE_PREFIX):
            match = _PACKAGE_FILE.match(self.gguf)
            if self.hub is not None or match is None or not _stays_inside(match["file"]):
                raise ValueError("gguf in a package reads package:<python_package>/<file> and stands without hub")
        elif self.gguf is not None and self.hub is not None and not _stays_inside(self.gguf):
            raise ValueError("gguf together with hub names a file inside that repository")
        return self

    @property
    def kind(self) -> Literal["hub", "path", "gguf", "hub_gguf"]:
        """Which of the four forms this is."""
        if self.hub is not None:
            return "hub" if self.gguf is None else "hub_gguf"
        return "path" if self.path is not None else "gguf"

    @property
    def pinned(self) -> bool:
        """True if the weights cannot change under the same name: local files, or a hub source at a full commit."""
        return self.hub is None or (self.revision is not None and _COMMIT.match(self.revision) is not None)

    @property
    def label(self) -> str:
        """How reports and errors call this source."""
        if self.hub is not None:
            return self.hub if self.gguf is None else f"{self.hub}/{self.gguf}"
        return self.path or self.gguf or ""


@dataclass(frozen=True)
class ResolvedSource:
    """What `from_pretrained` needs: `location` is a hub id or an existing directory."""

    location: str
    is_local: bool
    gguf_file: str | None = None
    revision: str | None = None

    @property
    def gguf_path(self) -> Path | None:
        """The local GGUF file, or None if there is none or it lies on the hub."""
        return Path(self.location) / self.gguf_file if self.is_local and self.gguf_file else None


def resolve_source(source: ModelSource, base_dir: Path) -> ResolvedSource:
    """Find a source on this machine.

    Args:
        source: the configured source.
        base_dir: folder against which relative paths are taken (`Settings.home`).

    Raises:
        ModelSourceError: a local file, directory or Python package is not there.
    """
    if source.hub is not None:
        return ResolvedSource(source.hub, is_local=False, gguf_file=source.gguf, revision=source.revision)
    if source.path is not None:
        folder = _on_this_machine(source.path, base_dir)
        if not folder.is_dir():
            raise ModelSourceError("is not a directory on this machine", subject=str(folder), hint="check source.path")
        return ResolvedSource(str(folder), is_local=True)
    reference = source.gguf or ""
    packaged = reference.startswith(PACKAGE_PREFIX)
    file = package_file(reference) if packaged else _on_this_machine(reference, base_dir)
    if not file.is_file():
        raise ModelSourceError("is not a file on this machine", subject=str(file), hint="check source.gguf")
    return ResolvedSource(str(file.parent), is_local=True, gguf_file=file.name)


def _on_this_machine(text: str, base_dir: Path) -> Path:
    try:
        return local_path(text, base_dir)
    except ConfigError as error:
        raise ModelSourceError(error.reason, subject=error.subject, hint="check the source") from error


def package_file(reference: str) -> Path:
    """The path of `package:<python_package>/<file>`, found without importing the package.

    Raises:
        ModelSourceError: the reference is malformed, or the package or file is not installed.
    """
    match = _PACKAGE_FILE.match(reference)
    if match is None or not _stays_inside(match["file"]):
        raise ModelSourceError("is not of the form package:<python_package>/<file>", subject=reference)
    # Only a top-level name: find_spec on a dotted one would import its parents.
    try:
        spec = importlib.util.find_spec(match["package"])
    except ValueError:  # a module of this process that was not imported from a file, such as __main__
        spec = None
    if spec is None:
        raise ModelSourceError(
            f"the Python package '{match['package']}' is not installed", subject=reference, hint="install it"
        )
    for folder in spec.submodule_search_locations or ():
        candidate = Path(folder) / match["file"]
        if candidate.is_file():
            return candidate
    raise ModelSourceError(f"'{match['package']}' holds no file '{match['file']}'", subject=reference)


def _stays_inside(file: str) -> bool:
    pure = PurePosixPath(file)
    return not pure.is_absolute() and ".." not in pure.parts and "\\" not in file and pure.name != ""
