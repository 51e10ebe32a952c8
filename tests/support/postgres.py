"""A real PostgreSQL server on a free loopback port: made by `initdb`, run as an unprivileged user, gone at the end.

Owns the server's life. Where the programs are not installed it fails and says what to install: a test that needs the
server must not pass by not running.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

MISSING = "PostgreSQL is not installed: run 'apt-get install postgresql', or deselect with -m 'not services'"
START_SECONDS = 180
_numbers = count(1)
_CHEAP = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "jit": "off",
}
"""Nothing of a cluster is kept, so nothing is spent on keeping it; queries behave as ever."""


@dataclass(frozen=True)
class Postgres:
    """A running server. `password` is a real one: connections are checked by scram-sha-256."""

    port: int
    password: str
    user: str = "health"

    def url(self, database: str) -> str:
        """The URL of a database, as a person would write it."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def new_database(self) -> Iterator[str]:
        """Make an empty database, give its URL, and drop it at the end, whoever still is connected."""
        name = f"test_{next(_numbers)}"
        self._administer(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def connect(self, database: str) -> Any:
        """A plain psycopg2 connection, to look past the code under test."""
        import psycopg2

        return psycopg2.connect(self.url(database), connect_timeout=60)

    def _administer(self, statement: str) -> None:
        with contextlib.closing(self.connect("postgres")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)


def programs() -> Path:
    """The folder of `initdb` and `postgres`, newest version first."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    folders += sorted((path.parent for path in versions), key=lambda path: float(path.parent.name), reverse=True)
    for folder in folders:
        if (folder / "postgres").exists():
            return folder
    raise RuntimeError(MISSING)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Start a server with an empty cluster in a folder of its own; stop it and remove the folder at the end."""
    binaries = programs()
    # Not pytest's tmp_path: that belongs to root alone where root runs the tests, and PostgreSQL refuses to be root.
    folder = Path(tempfile.mkdtemp(prefix="model-health-postgres-"))
    identity = _unprivileged(folder)
    server = Postgres(_free_port(), secrets.token_urlsafe(16))
    process = None
    try:
        _initialise(binaries, folder, server, identity)
        log = (folder / "log").open("wb")
        settings = {**_CHEAP, "unix_socket_directories": "", "listen_addresses": "127.0.0.1"}
        command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(server.port)]
        command += [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **identity)
        log.close()
        _wait(process, server, folder / "log")
        yield server
    finally:
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGQUIT)  # Immediate shutdown: nothing of this cluster is worth saving.
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Arguments that make subprocess change to a user who is not root, to whom the folder is given."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _initialise(binaries: Path, folder: Path, server: Postgres, identity: dict[str, Any]) -> None:
    password_file = folder / "password"
    password_file.write_text(server.password)
    if identity:
        os.chown(password_file, identity["user"], identity["group"])
    command = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", server.user, "-E", "UTF8", "--no-sync"]
    command += ["--locale=C", "--auth=scram-sha-256", f"--pwfile={password_file}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, **identity)
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stderr}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], server: Postgres, log: Path) -> None:
    import psycopg2

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.connect("postgres").close()
        except psycopg2.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}") from None
            time.sleep(0.1)
        else:
            return
