"""Which places a store may be: parses and checks a store URI before anything is opened.

A plain path or `file://` is a local folder, `memory://` lives in this process, `s3://` and friends are object stores.
Everything else is refused, and so are credentials in the URI: they would end up in logs, XCom and reports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_health.errors import ConfigError

OBJECT_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
SCHEMES = ("file", "memory", *OBJECT_SCHEMES)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?=/)|([A-Za-z][A-Za-z0-9+.-]*)::")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class StoreLocation:
    """A checked place. `path`: an absolute folder for `file`, else `bucket/prefix` with no slash at either end."""

    scheme: str
    path: str

    @property
    def is_local(self) -> bool:
        """Whether this is a folder of the machine."""
        return self.scheme == "file"

    @property
    def uri(self) -> str:
        """The canonical URI: the same place always gives the same text. Has no trailing slash."""
        return Path(self.path).as_uri() if self.is_local else f"{self.scheme}://{self.path}"


def parse_location(uri: str | Path) -> StoreLocation:
    """Check a store's root. Raises `ConfigError` for an unknown scheme, credentials, a query, `..` or no bucket."""
    text = str(uri).strip()
    if not text:
        raise ConfigError("store URI is empty", hint="give a folder or one of " + _known())
    if _CONTROL.search(text):
        raise ConfigError("store URI holds a control character", subject=repr(text))
    match = _SCHEME.match(text)
    if match is None:
        return StoreLocation("file", _absolute(text))
    scheme = (match.group(1) or match.group(2)).lower()
    if scheme not in SCHEMES or match.group(2) is not None or "::" in text:
        raise ConfigError(f"a store cannot be opened over {scheme!r}", subject=_safe(text), hint="use " + _known())
    return _parse_file(text) if scheme == "file" else _parse_object(scheme, text)


def _known() -> str:
    return "a plain path, " + ", ".join(f"{scheme}://" for scheme in SCHEMES)


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as err:
        raise ConfigError(f"cannot be resolved: {err}", subject=path) from err


def _parse_file(text: str) -> StoreLocation:
    try:
        parts = urlsplit(text)
    except ValueError as err:
        raise ConfigError(f"is not an address: {err}", subject=text) from err
    if parts.netloc not in ("", "localhost"):
        raise ConfigError(
            f"file:// names the host {parts.netloc!r}",
            subject=text,
            hint="write file:///absolute/path with three slashes",
        )
    if parts.query or parts.fragment:
        raise ConfigError("'?' and '#' must be percent-encoded in a file URI", subject=text)
    path = unquote(parts.path)
    if not path.startswith("/") or _CONTROL.search(path):
        raise ConfigError("a file URI needs an absolute path", subject=text)
    return StoreLocation("file", _absolute(path))


def _parse_object(scheme: str, text: str) -> StoreLocation:
    rest = text.split(":", 1)[1]
    if not rest.startswith("//"):
        raise ConfigError(
            f"{scheme} URI needs two slashes", subject=_safe(text), hint=f"write {scheme}://bucket/prefix"
        )
    rest = rest[2:].rstrip("/")
    bucket = rest.partition("/")[0]
    # abfs(s) writes container@account.host: there the part before '@' is a container, never a user.
    if "@" in bucket and (not scheme.startswith("abfs") or ":" in bucket):
        raise ConfigError(
            "credentials do not belong in a store URI", subject=_safe(text), hint="give them through the environment"
        )
    if "?" in rest or "#" in rest:
        raise ConfigError("a store URI takes no query and no fragment", subject=_safe(text.partition("?")[0]))
    if not bucket and scheme != "memory":
        raise ConfigError("store URI names no bucket", subject=_safe(text), hint=f"write {scheme}://bucket/prefix")
    if any(part in ("", ".", "..") for part in rest.split("/")) and rest:
        raise ConfigError("store URI holds an empty, '.' or '..' part", subject=_safe(text))
    return StoreLocation(scheme, rest)


def _safe(text: str) -> str:
    """Hide whatever stands before an `@`, which may be a secret."""
    return re.sub(r"//[^/@]*@", "//***@", text)
