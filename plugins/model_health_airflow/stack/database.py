"""What PostgreSQL's image does before it starts the server: makes a cluster, and runs the scripts mounted for that.

Owns the first start of a database, and who it runs as: PostgreSQL refuses to be root.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from model_health.errors import CouldNotMeasure
from model_health_airflow.stack.compose import Service
from model_health_airflow.stack.translate import Here

SCRIPTS = "/docker-entrypoint-initdb.d"
SUPERUSER = "postgres"
PROGRAMS = ("initdb", "pg_ctl", "pg_isready", "postgres", "psql")


def binaries() -> Path:
    """Return the folder of `initdb` and `postgres`, the newest version's. Raises `CouldNotMeasure` without any."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    folders += sorted((path.parent for path in versions), key=lambda path: float(path.parent.name), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    raise CouldNotMeasure("is not installed", subject="postgres", hint="apt-get install postgresql")


def identity() -> dict[str, Any]:
    """Return what makes `subprocess` run as PostgreSQL's own user where this process is root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def socket_folder(environment: dict[str, str]) -> Path:
    """Return the folder of its socket: beside the cluster, where only its user can enter."""
    return Path(environment["PGDATA"]).parent / "socket"


def initialise(service: Service, here: Here, environment: dict[str, str]) -> None:
    """Make the cluster and run the scripts, if that was not done yet. Raises `CouldNotMeasure`."""
    cluster = Path(environment["PGDATA"])
    volume, socket = cluster.parent, socket_folder(environment)
    password = volume / "password"
    if (volume / "initialised").exists():
        return
    socket.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(environment["POSTGRES_PASSWORD_FILE"], password)
    who = identity()
    for path in (volume, socket, password):
        path.chmod(0o700)
        if who:
            os.chown(path, who["user"], who["group"])
    programs = binaries()
    options = shlex.split(environment.get("POSTGRES_INITDB_ARGS", ""))
    shutil.rmtree(cluster, ignore_errors=True)
    _call(programs / "initdb", "-D", cluster, "-U", SUPERUSER, f"--pwfile={password}", "--no-sync", *options, **who)
    password.unlink()
    control = [programs / "pg_ctl", "-D", cluster, "-w", "-s", "-t", "300"]
    server = shlex.join(["-c", "listen_addresses=", "-c", f"unix_socket_directories={socket}", "-p", "5432"])
    _call(*control, "-l", volume / "log", "-o", server, "start", **who)
    try:
        scripts = sorted(Path(f"{here.folder}/files/{service.name}{SCRIPTS}").glob("*.sql"))
        for script in scripts:
            connection = ("-h", socket, "-p", "5432", "-U", SUPERUSER, "-d", "postgres")
            # As ourselves, who may read the secrets; the socket trusts whoever can enter its folder.
            _call(programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *connection, "-f", script)
    finally:
        _call(*control, "-m", "fast", "stop", **who)
    (volume / "initialised").touch()


def _call(*command: object, **who: Any) -> None:
    words = [str(word) for word in command]
    # Its daemon would keep a pipe open: the output goes to a file of its own.
    ended = subprocess.run(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/", check=False, **who
    )
    if ended.returncode:
        last = (ended.stderr.strip() or f"status {ended.returncode}").splitlines()[-1]
        raise CouldNotMeasure(last, subject=Path(words[0]).name)
