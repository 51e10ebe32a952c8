"""Turns what file systems and object stores raise into one-line `StoreError`s that name the URI.

Knows error numbers and what to do about them, nothing of reports.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from model_health.errors import ModelHealthError, StoreError

_HINTS = {
    errno.ENOSPC: ("no space left", "free some space or choose another store"),
    errno.EDQUOT: ("disk quota exceeded", "free some space or choose another store"),
    errno.EFBIG: ("the file is larger than may be written here", "raise the limit (ulimit -f) or choose another store"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.EACCES: ("permission denied", "check who owns the folder and who runs this"),
    errno.EPERM: ("permission denied", "check who owns the folder and who runs this"),
    errno.ENOENT: ("not found", "check the URI, or run the canaries first"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another folder"),
    errno.EISDIR: ("is a folder, not a file", "check the URI"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "use shorter names"),
    errno.ELOOP: ("a symbolic link points at itself or out of the store", "check the links in the folder"),
}


def store_error(err: BaseException, uri: str, doing: str) -> StoreError:
    """Describe `err`, met while `doing` something ("write", "read") at `uri`."""
    number = err.errno if isinstance(err, OSError) else None
    if number is None and isinstance(err, FileNotFoundError):
        number = errno.ENOENT
    elif number is None and isinstance(err, PermissionError):
        number = errno.EACCES
    if number in _HINTS:
        text, hint = _HINTS[number]
        return StoreError(f"cannot {doing}: {text}", subject=uri, hint=hint)
    lines = str(err).strip().splitlines()
    detail = f"{type(err).__name__}: {lines[0]}" if lines else type(err).__name__
    return StoreError(f"cannot {doing}: {detail}", subject=uri)


@contextmanager
def store_faults(uri: str, doing: str) -> Iterator[None]:
    """Raise whatever happens inside as a `StoreError`.

    Everything is translated, not only OSError: the client library behind an object store is the user's choice and each
    has error classes of its own. Nothing is swallowed.
    """
    try:
        yield
    except ModelHealthError:
        raise
    except Exception as err:
        raise store_error(err, uri, doing) from err
