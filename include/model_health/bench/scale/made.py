"""When and on what a part was measured, without torch: its import would be part of the memory that is watched."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from sqlalchemy import text

from model_health import __version__
from model_health.bench.scale.records import Made
from model_health.errors import BadInput
from model_health.host import cpu_name, memory_gib
from model_health.store.index.index import Clock, Index, utc_now

PACKAGES: Final = ("sqlalchemy", "psycopg2-binary", "pydantic", "numpy", "prometheus-client", "apache-airflow")


@dataclass
class Load:
    """The load averages that were seen: the machine may be shared."""

    seen: list[float] = field(default_factory=lambda: [os.getloadavg()[0]])

    def look(self) -> None:
        """Note the present one."""
        self.seen.append(os.getloadavg()[0])

    def made(self) -> Made:
        """What is written down at the end."""
        self.look()
        return Made(
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=machine(),
            versions={"python": platform.python_version(), "model-health": __version__}
            | {name: version(name) for name in PACKAGES},
            load=(round(min(self.seen), 1), round(max(self.seen), 1)),
        )


def machine() -> str:
    """The machine's shape, in words."""
    return f"{cpu_name()}, {os.cpu_count()} cores, {memory_gib()}, {platform.system()}"


def database_of(index: Index) -> str:
    """Which database it is, with its version."""
    with index.reading("ask for the version") as connection:
        if connection.dialect.name == "postgresql":
            return f"PostgreSQL {connection.execute(text('SHOW server_version')).scalar_one()}".split(" (")[0]
        return f"SQLite {connection.execute(text('SELECT sqlite_version()')).scalar_one()}"


def server_cpu(index: Index) -> float:
    """CPU seconds of the database server on this machine so far, its ended sessions included; 0 for SQLite."""
    with index.reading("ask for the server's process") as connection:
        if connection.dialect.name != "postgresql":
            return 0.0
        session = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
    stats = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stats[int(folder.name)] = (folder / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
    if session not in stats:
        return 0.0  # on another machine
    server = stats[session][1]
    family = [stat for pid, stat in stats.items() if str(pid) == server or stat[1] == server]
    return sum(sum(map(int, stat[11:15])) for stat in family) / os.sysconf("SC_CLK_TCK")


@contextmanager
def opened(index_url: str, clock: Clock = utc_now) -> Iterator[Index]:
    """The index, which is to be empty: what is measured must not depend on what was there. Raises `BadInput`."""
    with Index.open(index_url, clock=clock) as index:
        if index.runs(limit=1):
            raise BadInput("holds runs; a measurement needs an empty index", subject=index.shown)
        yield index
