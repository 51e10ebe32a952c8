"""Paths that somebody wrote into a configuration: what no file can be called is an error, not an accident later."""

from __future__ import annotations

import os
from pathlib import Path

from model_health.errors import ConfigError


def local_path(text: str | Path, base: Path | None = None) -> Path:
    """The path that a text means, `~` expanded, relative ones taken from `base`. It need not be there.

    Not resolved: a virtual environment's interpreter is a symlink that must stay one.

    Raises:
        ConfigError: there is no such user, the name is too long, or holds what no name can hold.
    """
    try:
        path = Path(text).expanduser()
        path = path if base is None else base / path
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise ConfigError(f"is no path here: {reason}", subject=str(text)[:100]) from error
    return path
