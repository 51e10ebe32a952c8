"""Files that a command writes for people: checked before the work begins, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from model_health.errors import BadInput


def place_of(option: str, path: str | None) -> Path | None:
    """Where a file shall go; None where none was asked for.

    Raises:
        BadInput: the folder is not there.
    """
    if path is None:
        return None
    place = Path(path)
    if not place.parent.is_dir() or place.is_dir():
        raise BadInput("is no place for a file", subject=f"{option} {path}")
    return place


def write_whole(page: Path, text: str) -> None:
    """All or nothing.

    Raises:
        BadInput: it cannot be written.
    """
    half = page.with_name(f".{page.name}.half")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(page)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise BadInput(f"cannot be written: {error.strerror}", subject=str(page)) from error
