"""Rule files of Prometheus and the configuration of Alertmanager, compared and written on this machine.

Owns whose a file is (its first line says so) and that a server never keeps half of a change: files are replaced
atomically, the server is told to read them, and if it refuses they are put back as they were.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from model_health.answers import refused, unreachable
from model_health.errors import ConfigError, DeliveryFailed, ModelHealthError, StoreError
from model_health.monitors.plan import Change, Journal, Plan

TIMEOUT_SECONDS = 30.0
SUFFIXES = (".yml", ".yaml")


@dataclass(frozen=True)
class Place:
    """Files that one server reads.

    Args:
        server: what errors call it.
        files: path -> text, as it should be.
        folder: where whatever else bears the marker is deleted; None for a single file.
        reload_url: base address of the server that is told; None for none.
    """

    server: str
    files: Mapping[Path, str]
    folder: Path | None = None
    reload_url: str | None = None


def plan_files(place: Place, marker: str) -> Plan:
    """What of the files is to be written or deleted.

    Raises:
        ConfigError: a folder is not there.
        StoreError: a file cannot be read.
    """
    changes: list[Change] = []
    blocked: list[ModelHealthError] = []
    unchanged = 0
    for path, text in place.files.items():
        if not path.parent.is_dir():
            raise ConfigError("is not a folder", subject=str(path.parent), hint="create it, or change monitors.yaml")
        now = _read(path)
        if now is None:
            changes.append(Change("create", "file", str(path), str(path), after=text, place=path))
        elif not _is_ours(now, marker):
            hint = "move it away, or have Model Health write somewhere else"
            blocked.append(ConfigError("was written by somebody else", subject=str(path), hint=hint))
        elif now == text:
            unchanged += 1
        else:
            changes.append(Change("update", "file", str(path), str(path), now, text, path))
    changes += [
        Change("delete", "file", str(path), str(path), _read(path) or "", place=path) for path in _strays(place, marker)
    ]
    return Plan(tuple(changes), unchanged, tuple(blocked))


def apply_files(place: Place, plan: Plan, journal: Journal) -> None:
    """Do what the plan says, and have the server read it; all of it or nothing."""
    written: list[Change] = []
    try:
        for change in plan.changes:
            _do(change)
            written.append(change)
        if written and place.reload_url is not None:
            reload(place.reload_url, place.server)
            journal.notes.append(f"{place.server} has read its files again")
    except ModelHealthError as error:
        stuck = _put_back(written)
        failed = plan.changes[len(written)] if len(written) < len(plan.changes) else plan.changes[-1]
        journal.failed.append((failed, error))
        rest = [change for change in plan.changes if change is not failed]
        journal.skipped += [(change, f"{place.server} gets all or nothing: put back") for change in rest]
        journal.notes += [f"could not put back {problem}" for problem in stuck]
    else:
        journal.done += written
        if written and place.reload_url is None:
            journal.notes.append(f"{place.server} was not told: no url is set in monitors.yaml, so reload it")


def reload(base: str, server: str) -> None:
    """Have a server read its files again.

    Raises:
        DeliveryFailed: it cannot be reached, does not allow it, or refuses what it read.
    """
    subject = f"{server}, {base}"
    request = Request(f"{base}/-/reload", data=b"", method="POST")  # noqa: S310  # a checked http address
    try:
        with build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS):
            return
    except HTTPError as error:
        said = ""
        with error, contextlib.suppress(OSError, HTTPException):
            said = error.read(10_000).decode("utf-8", "replace")
        failure = refused(error.code, dict(error.headers), subject=subject, detail=said)
        if error.code == 403:
            failure = DeliveryFailed(failure.reason, subject=subject, hint="start it with --web.enable-lifecycle")
    except (OSError, HTTPException) as error:
        failure = unreachable(error, subject=subject)
    raise failure


def write_file(path: Path, text: str) -> None:
    """Replace a file atomically; it keeps its mode, a new one can be read by everybody. Raises `StoreError`."""
    temp = None
    try:
        if path.exists() and not path.is_file():  # a rename would take a device's or a pipe's place
            raise StoreError("cannot be written: it is no file", subject=str(path))
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temp = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temp.chmod(mode)
        temp.replace(path)
    except OSError as error:
        if temp is not None:
            temp.unlink(missing_ok=True)
        raise StoreError(f"cannot be written: {error.strerror or error}", subject=str(path)) from error


def _do(change: Change) -> None:
    path: Path = change.place
    if change.action != "delete":
        write_file(path, change.after)
        return
    try:
        path.unlink()
    except OSError as error:
        raise StoreError(f"cannot be deleted: {error.strerror or error}", subject=str(path)) from error


def _put_back(written: Sequence[Change]) -> list[str]:
    """Undo, last first; what could not be undone."""
    problems = []
    for change in reversed(written):
        try:
            if change.action == "create":
                change.place.unlink(missing_ok=True)
            else:
                write_file(change.place, change.before)
        except (OSError, StoreError) as error:
            problems.append(f"{change.name}: {error}")
    return problems


def _strays(place: Place, marker: str) -> list[Path]:
    """Files of ours in the folder that are no longer wanted."""
    if place.folder is None:
        return []
    found = sorted(path for path in place.folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    return [path for path in found if path not in place.files and _is_ours(_read(path) or "", marker)]


def _is_ours(text: str, marker: str) -> bool:
    return text.partition("\n")[0].strip() == f"# {marker}"


def _read(path: Path) -> str | None:
    """The text of a file; None where there is none. What is not text is not ours, and never equal to what is."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror or error}", subject=str(path)) from error


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """Leave a redirect as the error that it is here."""
        return
